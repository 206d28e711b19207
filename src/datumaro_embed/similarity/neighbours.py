"""The nearest few rows of every row: all at once, by the codes of codes.py."""

from __future__ import annotations

import numpy as np
from tqdm import tqdm

from ..parallel import map_ahead, usable_processors
from .codes import RowCodes, encode_rows
from .cosine import IntArray, VectorArray

_QUERIES_AT_ONCE = 2048
_BLOCK_ROWS = 4096


def neighbours(
    vectors: VectorArray,
    rows: IntArray,
    k: int,
    *,
    among: IntArray | None = None,
    progress: bool = False,
) -> IntArray:
    """Find the k rows of highest cosine to each of some rows, itself left out.

    Rows are rounded to 8 bits, so that of rows that are about equally near another may be taken.

    Some 20 s for 100,000 rows of length 512 on two cores.

    Parameters
    ----------
    vectors : array of shape (n_rows, dim), float16 or float32
    rows : array of shape (n,), int64
        Ascending, none of them zero.
    k : int
    among : array of shape (m,), int64, optional
        As `rows`: those to find; unless given, `rows`.
    progress : bool
        Show a bar where stderr is a terminal.

    Returns
    -------
    array of shape (n, k), int64
        Rows, the nearest first; -1 where there are no more.
    """
    among = rows if among is None else among
    codes = encode_rows(vectors, rows)
    others = codes if among is rows else encode_rows(vectors, among)
    own = np.searchsorted(among, rows)
    own[np.append(among, -1)[own] != rows] = -1
    starts = range(0, len(rows), _QUERIES_AT_ONCE)
    workers = usable_processors()
    found = map_ahead(
        lambda start: _nearest(codes, others, own, start, k), starts, workers=workers, ahead=workers
    )
    bar = tqdm(found, "neighbours", len(starts), disable=None if progress else True)
    places = np.concatenate([np.zeros((0, k), np.int64), *bar])
    return np.where(places >= 0, among[places], -1) if len(among) else places


def _nearest(codes: RowCodes, others: RowCodes, own: IntArray, start: int, k: int) -> IntArray:
    """Places in `others` nearest to some rows of `codes`, of which `own` is left out."""
    n_rows = len(others.values)
    queries = slice(start, start + _QUERIES_AT_ONCE)
    packed, own = codes.pack(queries), own[queries]
    best = np.full((len(own), k), np.iinfo(np.int32).min, np.int32)
    places = np.full((len(own), k), -1, np.int64)
    for first in range(0, n_rows, _BLOCK_ROWS):
        products = others.products(slice(first, first + _BLOCK_ROWS), packed)
        inside = (own >= first) & (own < first + len(products))
        products[own[inside] - first, np.flatnonzero(inside)] = np.iinfo(np.int32).min
        other, query = np.nonzero(products > best[:, -1])
        if len(query) > 8 * k * len(own):  # as in the first block
            top = min(k, len(products))
            other = np.argpartition(products, len(products) - top, axis=0)[-top:].T.reshape(-1)
            query = np.repeat(np.arange(len(own)), top)
        scores = np.concatenate([best.reshape(-1), products[other, query]])
        numbers = np.concatenate([places.reshape(-1), other + first])
        owners = np.concatenate([np.repeat(np.arange(len(own)), k), query])
        order = np.lexsort((numbers, -scores.astype(np.int64), owners))
        ranks = np.arange(len(order)) - np.searchsorted(owners[order], owners[order])
        kept = order[ranks < k]
        best, places = scores[kept].reshape(-1, k), numbers[kept].reshape(-1, k)
    places[best == np.iinfo(np.int32).min] = -1
    return places
