"""Pixels in, vectors out, in order; a batch that fails is tried again image by image."""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from ..encoders import ImageEncoder, Session
from ..errors import InferenceError
from .reading import one_line

__all__ = ["Answers", "Inference"]

Vector = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Answers = list[Vector | str]

_GREY = 128


class Inference:
    """Gathers pixels into batches, and keeps several of them under way.

    Parameters
    ----------
    encoder : ImageEncoder
    session : Session
        Of the encoder; the caller closes it, so that nothing reads a batch any more.

    Notes
    -----
    A batch's array is written over once it is answered: memory is that of the batches under way.
    """

    def __init__(self, encoder: ImageEncoder, session: Session) -> None:
        self._encoder, self._session = encoder, session
        side = encoder.image_size_px
        self._shape = (encoder.batch_size, side, side, 3)
        self._free: list[Pixels] = []
        self._batches: deque[Pixels] = deque()
        self._unanswered: deque[Answers] = deque()  # of each image, where its answer goes
        self._gathered, self._n_gathered = np.empty(self._shape, np.uint8), 0
        self._wanted = encoder.first_batch_size

    def submit(self, pixels: Pixels, answers: Answers) -> None:
        """Take the pixels of one image; `collect` appends its vector, or why it has none.

        Collects where as much is under way as the encoder computes at once.
        """
        self._unanswered.append(answers)
        self._gathered[self._n_gathered] = pixels
        self._n_gathered += 1
        if self._n_gathered == self._wanted:
            self._start_batch()
        while len(self._batches) >= self._session.capacity:
            self.collect()

    def finish(self) -> None:
        """Say that no image will be submitted any more."""
        self._start_batch()
        self._session.finish()

    def collect(self) -> None:
        """Wait for the oldest batch, and answer its images.

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
            found: Answers = list(self._checked(batch, self._session.collect()))
        except InferenceError:
            found = []
            for pixels in batch:  # each alone, to see which fails
                try:
                    found += self._checked(pixels[None], self._encoder.embed(pixels[None]))
                except InferenceError as error:
                    found.append(one_line(str(error)))
            if all(isinstance(answer, str) for answer in found):
                # Is it the images, or the device? A plain one would tell.
                grey = np.full_like(batch[:1], _GREY)
                self._checked(grey, self._encoder.embed(grey))
        self._batches.popleft()
        if isinstance(batch.base, np.ndarray):
            self._free.append(batch.base)
        for answer in found:
            self._unanswered.popleft().append(answer)

    def _start_batch(self) -> None:
        if self._n_gathered:
            batch = self._gathered[: self._n_gathered]
            self._gathered = self._free.pop() if self._free else np.empty(self._shape, np.uint8)
            self._n_gathered, self._wanted = 0, len(self._gathered)
            self._batches.append(batch)
            self._session.submit(batch)

    def _checked(self, batch: Pixels, vectors: npt.NDArray[np.float32]) -> list[Vector]:
        encoder = self._encoder
        shape = getattr(vectors, "shape", None)
        if shape != (len(batch), encoder.dim):
            what = f"a {type(vectors).__name__}" if shape is None else f"an array of shape {shape}"
            raise InferenceError(
                f"Encoder {encoder.name} returned {what} for {len(batch)} images. "
                "Check it with datumaro_embed.testing.ImageEncoderContract."
            )
        if not np.isfinite(vectors).all():
            raise InferenceError(
                "The model returned values that are not finite. Try `--precision f32`."
            )
        return list(vectors)
