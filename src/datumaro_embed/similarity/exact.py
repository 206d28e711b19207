"""The k nearest rows, equal to brute force in float64 at a fraction of its time.

USearch scans the stored vectors in their own type; its best candidates are ranked again in float64.
Where rounding could have kept a row from the candidates, a slower scan with a bound settles it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from usearch.index import search as usearch_search

from ..errors import UsageError
from .cosine import Float64Array, IntArray, VectorArray, best, cosines

__all__ = ["nearest_rows", "unit_queries"]

BoolArray = npt.NDArray[np.bool_]

_BLOCK_ROWS = 65_536
_BLOCK_DISTANCES = 2**22  # of one scan: USearch keeps 16 bytes for each
_SETTLE_ROWS = 8192
_MANY_EXCLUDED = 256
_ULPS = 1e-15


def nearest_rows(
    vectors: VectorArray, queries: npt.ArrayLike, k: int, *, allowed: BoolArray | None = None
) -> tuple[IntArray, Float64Array]:
    """Rows of highest cosine similarity to each query.

    Parameters
    ----------
    vectors : array of shape (n_rows, dim), float16 or float32
        Rows of norm 1 within 1e-3, or zero; may be a memory map.
    queries : array of shape (n_queries, dim), any float dtype
        Of any norm but zero.
    k : int
        At least 1.
    allowed : array of shape (n_rows,), bool; optional
        Rows that may be found; all that are not zero unless given.

    Returns
    -------
    rows : array of shape (n_queries, n), int64
        Descending similarity, ties in ascending row order; n is the lesser of k and the number of
        allowed rows. Equal to brute force in float64 over the stored values.
    similarities : array of shape (n_queries, n), float64, in [-1, 1]

    Raises
    ------
    UsageError
        k below 1; queries of another length, zero or not finite.

    Notes
    -----
    O(n_rows · n_queries · dim) time, and memory of some 70 MB whatever the size, beyond the result.
    """
    if k < 1:
        raise UsageError(f"k must be at least 1, not {k}. Ask for one item or more.", k=k)
    unit = unit_queries(queries, vectors.shape[1])
    found = np.ones(len(vectors), dtype=bool) if allowed is None else allowed
    n_allowed = int(np.count_nonzero(found))
    k = min(k, n_allowed)
    rows = np.zeros((len(unit), k), dtype=np.int64)
    similarities = np.zeros((len(unit), k))
    if not k or not len(unit):
        return rows, similarities
    unsettled = _from_candidates(vectors, unit, found, n_allowed, rows, similarities)
    for query in unsettled:
        rows[query], similarities[query] = _settle(
            vectors, unit[query], found, rows[query], similarities[query]
        )
    return rows, similarities


def unit_queries(queries: npt.ArrayLike, dim: int) -> Float64Array:
    """Check queries and scale them to norm 1: array of shape (n_queries, dim), float64.

    Raises
    ------
    UsageError
    """
    array = np.asarray(queries, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != dim:
        raise UsageError(
            f"Queries of shape {array.shape} do not fit vectors of length {dim}. "
            f"Give an array of shape (n_queries, {dim})."
        )
    norms = np.linalg.norm(array, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or not (norms > 0).all():
        raise UsageError("A query is zero or not finite. Give every query a direction.")
    norms[np.abs(norms - 1) < _ULPS] = 1  # what is of norm 1 already keeps its bits
    unit: Float64Array = array / norms
    return unit


def _from_candidates(
    vectors: VectorArray,
    unit: Float64Array,
    allowed: BoolArray,
    n_allowed: int,
    rows: IntArray,
    similarities: Float64Array,
) -> list[int]:
    """Fill the results from USearch's candidates; return the queries that these do not settle."""
    k = rows.shape[1]
    n_candidates = min(n_allowed, max(2 * k, k + 64))
    stored = unit.astype(vectors.dtype)
    candidates, rough = _scan(vectors, stored, allowed, n_candidates)
    rounded = stored.astype(np.float64)
    rounded /= np.linalg.norm(rounded, axis=1, keepdims=True)
    # A cosine moves by no more than the query does (Cauchy-Schwarz), and by float32 arithmetic.
    bounds = np.linalg.norm(rounded - unit, axis=1) + 1e-5 + vectors.shape[1] * 2.0**-23
    unsettled = []
    for query, bound in enumerate(bounds):
        exact = cosines(vectors, candidates[query], unit[query])
        rows[query], similarities[query] = best(candidates[query], exact, k)
        sure = similarities[query, -1] > rough[query].min() + bound
        as_bounded = np.abs(exact - rough[query]).max() <= bound
        if n_candidates < n_allowed and not (sure and as_bounded):
            unsettled.append(query)
    return unsettled


def _scan(
    vectors: VectorArray, stored: VectorArray, allowed: BoolArray, n_candidates: int
) -> tuple[IntArray, Float64Array]:
    """Give the best candidates by USearch's arithmetic: two arrays (n_queries, n_candidates)."""
    rows = np.zeros((len(stored), 0), dtype=np.int64)
    rough = np.zeros((len(stored), 0))
    at_once = max(1, _BLOCK_DISTANCES // _BLOCK_ROWS)
    for start in range(0, len(vectors), _BLOCK_ROWS):
        stop = min(start + _BLOCK_ROWS, len(vectors))
        parts = [
            _scan_block(vectors, stored[q : q + at_once], allowed, slice(start, stop), n_candidates)
            for q in range(0, len(stored), at_once)
        ]
        rows = np.concatenate([rows, np.concatenate([part[0] for part in parts])], axis=1)
        rough = np.concatenate([rough, np.concatenate([part[1] for part in parts])], axis=1)
        if rows.shape[1] > n_candidates:
            kept = np.argpartition(-rough, n_candidates - 1, axis=1)[:, :n_candidates]
            rows = np.take_along_axis(rows, kept, 1)
            rough = np.take_along_axis(rough, kept, 1)
    return rows, rough


def _scan_block(
    vectors: VectorArray,
    stored: VectorArray,
    allowed: BoolArray,
    block: slice,
    n_candidates: int,
) -> tuple[IntArray, Float64Array]:
    """Scan one block; rows that are not allowed are left out, before or, where few, after."""
    here = allowed[block]
    numbers = np.flatnonzero(here) + block.start
    n_excluded = len(here) - len(numbers)
    count = min(n_candidates, len(numbers))
    if not count:
        return np.zeros((len(stored), 0), dtype=np.int64), np.zeros((len(stored), 0))
    few = n_excluded <= _MANY_EXCLUDED
    data = vectors[block] if few else vectors[numbers]
    asked = count + n_excluded if few else count
    matches = usearch_search(data, stored, asked, "cos", exact=True)
    places = np.asarray(matches.keys, dtype=np.int64).reshape(len(stored), -1)
    rough = 1 - np.asarray(matches.distances, dtype=np.float64).reshape(len(stored), -1)
    if not few:
        return numbers[places], rough
    if n_excluded:
        # Every row has at least `count` allowed ones: a stable sort brings these to the front.
        order = np.argsort(~here[places], axis=1, kind="stable")[:, :count]
        places, rough = np.take_along_axis(places, order, 1), np.take_along_axis(rough, order, 1)
    return places + block.start, rough


def _settle(
    vectors: VectorArray,
    unit_query: Float64Array,
    allowed: BoolArray,
    rows: IntArray,
    similarities: Float64Array,
) -> tuple[IntArray, Float64Array]:
    """Rank every row that float32 arithmetic does not rule out; starts from k rows already found.

    Takes seconds for a million rows: needed where very many rows are as near as the k-th.
    """
    k = len(rows)
    slack = 1e-5 + vectors.shape[1] * 2.0**-22
    for start, rough in _rough_cosines(vectors, unit_query):
        possible = (rough >= similarities[-1] - slack) & allowed[start : start + len(rough)]
        fresh = np.setdiff1d(np.flatnonzero(possible) + start, rows)
        exact = cosines(vectors, fresh, unit_query)
        rows, similarities = best(
            np.concatenate([rows, fresh]), np.concatenate([similarities, exact]), k
        )
    return rows, similarities


def _rough_cosines(
    vectors: VectorArray, unit_query: Float64Array
) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    query = unit_query.astype(np.float32)
    for start in range(0, len(vectors), _SETTLE_ROWS):
        block = vectors[start : start + _SETTLE_ROWS].astype(np.float32)
        norms = np.sqrt(np.einsum("ij,ij->i", block, block))
        yield start, np.divide(block @ query, norms, out=np.zeros_like(norms), where=norms > 0)
