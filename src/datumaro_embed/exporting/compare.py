"""Texts and images as our encoders prepare them, against the checkpoint's own library."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from ..encoders.preprocess import preprocess
from ..models.manifest import ImageSpec
from ..models.texts import TextTokenizer
from .traced import Traced, not_exportable

__all__ = ["check_preparation"]

_TEXTS = (
    "",
    " ",
    "a photo of a cat",
    "A Photo of a CAT, two DOGS & one (red) Ball!",
    "Don't [stop] {now} <3 http://a.b/c?d=e#f_g state-of-the-art; 50% off: $5.00, 2026-11-23",
    "tab\tnew\nline  and   blanks ",
    "naïve CAFÉ Ærøskøbing straße ΑΣΣΟΣ İstanbul e\u0301",
    "猫の写真 사진 Фотография صورة תמונה ภาพ चित्र 🐈 👩‍👩‍👧 🇩🇰 ½ ² ™ … —",
    "“Quoted” ‘Single’ ＡＢＣ ﬁne Ⅳ",
    "A word that comes again " * 60,
    "x" * 500,
)
_SIZES = ((64, 64), (37, 91), (120, 33), (301, 200), (199, 333), (500, 77), (20, 21), (613, 640))
_LEVELS = 2  # of 255: torchvision's and Pillow's filters round differently


def check_preparation(traced: Traced, tokenizer: Path, source: str) -> None:
    """Check that tokens and pixels are those of the library that the checkpoint is for.

    Raises
    ------
    ModelInvalidError
        Others: every vector would be wrong, and nothing would say so.
    """
    ours = TextTokenizer(tokenizer, traced.text)(_TEXTS)
    theirs = traced.reference_tokens(_TEXTS)
    for name, found in zip(("input_ids", "attention_mask"), ours, strict=True):
        if name not in traced.text.inputs:
            continue
        expected = np.asarray(theirs[name])
        for text, mine, other in zip(_TEXTS, found, expected, strict=True):
            if not np.array_equal(mine, other):
                at = int(np.flatnonzero(mine != other)[0]) if mine.shape == other.shape else 0
                raise not_exportable(
                    source,
                    f"its tokenizer.json makes other {name} of {text[:60]!r} than its library's "
                    f"tokenizer: from token {at} on {_few(mine, at)}, not {_few(other, at)}",
                )
    for image in _images():
        off = _levels_apart(image, traced)
        if not off <= _LEVELS:
            raise not_exportable(
                source,
                f"an image of {image.width} x {image.height} px is prepared otherwise than by its "
                f"library, up to {off:.0f} of 255 levels apart",
            )


def _levels_apart(image: Image.Image, traced: Traced) -> float:
    """Return the largest difference of a pixel from the library's, in levels of 8 bits.

    transformers cuts the centre out at (side - size) // 2; torchvision and OpenAI's code, and so
    ours, at round((side - size) / 2). Where these differ, the library's may lie one pixel before.
    """
    spec = traced.image
    theirs = np.asarray(traced.reference_pixels(image), np.float64).transpose(1, 2, 0)
    theirs = (theirs * np.array(spec.std) + np.array(spec.mean)) / spec.scale
    ours = preprocess(image, spec).astype(np.float64)
    if ours.shape != theirs.shape:
        return np.inf
    shifts = product(*(_cuts(side, image, spec) for side in (image.height, image.width)))
    n = spec.size_px
    return min(float(np.abs(ours[: n - y, : n - x] - theirs[y:, x:]).max()) for y, x in shifts)


def _cuts(side: int, image: Image.Image, spec: ImageSpec) -> tuple[int, ...]:
    """Return by how many pixels two rules of the centre may differ along a side."""
    cut = int(spec.resize_px * side / min(image.size)) - spec.size_px
    return (0, 1) if spec.resize == "shortest_side" and cut % 4 == 3 else (0,)


def _images() -> Iterator[Image.Image]:
    """Yield smooth and noisy images of odd sizes."""
    rng = np.random.default_rng(0)
    for i, (width, height) in enumerate(_SIZES):
        shape = (height, width, 3) if i % 2 else (5, 7, 3)
        noise = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
        yield noise.resize((width, height), Image.Resampling.BICUBIC)


def _few(ids: Sequence[int], at: int) -> list[int]:
    return [int(i) for i in ids[at : at + 6]]
