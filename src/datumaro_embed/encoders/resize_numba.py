"""Pillow's resize and a crop, compiled by numba: the same pixels in a third of the time.

Pillow resizes across, then down, each time to 8 bits, with weights in fixed point. So does this,
but only what the crop keeps, and with rows turned on their side, a few at a time: the same pixel of
each then lies side by side, as vector instructions need it.

Source: Pillow, src/libImaging/Resample.c.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = ["FILTERS", "resize_and_crop"]

FILTERS = {Image.Resampling.BILINEAR: 1, Image.Resampling.BICUBIC: 2}
"""How many pixels on either side a filter takes where nothing is made smaller."""

_BITS = 22  # of a weight's fraction; with 8 of a pixel and the sign it fits 32
_ROWS = 32  # turned at a time
_STRIP_BYTES = 4 << 20  # of pixels copied out of Pillow at a time

_Function = TypeVar("_Function", bound=Callable[..., Any])


class _Taps(NamedTuple):
    """Output i is made of ``n_taps[i]`` inputs from ``first[i]`` on, with ``weights[i]``."""

    first: npt.NDArray[np.int64]
    n_taps: npt.NDArray[np.int64]
    weights: npt.NDArray[np.int32]


def resize_and_crop(
    image: Image.Image,
    size: tuple[int, int],
    box: tuple[int, int, int, int],
    resample: Image.Resampling,
) -> npt.NDArray[np.uint8]:
    """Return the pixels of ``image.resize(size, resample).crop(box)``.

    Parameters
    ----------
    image : Image.Image
        Mode RGB.
    size : (int, int)
        Width and height in pixels.
    box : (int, int, int, int)
        Left, top, right, bottom in pixels of the resized image, inside it.
    resample : Image.Resampling
        One of `FILTERS`.

    Returns
    -------
    array of shape (bottom - top, right - left, 3), uint8
        RGB, C-contiguous.
    """
    left, top, right, bottom = box
    columns = _taps(image.width, size[0], left, right, FILTERS[resample])
    rows = _taps(image.height, size[1], top, bottom, FILTERS[resample])
    start, stop = int(rows.first[0]), int(rows.first[-1] + rows.n_taps[-1])
    across = np.empty((stop - start, 3 * (right - left)), np.uint8)
    n_rows = max(_STRIP_BYTES // (3 * image.width), _ROWS)
    for at in range(start, stop, n_rows):
        end = min(at + n_rows, stop)
        is_whole = (at, end) == (0, image.height)
        strip = image if is_whole else image.crop((0, at, image.width, end))
        _resize_across(np.asarray(strip), *columns, across[at - start : end - start])
    out = np.empty((bottom - top, 3 * (right - left)), np.uint8)
    _resize_down(across, rows.first - start, rows.n_taps, rows.weights, out)
    return out.reshape(bottom - top, right - left, 3)


def _taps(n_in: int, n_out: int, start: int, stop: int, support: int) -> _Taps:
    """Return Pillow's weights for the outputs from `start` to `stop`."""
    n = stop - start
    most = math.ceil(support * max(n_in / n_out, 1.0)) * 2 + 1
    taps = _Taps(np.empty(n, np.int64), np.empty(n, np.int64), np.zeros((n, most), np.int32))
    _fill(n_in, n_out, start, support, *taps)
    return taps


def _compiled(signature: str) -> Callable[[_Function], _Function]:
    def compiled(function: _Function) -> _Function:
        try:
            made = numba.njit(signature, nogil=True, cache=True)(function)
        except Exception:  # no folder to keep it in, no room there, or what is kept is damaged
            made = numba.njit(signature, nogil=True)(function)
        return cast(_Function, made)

    return compiled


@_compiled("void(int64, int64, int64, int64, int64[::1], int64[::1], int32[:, ::1])")
def _fill(
    n_in: int,
    n_out: int,
    start: int,
    support: int,
    first: npt.NDArray[np.int64],
    n_taps: npt.NDArray[np.int64],
    weights: npt.NDArray[np.int32],
) -> None:
    """Fill in taps, in the order of Pillow's own sums: its `precompute_coeffs`."""
    scale = n_in / n_out
    wider = max(scale, 1.0)
    exact = np.empty(weights.shape[1])
    for i in range(len(first)):
        center = (start + i + 0.5) * scale
        low = max(int(center - support * wider + 0.5), 0)
        n = min(int(center + support * wider + 0.5), n_in) - low
        total = 0.0
        for k in range(n):
            x = abs((k + low - center + 0.5) * (1.0 / wider))
            if support == 1:
                exact[k] = max(1.0 - x, 0.0)
            elif x < 1.0:
                exact[k] = (1.5 * x - 2.5) * x * x + 1.0
            elif x < 2.0:
                exact[k] = (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5
            else:
                exact[k] = 0.0
            total += exact[k]
        for k in range(n):
            weight = (exact[k] / total if total != 0.0 else exact[k]) * (1 << _BITS)
            weights[i, k] = int(weight - 0.5) if weight < 0.0 else int(weight + 0.5)
        first[i], n_taps[i] = low, n


@_compiled("void(Array(uint8, 3, 'C', True), int64[::1], int64[::1], int32[:, ::1], uint8[:, ::1])")
def _resize_across(
    image: npt.NDArray[np.uint8],
    first: npt.NDArray[np.int64],
    n_taps: npt.NDArray[np.int64],
    weights: npt.NDArray[np.int32],
    out: npt.NDArray[np.uint8],
) -> None:
    height, width, _ = image.shape
    n = min(_ROWS, height)
    turned = np.empty((width, 3 * n), np.uint8)  # column; then R of each row, G, B
    sums = np.empty(3 * n, np.int32)
    for top in range(0, height, _ROWS):
        n = min(_ROWS, height - top)
        for row in range(n):
            for x in range(width):
                turned[x, row] = image[top + row, x, 0]
                turned[x, n + row] = image[top + row, x, 1]
                turned[x, 2 * n + row] = image[top + row, x, 2]
        for i in range(len(first)):
            for j in range(3 * n):
                sums[j] = 1 << (_BITS - 1)
            for k in range(n_taps[i]):
                pixels, weight = turned[first[i] + k], weights[i, k]
                for j in range(3 * n):
                    sums[j] += np.int32(pixels[j]) * weight
            for row in range(n):
                for c in range(3):
                    out[top + row, 3 * i + c] = min(max(sums[c * n + row] >> _BITS, 0), 255)


@_compiled("void(uint8[:, ::1], int64[::1], int64[::1], int32[:, ::1], uint8[:, ::1])")
def _resize_down(
    image: npt.NDArray[np.uint8],
    first: npt.NDArray[np.int64],
    n_taps: npt.NDArray[np.int64],
    weights: npt.NDArray[np.int32],
    out: npt.NDArray[np.uint8],
) -> None:
    n = image.shape[1]
    sums = np.empty(n, np.int32)
    for i in range(len(first)):
        for j in range(n):
            sums[j] = 1 << (_BITS - 1)
        for k in range(n_taps[i]):
            pixels, weight = image[first[i] + k], weights[i, k]
            for j in range(n):
                sums[j] += np.int32(pixels[j]) * weight
        for j in range(n):
            out[i, j] = min(max(sums[j] >> _BITS, 0), 255)
