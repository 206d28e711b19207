"""Batches → vectors, where a batch that fails is tried again item by item, once."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import numpy as np
import numpy.typing as npt

from ..encoders import Encoder
from ..errors import InferenceError
from ..tally import counted
from .batches import PixelBatches
from .reading import one_line

__all__ = ["embed_batches"]

Vector = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]
Answers = list[Vector | str]

_GREY = 128


def embed_batches(encoder: Encoder, batches: PixelBatches) -> Generator[Answers, None, None]:
    """Embed batches, several under way, in order.

    Yields
    ------
    list of array of shape (dim,), float32, or str
        For each row of a batch its vector, or why it has none.

    Raises
    ------
    InferenceError
        The encoder fails whatever it is given.
    """
    while not batches.ended:
        try:
            yield from _stream(encoder, batches)
            continue
        except InferenceError:
            if batches.broke or not batches.n_unanswered:
                raise
        # The first has probably failed; what was under way behind it is given whole once more.
        yield _one_by_one(encoder, batches)
        while batches.n_unanswered:
            yield _again(encoder, batches)


def _stream(encoder: Encoder, batches: PixelBatches) -> Iterator[Answers]:
    n_before = batches.n_given
    for vectors in encoder.embed_pixels(batches):
        answers = _checked(encoder, batches.oldest(), vectors)
        batches.answered()
        yield answers
    if batches.n_unanswered or (batches.n_given == n_before and not batches.ended):
        raise InferenceError(
            f"Encoder {encoder.name} gave no vectors for "
            f"{counted(batches.n_unanswered, 'batches')}, or took none. Check it with "
            "datumaro_embed.testing.EncoderContract."
        )


def _again(encoder: Encoder, batches: PixelBatches) -> Answers:
    try:
        answers = _embed(encoder, batches.oldest())
    except InferenceError:
        return _one_by_one(encoder, batches)
    batches.answered()
    return answers


def _one_by_one(encoder: Encoder, batches: PixelBatches) -> Answers:
    pixels = batches.oldest()
    answers = [answer for row in pixels for answer in _alone(encoder, row)]
    if all(isinstance(answer, str) for answer in answers):
        # Is it the images, or the device? A plain one would tell.
        _embed(encoder, np.full_like(pixels[:1], _GREY))
    batches.answered()
    return answers


def _alone(encoder: Encoder, pixels: Pixels) -> Answers:
    try:
        return _embed(encoder, pixels[None])
    except InferenceError as error:
        return [one_line(str(error))]


def _embed(encoder: Encoder, pixels: Pixels) -> Answers:
    found = [np.empty((0, encoder.dim), np.float32), *encoder.embed_pixels([pixels])]
    return _checked(encoder, pixels, np.concatenate(found))


def _checked(encoder: Encoder, pixels: Pixels, vectors: npt.NDArray[np.float32]) -> Answers:
    if vectors.shape != (len(pixels), encoder.dim):
        raise InferenceError(
            f"Encoder {encoder.name} gave an array of shape {vectors.shape} for {len(pixels)} "
            "images. Check it with datumaro_embed.testing.EncoderContract."
        )
    if not np.isfinite(vectors).all():
        raise InferenceError("The model gave values that are not finite. Try `--precision f32`.")
    return list(vectors)
