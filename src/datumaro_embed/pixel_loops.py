"""Loops over pixels, from which an image's statistics are made, with OpenCV.

`pixel_loops_numba` gives the same numbers in half the time.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["FIXED", "WINDOW_PX", "count_levels", "edge_sums", "halved"]

UInt8Array = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]

WINDOW_PX = 9
FIXED = 1 << 32  # fractions of a sum are whole numbers of these, which any order adds alike
_NOISE = np.array([1, -2, 1], np.float32)  # across and down: blind to planes and edges


def halved(pixels: UInt8Array) -> UInt8Array:
    """Average 2 x 2 pixels; without an odd last row or column it takes a tenth of the time."""
    height, width = (side // 2 for side in pixels.shape[:2])
    pixels = pixels[: 2 * height, : 2 * width]
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def count_levels(gray: UInt8Array, every: int, margin: int) -> Int64Array:
    """Count levels: (5, 256) int64.

    Parameters
    ----------
    gray : array of shape (height, width), uint8
        At least 3 x 3.
    every : int
        Rows from one that is looked at to the next.
    margin : int
        Rows above and below those in which noise is looked for.

    Returns
    -------
    Histograms of the levels; of the steps across, down, and the greater of both, over two pixels;
    and of the noise, at most 255.
    """
    across, down = _steps(gray, every)
    noise = cv2.sepFilter2D(gray[margin : len(gray) - margin], cv2.CV_16S, _NOISE, _NOISE)
    parts: tuple[Any, ...] = (gray[::every], across, down, cv2.max(across, down))
    parts = (*parts, cv2.convertScaleAbs(noise))
    counts = [cv2.calcHist([part], [0], None, [256], [0, 256]).reshape(-1) for part in parts]
    return np.stack(counts).astype(np.int64)


def edge_sums(gray: UInt8Array, every: int, levels: tuple[int, int]) -> tuple[int, int]:
    """Add step by range nearby, of the steps across and down that reach a level, in `FIXED`."""
    rows = np.ascontiguousarray(gray[1:-1:every])
    window = np.ones((WINDOW_PX // every | 1, WINDOW_PX), np.uint8)
    ranges = cv2.morphologyEx(rows, cv2.MORPH_GRADIENT, window)[:, 1:-1]
    sums = []
    for steps, level in zip(_steps(gray, every), levels, strict=True):
        chosen = steps >= level
        shares = steps[chosen] / (ranges[chosen] + 4.0)
        sums.append(int(np.rint(shares * FIXED).astype(np.int64).sum()))
    return sums[0], sums[1]


def _steps(gray: UInt8Array, every: int) -> tuple[UInt8Array, UInt8Array]:
    rows = gray[1:-1:every]
    across = cv2.absdiff(rows[:, 2:], rows[:, :-2])
    down = cv2.absdiff(gray[2::every, 1:-1], gray[:-2:every, 1:-1])
    return np.asarray(across, np.uint8), np.asarray(down, np.uint8)
