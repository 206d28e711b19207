"""Find the nearest few rows of every row, with the int8 codes of codes.py."""

from __future__ import annotations

from typing import Any

import numpy as np
from tqdm import tqdm

from ..parallel import map_ahead, usable_processors
from .cells import cells_of, visited_cells
from .codes import RowCodes, encode_rows
from .cosine import IntArray, VectorArray

_PART_ROWS, _BLOCK_ROWS = 2048, 4096
_ALL_ROWS = 16_384  # every pair is compared up to this number of rows
_N_VISITED = 24


def neighbours(
    vectors: VectorArray,
    rows: IntArray,
    k: int,
    *,
    among: IntArray | None = None,
    progress: bool = False,
) -> IntArray:
    """Find the k rows with the highest cosine to each of some rows, without the row itself.

    Rows are rounded to 8 bits, so of rows that are about equally near, another may be found.
    With more than 16,384 rows, only rows of nearby cells are compared (see `cells`): this misses
    some neighbors, but hardly ever very near ones. O(n^1.5 · dim) time; with `among`, all rows are
    compared.

    Takes 3 s for 100,000 rows of length 512 on two cores. Equal rows share a cell, so many of them
    cost the square of their number: 60,000 equal rows take 40 s.

    Parameters
    ----------
    vectors : array of shape (n_rows, dim), float16 or float32
    rows : array of shape (n,), int64
        Ascending, none of them zero.
    k : int
    among : array of shape (m,), int64, optional
        Rows that may be found, ascending and none of them zero; by default `rows`.
    progress : bool
        Show a bar if stderr is a terminal.

    Returns
    -------
    array of shape (n, k), int64
        Rows, nearest first; -1 if there are no more.
    """
    if not len(rows):
        return np.zeros((0, k), np.int64)
    among = rows if among is None else among
    codes = encode_rows(vectors, rows)
    others = codes if among is rows else encode_rows(vectors, among)
    own = np.searchsorted(among, rows)
    own[np.append(among, -1)[own] != rows] = -1
    # Parts of the rows, each with the places to compare it with.
    every = np.arange(len(among))
    if len(rows) <= _ALL_ROWS or others is not codes:
        places = np.arange(len(rows))
        starts = range(0, len(rows), _PART_ROWS)
        parts = [(places[start : start + _PART_ROWS], every) for start in starts]
    else:
        visited = visited_cells(codes, len(rows), _N_VISITED)
        parts = [(places[rank == 0], places) for places, rank in cells_of(visited)]
    workers = usable_processors()
    found = map_ahead(
        lambda part: _nearest(codes.pack(part[0]), own[part[0]], others, part[1], k),
        parts,
        workers=workers,
        ahead=workers,
    )
    nearest = np.full((len(rows), k), -1, np.int64)
    bar = tqdm(found, "neighbours", len(parts), disable=None if progress else True)
    for (queries, _), best in zip(parts, bar, strict=True):
        nearest[queries] = np.where(best >= 0, among[best], -1) if len(among) else -1
    return nearest


def _nearest(
    packed: Any, own: IntArray, others: RowCodes, candidates: IntArray, k: int
) -> IntArray:
    """Find the k best of some candidates for each query; `own` is the query's place, or -1."""
    best = np.full((len(own), k), np.iinfo(np.int32).min, np.int32)
    places = np.full((len(own), k), -1, np.int64)
    for first in range(0, len(candidates), _BLOCK_ROWS):
        some = candidates[first : first + _BLOCK_ROWS]
        products = others.products(some, packed)
        at = np.searchsorted(some, own)
        inside = np.flatnonzero(some[np.minimum(at, len(some) - 1)] == own)
        products[at[inside], inside] = np.iinfo(np.int32).min
        least = best[:, -1] + 1
        # Without sorting, a level that at least k products of each query reach, and few others: the
        # greatest products of k groups of candidates reach it.
        n_groups = 32 * k
        if (n_each := len(products) // n_groups) >= 2:
            grouped = products[: n_each * n_groups].reshape(n_groups, n_each, -1).max(axis=1)
            least = np.maximum(least, np.partition(grouped, n_groups - k, axis=0)[n_groups - k])
        other, query = np.divmod(np.flatnonzero(products >= least), max(len(own), 1))
        if len(query) > 8 * k * len(own):  # few candidates, or many that are equal
            top = min(k, len(products))
            other = np.argpartition(products, len(products) - top, axis=0)[-top:].T.reshape(-1)
            query = np.repeat(np.arange(len(own)), top)
        scores = np.concatenate([best.reshape(-1), products[other, query]])
        numbers = np.concatenate([places.reshape(-1), some[other]])
        owners = np.concatenate([np.repeat(np.arange(len(own)), k), query])
        order = np.lexsort((numbers, -scores.astype(np.int64), owners))
        ranks = np.arange(len(order)) - np.searchsorted(owners[order], owners[order])
        kept = order[ranks < k]
        best, places = scores[kept].reshape(-1, k), numbers[kept].reshape(-1, k)
    places[best == np.iinfo(np.int32).min] = -1
    return places
