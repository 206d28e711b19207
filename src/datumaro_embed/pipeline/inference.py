"""Pixels in, vectors out, in order; a batch that fails is tried again image by image."""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from ..encoders import ImageEncoder
from ..errors import InferenceError
from .reading import one_line

__all__ = ["Inference"]

Vector = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Answers = list[Vector | str]

_GREY = 128


class Inference:
    """Gathers pixels into batches, and keeps several of them under way.

    Parameters
    ----------
    encoder : ImageEncoder

    Notes
    -----
    A batch's array is written over once it is answered: memory is that of the batches under way.
    """

    def __init__(self, encoder: ImageEncoder) -> None:
        self._encoder = encoder
        self._session = encoder.session()
        side = encoder.image_size_px
        self._shape = (encoder.batch_size, side, side, 3)
        self._free: list[Pixels] = []
        self._batches: deque[Pixels] = deque()
        self._gathered, self._n_gathered = self._new_array(), 0
        self._wanted = encoder.first_batch_size

    def __len__(self) -> int:
        """Images that were submitted and are not answered yet."""
        return self._n_gathered + sum(map(len, self._batches))

    @property
    def is_full(self) -> bool:
        """As much is under way as the encoder computes at once: collect before submitting more."""
        return len(self._batches) >= self._session.capacity

    def submit(self, pixels: Pixels) -> None:
        """Take the pixels of one image."""
        self._gathered[self._n_gathered] = pixels
        self._n_gathered += 1
        if self._n_gathered == self._wanted:
            self._start_batch()

    def finish(self) -> None:
        """Say that no image will be submitted any more."""
        self._start_batch()
        self._session.finish()

    def collect(self) -> Answers:
        """Wait for the oldest batch; for each of its images its vector, or why it has none.

        Raises
        ------
        InferenceError
            The encoder fails whatever it is given.
        StreamDisagreementError
        """
        if not self._batches:
            self._start_batch()
        batch = self._batches[0]
        try:
            answers: Answers = list(self._checked(batch, self._session.collect()))
        except InferenceError:
            answers = self._one_by_one(batch)
        self._batches.popleft()
        if isinstance(batch.base, np.ndarray):
            self._free.append(batch.base)
        return answers

    def close(self) -> None:
        """Wait until nothing reads a batch any more."""
        self._session.close()

    def _start_batch(self) -> None:
        if self._n_gathered:
            batch = self._gathered[: self._n_gathered]
            self._gathered, self._n_gathered = self._new_array(), 0
            self._wanted = len(self._gathered)
            self._batches.append(batch)
            self._session.submit(batch)

    def _new_array(self) -> Pixels:
        return self._free.pop() if self._free else np.empty(self._shape, np.uint8)

    def _one_by_one(self, batch: Pixels) -> Answers:
        answers = [self._alone(pixels) for pixels in batch]
        if all(isinstance(answer, str) for answer in answers):
            # Is it the images, or the device? A plain one would tell.
            grey = np.full_like(batch[:1], _GREY)
            self._checked(grey, self._encoder.embed(grey))
        return answers

    def _alone(self, pixels: Pixels) -> Vector | str:
        try:
            (vector,) = self._checked(pixels[None], self._encoder.embed(pixels[None]))
            return vector
        except InferenceError as error:
            return one_line(str(error))

    def _checked(self, batch: Pixels, vectors: npt.NDArray[np.float32]) -> list[Vector]:
        encoder = self._encoder
        if vectors.shape != (len(batch), encoder.dim):
            raise InferenceError(
                f"Encoder {encoder.name} returned an array of shape {vectors.shape} for "
                f"{len(batch)} images. Check it with datumaro_embed.testing.EncoderContract."
            )
        if not np.isfinite(vectors).all():
            raise InferenceError(
                "The model returned values that are not finite. Try `--precision f32`."
            )
        return list(vectors)
