"""Find the k nearest rows, equal to brute force in float64, in a fraction of the time.

NumKong multiplies the stored vectors in their own dtype and sums in float32; then the best
candidates are ranked again in float64. If rounding could have excluded a row from the candidates, a
slower scan with an error bound follows.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numkong
import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..parallel import map_ahead, usable_processors
from .cosine import BoolArray, Float32Array, Float64Array, IntArray, VectorArray, best, cosines

_QUERIES_AT_ONCE = 128
_BLOCK_ROWS = (4096, 65_536)  # minimum and maximum number of rows per scan
_BLOCK_DISTANCES = 2**22  # number of distances per scan, within these limits
_SETTLE_ROWS = 8192
_FEW_ALLOWED = 0.25  # if fewer rows of a block are allowed, only these are copied and compared
_ULPS = 1e-15


def nearest_rows(
    vectors: VectorArray, queries: npt.ArrayLike, k: int, *, allowed: BoolArray | None = None
) -> tuple[IntArray, Float64Array]:
    """Return the rows with the highest cosine similarity to each query.

    Raises `UsageError` if k is below 1, or a query has another length, is zero or not finite.

    O(n_rows · n_queries · dim) time in threads, and about 200 MB of memory for any size.

    Parameters
    ----------
    vectors : array of shape (n_rows, dim), float16 or float32
        Rows of norm 1 within 1e-3, or zero; may be a memory map.
    queries : array of shape (n_queries, dim), any float dtype
        Of any norm except zero.
    k : int
        At least 1.
    allowed : array of shape (n_rows,), bool; optional
        Rows that may be found, none of them zero; by default all.

    Returns
    -------
    rows : array of shape (n_queries, n), int64
        Descending similarity, ties in ascending row order; n is the smaller of k and the number of
        allowed rows. Equal to brute force in float64 over the stored values.
    similarities : array of shape (n_queries, n), float64, in [-1, 1]
    """
    if k < 1:
        raise UsageError(f"``k`` must be at least 1, not {k}. Ask for one item or more.", k=k)
    unit = unit_queries(queries, vectors.shape[1])
    found = np.ones(len(vectors), dtype=bool) if allowed is None else allowed
    n_allowed = int(np.count_nonzero(found))
    k = min(k, n_allowed)
    rows = np.zeros((len(unit), k), dtype=np.int64)
    similarities = np.zeros((len(unit), k))
    if not k or not len(unit):
        return rows, similarities
    n_candidates = min(n_allowed, max(2 * k, k + 64))
    stored = unit.astype(vectors.dtype)
    parts = [
        _scan(vectors, stored[start : start + _QUERIES_AT_ONCE], found, n_candidates)
        for start in range(0, len(unit), _QUERIES_AT_ONCE)
    ]
    candidates, rough = (np.concatenate(part) for part in zip(*parts, strict=True))
    rounded = stored.astype(np.float64)
    rounded /= np.linalg.norm(rounded, axis=1, keepdims=True)
    # A cosine changes by at most the change of the query (Cauchy-Schwarz) plus float32 errors.
    bounds = np.linalg.norm(rounded - unit, axis=1) + 1e-5 + vectors.shape[1] * 2.0**-23
    for query, bound in enumerate(bounds):
        exact = cosines(vectors, candidates[query], unit[query])
        ranked = best(candidates[query], exact, k)
        sure = ranked[1][-1] > rough[query].min() + bound
        as_bounded = np.abs(exact - rough[query]).max() <= bound
        if n_candidates < n_allowed and not (sure and as_bounded):
            # Very many rows are as near as the k-th: all that float32 errors do not rule out are
            # ranked, which takes seconds for a million rows.
            slack, as_stored = 1e-5 + vectors.shape[1] * 2.0**-22, unit[query].astype(np.float32)
            for start in range(0, len(vectors), _SETTLE_ROWS):
                block = vectors[start : start + _SETTLE_ROWS].astype(np.float32)
                norms = np.sqrt(np.einsum("ij,ij->i", block, block))
                near = np.divide(
                    block @ as_stored, norms, out=np.zeros_like(norms), where=norms > 0
                )
                possible = (near >= ranked[1][-1] - slack) & found[start : start + len(near)]
                fresh = np.setdiff1d(np.flatnonzero(possible) + start, ranked[0])
                exact = np.concatenate([ranked[1], cosines(vectors, fresh, unit[query])])
                ranked = best(np.concatenate([ranked[0], fresh]), exact, k)
        rows[query], similarities[query] = ranked
    return rows, similarities


def all_cosines(vectors: VectorArray, query: npt.ArrayLike) -> Float32Array:
    """(n_rows,) float32: the cosine of every row to one query, by float32 arithmetic, in threads.

    Meaningless where a row is zero. Raises `UsageError`: a query of another length, or zero.
    """
    unit = unit_queries(np.asarray(query)[None], vectors.shape[1])
    packed = numkong.dots_pack(unit.astype(vectors.dtype))

    every, n_rows = np.ones(len(vectors), dtype=bool), _BLOCK_ROWS[1]
    blocks = [slice(i, i + n_rows) for i in range(0, len(vectors), n_rows)]
    found = map_ahead(partial(_distances, vectors, packed, every), blocks)
    return 1 - np.concatenate([np.zeros(0, np.float32), *(some[:, 0] for _, some in found)])


def unit_queries(queries: npt.ArrayLike, dim: int) -> Float64Array:
    """Check queries and scale them to norm 1: array of shape (n_queries, dim), float64.

    Raises `UsageError`.
    """
    array = np.asarray(queries, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != dim:
        raise UsageError(
            f"Queries of shape {array.shape} do not fit vectors of length {dim}. "
            f"Give an array of shape (n_queries, {dim})."
        )
    norms = np.linalg.norm(array, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or not (norms > 0).all():
        raise UsageError("A query is zero or not finite. Pass finite vectors that are not zero.")
    norms[np.abs(norms - 1) < _ULPS] = 1  # unit vectors keep their bits
    unit: Float64Array = array / norms
    return unit


def _scan(
    vectors: VectorArray, queries: VectorArray, allowed: BoolArray, n_candidates: int
) -> tuple[IntArray, Float64Array]:
    """Return the best candidates and their cosines in float32, computed in threads.

    Returns two arrays of shape (n_queries, n_candidates).
    """
    packed = numkong.dots_pack(queries)
    n_rows = min(max(_BLOCK_DISTANCES // len(queries), _BLOCK_ROWS[0]), _BLOCK_ROWS[1])

    rows = np.zeros((len(queries), 0), dtype=np.int64)
    distances = np.zeros((len(queries), 0))
    workers = usable_processors()
    compare = partial(_distances, vectors, packed, allowed)
    blocks = [slice(i, i + n_rows) for i in range(0, len(vectors), n_rows)]
    for numbers, fresh in map_ahead(compare, blocks, workers=workers, ahead=workers + 1):
        if distances.shape[1] == n_candidates:
            closer = (fresh < distances.max(axis=1)).any(axis=1)
            numbers, fresh = numbers[closer], fresh[closer]
        numbers = np.broadcast_to(numbers, (len(queries), len(numbers)))
        rows = np.concatenate([rows, numbers], axis=1)
        distances = np.concatenate([distances, fresh.T], axis=1)
        if rows.shape[1] > n_candidates:
            kept = np.argpartition(distances, n_candidates - 1, axis=1)[:, :n_candidates]
            rows = np.take_along_axis(rows, kept, 1)
            distances = np.take_along_axis(distances, kept, 1)
    return rows, 1 - distances


def _distances(
    vectors: VectorArray, packed: Any, allowed: BoolArray, block: slice
) -> tuple[IntArray, npt.NDArray[Any]]:
    """Return the allowed rows of a block, and their (n, n_queries) cosine distances."""
    here = allowed[block]
    places = np.flatnonzero(here)
    few = len(places) < _FEW_ALLOWED * len(here)
    rows = np.ascontiguousarray(vectors[block][places] if few else vectors[block])
    if not len(places):
        return places, np.zeros((0, packed.width), dtype=np.float32)
    distances = np.asarray(numkong.angulars_packed(rows, packed))
    if not few and len(places) < len(here):
        distances = distances[places]
    return places + block.start, distances
