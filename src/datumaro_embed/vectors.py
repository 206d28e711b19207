"""Pure NumPy on embedding vectors: unit norm and exact cosine top-k in bounded memory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["top_k_cosine", "unit_rows"]

FloatArray = npt.NDArray[np.floating]

_BLOCK_ROWS = 65_536


def unit_rows(vectors: FloatArray) -> npt.NDArray[np.float32]:
    """Scale rows to Euclidean norm 1; a zero row stays zero.

    Parameters
    ----------
    vectors : array of shape (n_rows, dim), any float dtype

    Returns
    -------
    array of shape (n_rows, dim), float32
    """
    rows = np.asarray(vectors, dtype=np.float32)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.zeros_like(rows)
    np.divide(rows, norms, out=unit, where=norms > 0)
    return unit


def top_k_cosine(
    query: FloatArray, vectors: FloatArray, k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Rows of highest cosine similarity to one query.

    Parameters
    ----------
    query : array of shape (dim,), any float dtype
    vectors : array of shape (n_rows, dim)
        Unit or zero rows, float16 or float32; may be a memory map.
    k : int
        At most this many rows are returned.

    Returns
    -------
    rows : array of shape (min(k, n_rows),), int64
        Descending similarity; ties in ascending row order.
    similarities : array of the same shape, float32, in [-1, 1]

    Notes
    -----
    O(n_rows · dim) time; memory beyond the result is one block of 65,536 rows in float32.
    """
    unit_query = unit_rows(np.asarray(query)[None])[0]
    similarities = np.empty(len(vectors), dtype=np.float32)
    for start in range(0, len(vectors), _BLOCK_ROWS):
        block = np.asarray(vectors[start : start + _BLOCK_ROWS], dtype=np.float32)
        similarities[start : start + len(block)] = block @ unit_query
    rows = np.argsort(-similarities, kind="stable")[:k]
    return rows, similarities[rows]
