"""Upright RGB pixels → a small signature and statistics, by which images are compared and judged.

Both are computed once, from the pixels that are decoded for embedding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

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
_WINDOW_PX = 9
_NOISE = np.array([1, -2, 1], np.float32)  # across and down: blind to planes and edges
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

    while min(pixels.shape[:2]) >= 4 * SIGNATURE_SIDE:  # most of the way, at a tenth of the cost
        pixels = _halved(pixels)
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
        image = image.reduce(_shrinking(*image.size))
    pixels = rgbx(image)
    while min(pixels.shape[:2]) >= 2 * _LEAST_SIDE_PX:
        pixels = _halved(pixels)
    squashed = signature(pixels)
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGBA2GRAY)
    counts = _histogram(gray[:: _row_step(gray)])
    share = counts / counts.sum()
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
        *_edges(gray),
        _noise(gray),
    )
    return squashed, np.array(numbers, np.float32)


def _shrinking(width: int, height: int) -> int:
    """Return by how much (1, 2, 4, …) an image is shrunk before it is measured."""
    factor = 1
    while min(height, width) // (2 * factor) >= _LEAST_SIDE_PX:
        factor *= 2
    return factor


def _halved(pixels: UInt8Array) -> UInt8Array:
    """Average 2 x 2 pixels; without an odd last row or column it takes a tenth of the time."""
    import cv2

    height, width = (side // 2 for side in pixels.shape[:2])
    pixels = pixels[: 2 * height, : 2 * width]
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _histogram(gray: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    import cv2

    return cv2.calcHist([gray], [0], None, [256], [0, 256]).ravel().astype(np.float64)


def _percentiles(share: npt.NDArray[np.float64], wanted: Sequence[float]) -> list[float]:
    found = np.searchsorted(np.cumsum(share), np.array(wanted) - 1e-9)
    return [float(level) for level in found]


def _edges(gray: npt.NDArray[Any]) -> tuple[float, float, float]:
    """Return sharpness, and the shares of the pixels that are edges and that are flat.

    The sharpness is the lesser of that across and that down: a picture that moved while it was
    taken is sharp one way. A direction that has next to no edges does not count.
    """
    import cv2

    if min(gray.shape) < 3:
        return 0.0, 0.0, 1.0
    step = _row_step(gray)
    rows = gray[1:-1:step]
    across = cv2.absdiff(rows[:, 2:], rows[:, :-2])
    down = cv2.absdiff(gray[2::step, 1:-1], gray[:-2:step, 1:-1])
    window = np.ones((_WINDOW_PX // step | 1, _WINDOW_PX), np.uint8)
    ranges = cv2.morphologyEx(rows, cv2.MORPH_GRADIENT, window)[:, 1:-1]
    strongest = [(_strongest(steps), steps) for steps in (across, down)]
    level = max(strongest[0][0], strongest[1][0])
    ratios = []
    for lowest, steps in strongest:
        if lowest > level / _FEW_EDGES:
            places = np.divmod(np.flatnonzero(steps >= lowest), steps.shape[1])
            ratios.append(float((steps[places] / (ranges[places] + 4.0)).mean()))
    counts = _histogram(cv2.max(across, down)) / across.size
    return min(ratios, default=0.0), float(counts[32:].sum()), float(counts[:4].sum())


def _row_step(gray: npt.NDArray[Any]) -> int:
    """Return 4 if every fourth row of an image tells enough, else 1."""
    return 4 if len(gray) >= _LEAST_SIDE_PX // 2 else 1


def _strongest(step: npt.NDArray[Any]) -> int:
    """Return the level that the strongest steps reach; 0 where there are none."""
    above = np.cumsum(_histogram(step)[::-1])[::-1]  # how many steps are at least so high
    return max(0, int(np.count_nonzero(above >= max(1.0, _STRONGEST * step.size))) - 1)


def _noise(gray: npt.NDArray[Any]) -> float:
    import cv2

    margin = 3 * len(gray) // 8 if _row_step(gray) > 1 else 0  # the rows between tell enough
    answer = cv2.sepFilter2D(gray[margin : len(gray) - margin], cv2.CV_16S, _NOISE, _NOISE)
    share = _histogram(cv2.convertScaleAbs(answer))
    return _percentiles(share / share.sum(), (0.5,))[0] / _NOISE_LEVELS
