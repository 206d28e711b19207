"""Cosine in float64, which alone decides order, ties and thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
VectorArray = npt.NDArray[np.floating[Any]]

_CHUNK_ROWS = 4096


def cosines(vectors: VectorArray, rows: IntArray, unit_query: Float64Array) -> Float64Array:
    """Return the cosine of rows with one unit query: shape (n,), in [-1, 1]; 0 for a zero row.

    Equal rows give equal bits, at any position.
    """
    found = np.empty(len(rows))
    for start in range(0, len(rows), _CHUNK_ROWS):
        block = vectors[rows[start : start + _CHUNK_ROWS]].astype(np.float64)
        found[start : start + len(block)] = _ratio((block * unit_query).sum(axis=1), block)
    return found


def paired_cosines(vectors: VectorArray, first: IntArray, second: IntArray) -> Float64Array:
    """Return the cosines of rows ``first[i]`` and ``second[i]``: shape (n,), in [-1, 1]."""
    found = np.empty(len(first))
    for start in range(0, len(first), _CHUNK_ROWS):
        a = vectors[first[start : start + _CHUNK_ROWS]].astype(np.float64)
        b = vectors[second[start : start + _CHUNK_ROWS]].astype(np.float64)
        found[start : start + len(a)] = _ratio((a * b).sum(axis=1), a, b)
    return found


def best(rows: IntArray, similarities: Float64Array, k: int) -> tuple[IntArray, Float64Array]:
    """Order by descending similarity, ties by ascending row, and cut at k."""
    order = np.lexsort((rows, -similarities))[:k]
    return rows[order], similarities[order]


def _ratio(dots: Float64Array, *blocks: Float64Array) -> Float64Array:
    norms = np.ones(len(dots))
    for block in blocks:
        norms *= np.sqrt((block * block).sum(axis=1))
    return np.divide(dots, norms, out=np.zeros(len(dots)), where=norms > 0).clip(-1, 1)
