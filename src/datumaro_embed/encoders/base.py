"""The interfaces of encoders: pixels or texts in, unit vectors of one space out.

A model may lack a text encoder: embedding, duplicates and outliers only need an `ImageEncoder`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..depth import UNCHOSEN, DepthRange
from ..errors import ItemFailedError, UsageError

Float32Array = npt.NDArray[np.float32]
UInt8Array = npt.NDArray[np.uint8]
ImageInput = Image.Image | npt.NDArray[Any] | str | Path | bytes


class Session:
    """Batches in progress, collected in order. This base computes a batch when it is collected.

    Attributes
    ----------
    capacity : int
        Number of batches to submit before collecting the oldest, so that the device never waits.
    """

    capacity = 1

    def __init__(self, encoder: ImageEncoder) -> None:
        self._encoder = encoder
        self._batches: deque[UInt8Array] = deque()

    def __len__(self) -> int:
        """Number of batches that are submitted but not collected yet."""
        return len(self._batches)

    def submit(self, batch: UInt8Array) -> None:
        """Submit a batch; do not change it before its vectors are collected."""
        self._batches.append(batch)

    def finish(self) -> None:
        """Announce that no more batches will be submitted."""

    def collect(self) -> Float32Array:
        """Wait for the vectors of the oldest batch, and remove the batch.

        Raises `InferenceError` if this batch failed (later ones continue), and
        `StreamDisagreementError`.
        """
        return self._encoder.embed(self._batches.popleft())

    def close(self) -> None:
        """Wait until no submitted batch is being read, and drop them all."""
        self._batches.clear()

    def run(self, batches: Iterable[Any]) -> Iterator[Float32Array]:
        """Yield the vectors of batches lazily and in order, several in progress; then close."""
        with closing(self):
            for batch in batches:
                self.submit(batch)
                if len(self) >= self.capacity:
                    yield self.collect()
            self.finish()
            while len(self):
                yield self.collect()


class ImageEncoder(ABC):
    """Embeds images into unit vectors.

    A subclass defines the five attributes and the three abstract methods;
    `testing.EncoderContract` tests them. A vector must not depend on the other rows of its batch.

    Attributes
    ----------
    name : str
    dim : int
        Length of a vector.
    image_size_px : int
        Side of the square of pixels that `preprocess` returns.
    batch_size : int
        Maximum number of images per batch.
    fingerprint : str
        64 hex digits: equal only if weights, tokenizer and preprocessing are equal.
    """

    name: str
    dim: int
    image_size_px: int
    batch_size: int
    fingerprint: str

    @cached_property
    def least_side_px(self) -> int:
        """Minimum side of an image that `preprocess` need not enlarge."""
        return self.image_size_px

    @cached_property
    def first_batch_size(self) -> int:
        """Size of a run's first batch; an encoder may use the rest of it to check itself."""
        return self.batch_size

    @abstractmethod
    def preprocess(self, image: Image.Image) -> UInt8Array:
        """Convert an upright RGB image to encoder pixels; called from several threads at once.

        Returns
        -------
        array of shape (image_size_px, image_size_px, 3), uint8
            RGB, C-contiguous.
        """

    @abstractmethod
    def embed(self, batch: UInt8Array) -> Float32Array:
        """Embed one batch of pixels.

        Parameters
        ----------
        batch : array of shape (b, image_size_px, image_size_px, 3), uint8
            1 ≤ b ≤ batch_size.

        Returns
        -------
        array of shape (b, dim), float32
            Unit rows, in order.

        Raises
        ------
        UsageError
            A batch of another shape or dtype.
        InferenceError
        """

    def session(self) -> Session:
        """Start embedding many batches; override it to compute several at a time."""
        return Session(self)

    def embed_pixels(self, batches: Iterable[UInt8Array]) -> Iterator[Float32Array]:
        """Embed batches of pixels lazily and in order, with several in progress; see `embed`.

        Reads only a few batches ahead of the one whose vectors it yields.
        """
        yield from self.session().run(map(self._checked, batches))

    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """Return JSON-able facts of the computation: model, files, device, precision, versions."""

    def confirm(self) -> None:  # noqa: B027 - most encoders have nothing to check
        """Check that the encoder has not changed since it was loaded.

        A run calls this when it starts, and again before it finishes its store.

        Raises
        ------
        ModelChangedError
            The files of its model have changed.
        StreamDisagreementError
            The first batch now gives other vectors.
        """

    def embed_images(
        self, images: Sequence[ImageInput], depth_range: DepthRange = UNCHOSEN
    ) -> Float32Array:
        """Embed images of any kind.

        Parameters
        ----------
        images : sequence of Image.Image, array, path or bytes
            Arrays are RGB (see images.py); decoded one batch at a time, in this thread.
        depth_range : DepthRange
            Scaling of samples of more than 8 bits; for a store, use ``store.depth_range``.

        Returns
        -------
        array of shape (n_images, dim), float32
            Unit rows, in order.

        Raises
        ------
        ItemFailedError
            An image cannot be read; the message has its index and the reason.
        InferenceError
        """
        pixels = (self._pixels(image, i, depth_range) for i, image in enumerate(images))
        batches = iter(lambda: [*islice(pixels, self.batch_size)], [])
        rows = list(self.embed_pixels(map(np.stack, batches)))
        return np.concatenate([np.empty((0, self.dim), np.float32), *rows])

    def _checked(self, batch: UInt8Array) -> UInt8Array:
        side = self.image_size_px
        fits = batch.ndim == 4 and batch.shape[1:] == (side, side, 3)
        if not fits or batch.dtype != np.uint8 or not 1 <= len(batch) <= self.batch_size:
            raise UsageError(
                f"A batch of {batch.dtype} {batch.shape} is not (1 to {self.batch_size}, {side}, "
                f"{side}, 3) uint8. Use `preprocess` to make batches."
            )
        return batch

    def _pixels(self, image: ImageInput, index: int, depth_range: DepthRange) -> UInt8Array:
        from ..images import ImageProblem, read_image, upright_rgb  # texts need no image reader

        try:
            if isinstance(image, Image.Image):
                upright = upright_rgb(image, depth_range)
            else:
                upright, _ = read_image(image, depth_range=depth_range)
        except ImageProblem as problem:
            raise ItemFailedError(
                f"Image {index} cannot be embedded: {problem.reason}. Leave it out or fix it.",
                index=index,
                status=problem.status,
                reason=problem.reason,
            ) from problem
        return self.preprocess(upright)


class TextEncoder(ABC):
    """Embeds texts into the space of an `ImageEncoder`'s vectors."""

    @abstractmethod
    def embed_texts(self, texts: Sequence[str]) -> Float32Array:
        """Embed texts.

        Parameters
        ----------
        texts : sequence of str
            Of any length; may be empty.

        Returns
        -------
        array of shape (n_texts, dim), float32
            Unit rows, in order.
        """

    def embed_fixed_texts(self, texts: Sequence[str]) -> Float32Array:
        """Like `embed_texts`, for texts that are the same in every process.

        An encoder may keep their vectors; this base computes them.
        """
        return self.embed_texts(texts)

    def embed_labels(self, names: Sequence[str]) -> Float32Array:
        """Embed label names with the model's prompt template.

        Returns
        -------
        array of shape (n_names, dim), float32
            Unit rows, in order.
        """
        return self.embed_texts([self.label_prompt(name) for name in names])

    def label_prompt(self, name: str) -> str:
        """Return the text to embed for a label's name."""
        return name


class Encoder(ImageEncoder, TextEncoder):
    """Embeds images and texts into one space."""


def texts_of(encoder: ImageEncoder) -> Encoder:
    """Return the encoder if it also embeds texts; else raise `UsageError`."""
    if not isinstance(encoder, Encoder):
        raise UsageError(
            f"The model {encoder.name} has no text encoder, so it cannot embed a text. Query with "
            "images, items or vectors, or choose a model with a text encoder."
        )
    return encoder
