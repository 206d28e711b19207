"""A picture and one that shows more → whether that is a border, a page, or more of the picture."""

from __future__ import annotations

import math
from operator import itemgetter
from typing import Literal

import cv2
import numpy as np

from .differences import Array, Sizes, aligned, compared, resized, turned
from .gates import gates
from .mapping import likely_maps

__all__ = ["Nesting", "nesting"]

Nesting = Literal["framed", "cropped", ""]

_APART_PX = 3  # from the edge of the part to the pixels beside it: what a map may be off
_MARGIN_PX = 3 * _APART_PX
_EDGE_LEVELS, _EDGE_TIMES = 12.0, 1.6  # least step where the part ends; beside steps elsewhere
_LEVELS, _CHROMA = 24, 60  # by which one color may vary: noise, JPEG; by which a page has colors
_OTHERS, _COLORED = 0.6, 0.002  # greatest share of a page that is text, that has colors
_MORE_PIXELS = 16.0  # of a crop, beside the part of a thumbnail: it is not worse


def nesting(inner: Array, outer: Array, sizes: Sizes, signatures: Array) -> Nesting:
    """Tell what an outer picture shows around an inner one that is proven to be a part of it.

    2 to 10 ms.

    Parameters
    ----------
    inner, outer : arrays of shape (height, width, 3), uint8
        Upright RGB, at most `LONGEST_PX` long.
    sizes : pair of (width, height)
        Of the images themselves.
    signatures : array of shape (2, 3072), uint8

    Returns
    -------
    ``framed``: the part ends at an edge, and all around it is of one color, or a page. ``cropped``:
    more of the same picture is around it. Empty: something else is around it, or the outer one is a
    thumbnail: the inner one has more than 16 times the pixels of the same part.
    """
    gate = gates(signatures, np.array([0]), np.array([1]))[0].tolist()
    likely = likely_maps(signatures[0], signatures[1], sizes, gate)
    found: list[tuple[float, Array]] = []  # correlations at one scale, and maps
    for one in likely:
        if one.swapped:
            continue
        small, matrix = turned(inner, one.turn), one.matrix
        area = abs(np.linalg.det(matrix[:2, :2]))
        scale = math.sqrt(area * outer[..., 0].size / small[..., 0].size)
        small = resized(small, *(n * min(scale, 1) for n in small.shape[1::-1]))
        large = resized(outer, *(n / max(scale, 1) for n in outer.shape[1::-1]))
        finer = aligned(small, large, matrix, cv2.MOTION_AFFINE, 20)
        ways = [matrix] if finer is None else [matrix, finer]
        seen = [(compared(small, large, way), way) for way in ways]
        alike = [(each.correlation, way) for each, way in seen if each is not None]
        found.append(max(alike, key=itemgetter(0), default=(0.0, matrix)))
    if not found:
        return ""
    matrix = max(found, key=itemgetter(0))[1]
    if _ends_at_an_edge(outer, matrix):
        return "framed" if _is_border_or_page(outer, matrix) else ""
    cover = abs(float(np.linalg.det(matrix[:2, :2])))
    (w, h), (outer_w, outer_h) = sizes
    return "cropped" if cover * outer_w * outer_h * _MORE_PIXELS >= w * h else ""


def _is_border_or_page(outer: Array, matrix: Array) -> bool:
    """Tell whether all that is well outside the part has one color, or is a page.

    A page has hardly any colors but that of most of it: dark text, gray lines.
    """
    h, w = outer.shape[:2]
    corners = np.array([[0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]]) @ matrix[:2].T * (w, h)
    part = cv2.fillConvexPoly(np.zeros((h, w), np.uint8), corners.round().astype(np.int32), 1)
    wider = cv2.dilate(part, np.ones((2 * _APART_PX + 1,) * 2, np.uint8))
    outside = cv2.blur(outer, (3, 3))[wider == 0].astype(np.int16)
    if not len(outside):
        return False
    off = outside - np.median(outside, axis=0)
    is_other = np.abs(off).max(axis=1) > _LEVELS
    is_colored = is_other & (np.ptp(off, axis=1) > _CHROMA)
    return bool(is_other.mean() <= _OTHERS and is_colored.mean() <= _COLORED)


def _ends_at_an_edge(outer: Array, matrix: Array) -> bool:
    """Tell whether colors change where the part ends, by far more than beside it."""
    # The part and a margin around it, upright, and which pixels of these there are.
    h, w = outer.shape[:2]
    to_pixels = np.diag([w, h, 1.0]) @ matrix
    sides = [max(round(float(np.hypot(*to_pixels[:2, n]))), 2 * _MARGIN_PX) for n in (0, 1)]
    from_cut = np.array([[1, 0, -_MARGIN_PX], [0, 1, -_MARGIN_PX], [0, 0, 1]]) / 1.0
    from_cut = to_pixels @ np.diag([1 / sides[0], 1 / sides[1], 1]) @ from_cut
    size = sides[0] + 2 * _MARGIN_PX, sides[1] + 2 * _MARGIN_PX
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    soft, whole = cv2.blur(outer, (3, 3)).astype(np.float32), np.full((h, w), 255, np.uint8)
    seen, there = (cv2.warpPerspective(p, from_cut, size, flags=flags) for p in (soft, whole))
    steps: dict[int, list[Array]] = {-1: [], 0: [], 1: []}
    for turn in range(4):
        band, known = np.rot90(seen, turn), np.rot90(there > 250, turn)
        columns = slice(_MARGIN_PX, band.shape[1] - _MARGIN_PX)
        for place, found in steps.items():
            row = _MARGIN_PX + 2 * place * _APART_PX
            ends = row - _APART_PX, row + _APART_PX
            one, other = (band[end, columns] for end in ends)
            are_known = known[ends[0], columns] & known[ends[1], columns]
            found.append(np.abs(one - other).max(axis=1)[are_known])
    without, at, within = (np.concatenate(steps[place]) for place in (-1, 0, 1))
    if not min(map(len, (without, at, within))):
        return False
    usual = max(float(np.median(without)), float(np.median(within)))
    return float(np.median(at)) > max(_EDGE_LEVELS, _EDGE_TIMES * usual)
