"""The nearest few rows of every row: all at once, by the codes of codes.py."""

from __future__ import annotations

import numpy as np
from tqdm import tqdm

from ..parallel import map_ahead, usable_processors
from .cells import visited_cells
from .codes import RowCodes, encode_rows
from .cosine import IntArray, VectorArray

_PART_ROWS, _BLOCK_ROWS = 2048, 4096
_ALL_ROWS = 16_384  # up to which every pair is compared
_N_VISITED = 24


def neighbours(vectors: VectorArray, rows: IntArray, k: int, *, progress: bool = False) -> IntArray:
    """Find the k rows of highest cosine to each of some rows, itself left out.

    Rows are rounded to 8 bits, so that of rows that are about equally near another may be taken.
    Of more than 16,384 rows, those of nearby cells are compared (see `cells`): some neighbours are
    missed, hardly ever the very near ones. O(n^1.5 · dim) time.

    Parameters
    ----------
    vectors : array of shape (n_rows, dim), float16 or float32
    rows : array of shape (n,), int64
        Ascending, none of them zero.
    k : int
    progress : bool
        Show a bar where stderr is a terminal.

    Returns
    -------
    array of shape (n, k), int64
        Rows, the nearest first; -1 where there are no more.
    """
    if not len(rows):
        return np.zeros((0, k), np.int64)
    codes = encode_rows(vectors, rows)
    parts = _parts(codes)
    workers = usable_processors()
    found = map_ahead(lambda part: _nearest(codes, *part, k), parts, workers=workers, ahead=workers)
    nearest = np.empty((len(rows), k), np.int64)
    bar = tqdm(found, "neighbours", len(parts), disable=None if progress else True)
    for (queries, _), places in zip(parts, bar, strict=True):
        nearest[queries] = np.where(places >= 0, rows[places], -1)
    return nearest


def _parts(codes: RowCodes) -> list[tuple[IntArray, IntArray]]:
    """Divide the places of rows into parts, each with all places that it is compared with."""
    every = np.arange(len(codes.values))
    if len(every) <= _ALL_ROWS:
        return [(every[i : i + _PART_ROWS], every) for i in range(0, len(every), _PART_ROWS)]
    visited = visited_cells(codes, len(every), _N_VISITED)
    order = np.argsort(visited.reshape(-1), kind="stable")
    ends = np.cumsum(np.bincount(visited.reshape(-1)))
    cells = (np.divmod(some, _N_VISITED) for some in np.split(order, ends[:-1]))
    return [(places[rank == 0], places) for places, rank in cells]


def _nearest(codes: RowCodes, own: IntArray, others: IntArray, k: int) -> IntArray:
    """Find the k best of some places for each of other ones, itself left out."""
    packed = codes.pack(own)
    best = np.full((len(own), k), np.iinfo(np.int32).min, np.int32)
    places = np.full((len(own), k), -1, np.int64)
    for first in range(0, len(others), _BLOCK_ROWS):
        some = others[first : first + _BLOCK_ROWS]
        products = codes.products(some, packed)
        at = np.searchsorted(some, own)
        inside = np.flatnonzero(some[np.minimum(at, len(some) - 1)] == own)
        products[at[inside], inside] = np.iinfo(np.int32).min
        other, query = np.nonzero(products > best[:, -1])
        if len(query) > 8 * k * len(own):  # as in the first block
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
