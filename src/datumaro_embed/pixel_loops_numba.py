"""`pixel_loops`, compiled by numba: the same numbers in half the time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .compiled import compiled, inlined
from .pixel_loops import FIXED, WINDOW_PX

UInt8Array = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint32]


_LANES = np.uint32(0x00FF00FF)  # every second byte of a word
_HALF = np.uint32(0x00020002)
_BYTE, _QUARTER = np.uint32(8), np.uint32(2)


def halved(pixels: UInt8Array) -> UInt8Array:
    """See `pixel_loops.halved`; only of contiguous pixels of four bytes."""
    height, width = (side // 2 for side in pixels.shape[:2])
    found = np.empty((height, width), np.uint32)
    _halve(pixels.view(np.uint32)[:, :, 0], found)
    return found.view(np.uint8).reshape(height, width, 4)


def count_levels(gray: UInt8Array, every: int, margin: int) -> Int64Array:
    """See `pixel_loops.count_levels`."""
    counts = np.zeros((5, 256), np.int64)
    _count(gray, every, margin, counts)
    return counts


def edge_sums(gray: UInt8Array, every: int, levels: tuple[int, int]) -> tuple[int, int]:
    """See `pixel_loops.edge_sums`."""
    sums = np.zeros(2, np.int64)
    _add_edges(gray, every, *levels, sums)
    return int(sums[0]), int(sums[1])


@compiled("void(Array(uint32, 2, 'C', True), uint32[:, ::1])")
def _halve(words: Words, found: Words) -> None:
    """Average 2 x 2 words of four bytes, two bytes at a time."""
    height, width = found.shape
    for y in range(height):
        above, below, out = words[2 * y], words[2 * y + 1], found[y]
        for x in range(width):
            p, q, r, s = above[2 * x], above[2 * x + 1], below[2 * x], below[2 * x + 1]
            even = (p & _LANES) + (q & _LANES) + (r & _LANES) + (s & _LANES) + _HALF
            p, q, r, s = p >> _BYTE, q >> _BYTE, r >> _BYTE, s >> _BYTE
            odd = (p & _LANES) + (q & _LANES) + (r & _LANES) + (s & _LANES) + _HALF
            out[x] = (even >> _QUARTER & _LANES) | (odd >> _QUARTER & _LANES) << _BYTE


@inlined
def _mirrored(at: int, n: int) -> int:
    """Reflect a place at the ends, which are not repeated, as OpenCV does by default."""
    if at < 0:
        return -at if n > 1 else 0
    return at if at < n else 2 * n - 2 - at


@compiled("void(uint8[:, ::1], int64, int64, int64[:, ::1])")
def _count(gray: UInt8Array, every: int, margin: int, counts: Int64Array) -> None:
    height, width = gray.shape
    for y in range(0, height, every):
        for x in range(width):
            counts[0, gray[y, x]] += 1
    for y in range(1, height - 1, every):
        for x in range(1, width - 1):
            across = abs(np.int32(gray[y, x + 1]) - np.int32(gray[y, x - 1]))
            down = abs(np.int32(gray[y + 1, x]) - np.int32(gray[y - 1, x]))
            counts[1, across] += 1
            counts[2, down] += 1
            counts[3, max(across, down)] += 1
    bent = np.empty(width, np.int32)
    n_rows = height - 2 * margin
    for row in range(n_rows):
        above, below = margin + _mirrored(row - 1, n_rows), margin + _mirrored(row + 1, n_rows)
        for x in range(width):
            middle = np.int32(gray[margin + row, x])
            bent[x] = np.int32(gray[above, x]) - 2 * middle + np.int32(gray[below, x])
        for x in range(width):
            sides = bent[_mirrored(x - 1, width)] + bent[_mirrored(x + 1, width)]
            counts[4, min(abs(sides - 2 * bent[x]), 255)] += 1


@inlined
def _range(gray: UInt8Array, every: int, y: int, x: int) -> int:
    """Largest less least level around a pixel, of the rows that are looked at."""
    height, width = gray.shape
    least, most = np.int32(255), np.int32(0)
    reach = (WINDOW_PX // every | 1) // 2
    for row in range(y - reach * every, y + reach * every + 1, every):
        if 1 <= row < height - 1:
            for column in range(max(x - WINDOW_PX // 2, 0), min(x + WINDOW_PX // 2 + 1, width)):
                level = np.int32(gray[row, column])
                least, most = min(least, level), max(most, level)
    return int(most - least)


@compiled("void(uint8[:, ::1], int64, int64, int64, int64[::1])")
def _add_edges(gray: UInt8Array, every: int, across: int, down: int, sums: Int64Array) -> None:
    height, width = gray.shape
    for y in range(1, height - 1, every):
        for x in range(1, width - 1):
            step = abs(np.int32(gray[y, x + 1]) - np.int32(gray[y, x - 1]))
            fall = abs(np.int32(gray[y + 1, x]) - np.int32(gray[y - 1, x]))
            if step >= across or fall >= down:
                size = _range(gray, every, y, x) + 4.0
                if step >= across:
                    sums[0] += np.int64(np.rint(step / size * FIXED))
                if fall >= down:
                    sums[1] += np.int64(np.rint(fall / size * FIXED))
