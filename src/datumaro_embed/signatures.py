"""Upright RGB pixels → a small signature and statistics, by which images are compared and judged.

Both are computed once, from the pixels that are decoded for embedding.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .compiled import faster
from .pixels import rgbx
from .records import SIGNATURE_BYTES, SIGNATURE_SIDE, STATISTICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

__all__ = [
    "SIGNATURE_BYTES",
    "SIGNATURE_SIDE",
    "STATISTICS",
    "describe",
    "signature",
]

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]

_LEAST_SIDE_PX = 224  # images are halved while both sides stay as long
_ONE_BLOCK = 4 * 2**20  # pixels; Pillow shrinks an image of several blocks sooner than it copies it
_STRONGEST = 0.005
_FEW_EDGES = 8
_NOISE_LEVELS = 0.6745 * 6  # median of the filter's absolute answer to noise of one level


def signature(pixels: UInt8Array) -> UInt8Array:
    """Squash an image to 32 x 32 pixels: (3072,) uint8, rows of pixels of R, G, B.

    The shape is not in it: it goes with the image's width and height.

    Parameters
    ----------
    pixels : array of shape (height, width, 3 or 4), uint8
        R, G, B; what is fourth is left out.
    """
    import cv2

    from . import pixel_loops

    loops = _chosen() if pixels.shape[2] == 4 and pixels.flags.c_contiguous else pixel_loops
    while min(pixels.shape[:2]) >= 4 * SIGNATURE_SIDE:  # most of the way, at a tenth of the cost
        pixels = loops.halved(pixels)
    side = (SIGNATURE_SIDE, SIGNATURE_SIDE)
    small = np.asarray(cv2.resize(pixels, side, interpolation=cv2.INTER_AREA), np.uint8)
    return small[..., :3].reshape(-1)


def describe(image: Image.Image) -> tuple[UInt8Array, Float32Array]:
    """Return the signature of an image, and the numbers that `STATISTICS` names.

    Parameters
    ----------
    image : Image.Image
        Upright, mode RGB.

    Notes
    -----
    An image with both sides of 448 pixels or more is measured at a half, a quarter, … of its size.
    Less than 1 ms of a core for 640 x 480 pixels.
    """
    import cv2

    if image.width * image.height > _ONE_BLOCK:
        factor = 1
        while min(image.size) // (2 * factor) >= _LEAST_SIDE_PX:
            factor *= 2
        image = image.reduce(factor)
    loops = _chosen()
    pixels = rgbx(image)
    while min(pixels.shape[:2]) >= 2 * _LEAST_SIDE_PX:
        pixels = loops.halved(pixels)
    squashed = signature(pixels)
    gray = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGBA2GRAY), np.uint8)
    every = 4 if len(gray) >= _LEAST_SIDE_PX // 2 else 1  # of the rows: they tell enough
    margin = 3 * len(gray) // 8 if every > 1 else 0  # the rows between tell enough
    if min(gray.shape) < 3:
        gray = np.asarray(np.pad(gray, 1, mode="edge"), np.uint8)
    counts = loops.count_levels(gray, every, margin)
    share = counts[0] / counts[0].sum()
    levels = np.arange(256)
    mean = float(share @ levels)
    seen = share[share > 0]
    red, green, blue = squashed.reshape(-1, 3).T
    most, least = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    numbers = (
        *_percentiles(share, (0.01, 0.05, 0.5, 0.95, 0.99)),
        mean,
        float(share @ (levels - mean) ** 2) ** 0.5,
        -float(seen @ np.log2(seen)),
        float(share.max()),
        float((most - least).mean()),
        *_edges(gray, counts, every, loops),
        _percentiles(counts[4] / counts[4].sum(), (0.5,))[0] / _NOISE_LEVELS,
    )
    return squashed, np.array(numbers, np.float32)


def _percentiles(share: npt.NDArray[np.float64], wanted: Sequence[float]) -> list[float]:
    found = np.searchsorted(np.cumsum(share), np.array(wanted) - 1e-9)
    return [float(level) for level in found]


def _edges(gray: UInt8Array, counts: Any, every: int, loops: Any) -> tuple[float, float, float]:
    """Return sharpness, and the shares of the pixels that are edges and that are flat.

    The sharpness is the lesser of that across and that down: a picture that moved while it was
    taken is sharp one way. A direction that has next to no edges does not count.
    """
    n_steps = counts[1].sum()
    n_reaching = np.cumsum(counts[1:3, ::-1], axis=1)[:, ::-1]  # steps that are at least so high
    lowest = np.count_nonzero(n_reaching >= max(1.0, _STRONGEST * n_steps), axis=1) - 1
    sums = loops.edge_sums(gray, every, tuple(lowest.tolist()))
    ratios = [
        total / loops.FIXED / int(reaching[level])
        for total, level, reaching in zip(sums, lowest, n_reaching, strict=True)
        if level > lowest.max() / _FEW_EDGES
    ]
    share = counts[3] / n_steps
    return min(ratios, default=0.0), float(share[32:].sum()), float(share[:4].sum())


def _chosen() -> Any:
    """Return the module of loops over pixels: numba's, once the encoder has loaded numba."""
    from . import pixel_loops

    return _fastest() if "numba" in sys.modules else pixel_loops


@cache
def _fastest() -> Any:
    from . import pixel_loops

    def load() -> Any:
        from . import pixel_loops_numba

        return pixel_loops_numba

    return faster(load, pixel_loops, _tried, "OpenCV loops over the pixels of all images")


def _tried(loops: Any) -> list[Any]:
    """Give what a module finds in noise."""
    noise = np.random.default_rng(0).integers(0, 256, (131, 83, 4), dtype=np.uint8)
    gray = np.ascontiguousarray(noise[..., 0])
    found = [loops.halved(noise)]
    for every, margin in ((1, 0), (4, 49)):
        found += [loops.count_levels(gray, every, margin), loops.edge_sums(gray, every, (99, 120))]
    return found
