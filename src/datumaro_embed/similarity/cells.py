"""Find nearly all pairs of rows at or above a cosine, for stores too large to compare every pair.

Randomly chosen rows are the leaders of cells. Every row is a member of the cell of its nearest
leader and a visitor of the cells of the next nearest ones. Only members and visitors of the same
cell are compared, exactly. A pair is missed only if neither row visits the other's cell.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from ..parallel import map_ahead, usable_processors
from .codes import RowCodes, encode_rows
from .cosine import IntArray, VectorArray
from .pairs import PairBlock, Tile, compared

_TILE_ROWS = 2048
_BLOCK_ROWS = 8192
_N_VISITED = 12
_CELLS_PER_ROOT = 2  # number of cells / square root of the number of rows


def likely_pairs(
    vectors: VectorArray,
    rows: IntArray,
    threshold: float,
    *,
    classes: IntArray | None = None,
    owners: IntArray | None = None,
    progress: bool = False,
) -> Iterator[PairBlock]:
    """Like `pairs.similar_pairs`, but may miss a few pairs, and may yield a pair twice.

    O(n^1.5 · dim) time: half a minute for a million rows of length 512 on two cores. Memory: about
    800 bytes per such row.
    """
    codes = encode_rows(vectors, rows)
    visited = visited_cells(codes, len(rows), _N_VISITED)
    n_cells = int(visited.max(initial=-1)) + 1
    bar = tqdm(total=n_cells, desc="Comparing", unit="cell", disable=None if progress else True)

    def tiles() -> Iterator[Tile]:
        for places, rank in cells_of(visited):
            for columns in _cut(places[rank == 0]):
                packed = codes.pack(columns)
                yield from ((some, columns, packed) for some in _cut(places))
            bar.update()

    with bar:
        yield from compared(vectors, rows, codes, tiles(), threshold, classes, owners)


def visited_cells(codes: RowCodes, n: int, n_visited: int) -> IntArray:
    """Return the cells of each row's nearest leaders, its own first: shape (n, n_visited)."""
    n_cells = min(n, int(_CELLS_PER_ROOT * np.sqrt(n)) + 1)
    leaders = np.sort(np.random.default_rng(0).choice(n, n_cells, replace=False))
    packed = codes.pack(leaders)
    count = min(n_visited, n_cells)

    def nearest(start: int) -> IntArray:
        products = codes.products(slice(start, start + _BLOCK_ROWS), packed)
        some = np.argpartition(products, n_cells - count, axis=1)[:, n_cells - count :]
        order = np.argsort(-np.take_along_axis(products, some, 1), axis=1, kind="stable")
        return np.take_along_axis(some, order, 1)

    workers = usable_processors()
    blocks = map_ahead(nearest, range(0, n, _BLOCK_ROWS), workers=workers, ahead=workers + 1)
    empty = np.zeros((0, count), dtype=np.int32)
    return np.concatenate([empty, *(block.astype(np.int32) for block in blocks)])


def cells_of(visited: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield the places of the rows that visit each cell, and their ranks: 0 of its members."""
    order = np.argsort(visited.reshape(-1), kind="stable")
    ends = np.cumsum(np.bincount(visited.reshape(-1)))
    for some in np.split(order, ends[:-1]):
        yield np.divmod(some, visited.shape[1])


def _cut(places: IntArray) -> Iterator[IntArray]:
    yield from (places[start : start + _TILE_ROWS] for start in range(0, len(places), _TILE_ROWS))
