"""Signatures → numbers by which copies are near each other, however they were changed.

What is turned, gray, cut out or shown on a page may be far by the vectors of a model.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ..signatures import SIGNATURE_BYTES, SIGNATURE_SIDE
from .differences import GRAY, Array

__all__ = ["are_framed", "insides", "palettes", "turnless"]

_FRAME_COLOURS = 8  # of the cells along the edges
_EDGE = np.ones((SIGNATURE_SIDE, SIGNATURE_SIDE), bool)
_EDGE[1:-1, 1:-1] = False


def turnless(signatures: Array) -> npt.NDArray[np.float32]:
    """Describe 8 x 8 gray levels so that a turned or mirrored picture has the same: (n, 64).

    Cells that a turn exchanges are sorted; zero where there is nothing to see.
    """
    side = 8
    shapes = np.empty((len(signatures), side * side), np.float32)
    y, x = np.mgrid[:side, :side]
    y, x = np.minimum(y, side - 1 - y), np.minimum(x, side - 1 - x)
    orbits = (np.minimum(x, y) * side + np.maximum(x, y)).reshape(-1)
    order = np.argsort(orbits, kind="stable")
    cuts = np.flatnonzero(np.diff(orbits[order])) + 1
    for start in range(0, len(signatures), 4096):
        some = signatures[start : start + 4096].reshape(-1, side, 4, side, 4, 3)
        gray = some.mean(axis=(2, 4), dtype=np.float32) @ GRAY
        cells = gray.reshape(len(some), -1)[:, order]
        cells = np.concatenate([np.sort(c, axis=1) for c in np.split(cells, cuts, axis=1)], axis=1)
        cells -= cells.mean(axis=1, keepdims=True)
        norms = np.linalg.norm(cells, axis=1, keepdims=True)
        shapes[start : start + 4096] = np.where(norms > 8, cells / np.maximum(norms, 8), 0)
    return shapes


def are_framed(signatures: Array) -> Array:
    """Tell which pictures have few colours along their edges: a border, or a page around them."""
    cells = signatures.reshape(-1, SIGNATURE_SIDE**2, 3)[:, _EDGE.reshape(-1)]
    codes = np.sort(_codes_of(cells), axis=1)
    n_codes = 1 + (codes[:, 1:] != codes[:, :-1]).sum(axis=1)
    found: Array = n_codes <= _FRAME_COLOURS
    return found


def insides(signatures: Array) -> Array:
    """Cut out, of each signature, the rows and columns that have other colours than its edges."""
    side, found = SIGNATURE_SIDE, np.zeros_like(signatures)
    for n, codes in enumerate(_colour_codes(signatures).reshape(-1, side, side)):
        others = ~np.isin(codes, codes[_EDGE])
        spans = []
        for counts in (others.sum(axis=1), others.sum(axis=0)):
            many = np.flatnonzero(counts * 2 >= max(counts.max(), 1))
            spans.append(slice(many[0], many[-1] + 1) if len(many) else slice(0))
        part = signatures[n].reshape(side, side, 3)[spans[0], spans[1]]
        if part.size:
            found[n] = cv2.resize(part, (side, side), interpolation=cv2.INTER_LINEAR).reshape(-1)
    return found


def _colour_codes(signatures: Array) -> Array:
    """Number the colour of each cell, of 16 x 16 x 16: (n, 1024)."""
    return _codes_of(signatures.reshape(-1, SIGNATURE_SIDE**2, 3))


def _codes_of(cells: Array) -> Array:
    """Number colours, of 16 x 16 x 16: (…, 3) → (…), uint16."""
    red, green, blue = (cells[..., n].astype(np.uint16) >> 4 for n in range(3))
    found: Array = red << 8 | green << 4 | blue
    return found


def palettes(signatures: Array) -> npt.NDArray[np.float32]:
    """Describe which colours a picture has, hardly by how much of it: (n, 256).

    What is cut out of a picture has most of its colours; so has a page that shows it.
    """
    n_colours, dim, step = 16**3, 256, 1024
    turn = np.random.default_rng(0).standard_normal((n_colours, dim)).astype(np.float32)
    n_cells = SIGNATURE_BYTES // 3
    weights = np.linspace(0, 1, n_cells + 1, dtype=np.float32) ** 0.15
    palettes = np.empty((len(signatures), dim), np.float32)
    for start in range(0, len(signatures), step):
        some = signatures[start : start + step]
        codes = _colour_codes(some) + n_colours * np.arange(len(some))[:, None]
        counts = np.bincount(codes.reshape(-1), minlength=n_colours * len(some))
        palettes[start : start + step] = weights[counts.reshape(-1, n_colours)] @ turn
    return palettes
