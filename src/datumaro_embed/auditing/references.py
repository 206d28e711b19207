"""Representative rows: every row is compared with these only, so that time grows linearly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from ..parallel import map_ahead, usable_processors
from ..processes import can_fork, map_forked
from ..similarity import equal_places
from ..similarity.cosine import BoolArray, Float64Array, IntArray

_Result = TypeVar("_Result")

MAX_REFERENCES = 16_384
BLOCK_ROWS = 512
UNSEEN = np.int32(-(2**30))
"""In place of the product of two rows of one group."""
_LEAST_FORKED = 4  # blocks: two forks of a process of 0.7 GB take 10 ms


def reference_places(labels: IntArray, n_most: int = MAX_REFERENCES) -> IntArray:
    """Choose at most `n_most` places, evenly from each label, common labels shortened first.

    Ascending by label, then place. All places where they are no more than `n_most`.
    """
    order = np.argsort(labels, kind="stable")
    counts = np.unique(labels, return_counts=True)[1]
    least, most = 1, int(counts.max(initial=1))
    while least < most:  # the greatest number of each label that fits
        middle = (least + most + 1) // 2
        fits = np.minimum(counts, middle).sum() <= n_most
        least, most = (middle, most) if fits else (least, middle - 1)
    starts = np.cumsum(counts) - counts
    chosen = [
        start + np.linspace(0, count - 1, min(count, least)).round().astype(np.int64)
        for start, count in zip(starts.tolist(), counts.tolist(), strict=True)
    ]
    places: IntArray = order[np.concatenate([*chosen, np.zeros(0, np.int64)])]
    return places


def evenly(rows: IntArray, n_most: int) -> IntArray:
    """Take all of some rows, or so many of them at equal steps."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), n_most)).astype(np.int64)]


def mean_of_seen(values: npt.NDArray[Any], seen: BoolArray, none: float) -> Float64Array:
    """Mean of those values of each row that are seen; `none` where there is none."""
    counts = seen.sum(axis=1)
    sums = np.where(seen, values, 0).sum(axis=1, dtype=np.float64)
    return np.where(counts, sums / np.maximum(counts, 1), none)


class SameGroup:
    """Pairs of a row and a reference that belong to one group, so that they are not compared."""

    def __init__(self, groups: IntArray, references: IntArray) -> None:
        self._groups = groups
        self._order = np.argsort(groups[references], kind="stable")
        self._sorted = groups[references][self._order]

    def pairs(self, rows: slice) -> tuple[IntArray, IntArray]:
        """Number of the row within the slice, and of the reference, of each such pair."""
        numbers, places = equal_places(self._sorted, self._groups[rows])
        return numbers, self._order[places]


def greatest(found: npt.NDArray[Any], n: int) -> tuple[IntArray, npt.NDArray[Any]]:
    """Find the n greatest of each row: places, and values, descending; (rows, n) or fewer columns.

    Of many columns, those below a level that n are known to reach are not sorted: a level that the
    greatest of n of some groups of columns reach.
    """
    n_rows, n_columns = found.shape
    n, n_groups = min(n, n_columns), max(4 * n, 256)
    n_each = n_columns // n_groups
    if n_each < 4:
        places = np.argpartition(found, n_columns - n, axis=1)[:, n_columns - n :]
        rows = np.repeat(np.arange(n_rows), n)
        places = places.reshape(-1)
    else:
        grouped = found[:, : n_each * n_groups].reshape(n_rows, n_each, n_groups)
        level = np.partition(grouped.max(axis=1), n_groups - n, axis=1)[:, n_groups - n]
        rows, places = np.nonzero(found >= level[:, None])
    values = found[rows, places]
    order = np.lexsort((places, -values, rows))
    ranks = np.arange(len(rows)) - np.searchsorted(rows, rows)
    kept = order[ranks < n]
    return places[kept].reshape(n_rows, n), values[kept].reshape(n_rows, n)


def in_blocks(
    function: Callable[[slice], _Result],
    n: int,
    *,
    n_rows: int = BLOCK_ROWS,
    what: str = "",
    progress: bool = False,
    forks: bool = False,
) -> Iterator[_Result]:
    """Call a function for each block of rows, in threads; results come in order.

    A single block needs neither threads nor a bar. `forks`: in forks of this process where that is
    possible; what the function remembers is lost then (see `map_forked`).
    """
    if n <= n_rows:
        if n:
            yield function(slice(0, n))
        return
    workers = usable_processors()
    blocks = [slice(i, min(i + n_rows, n)) for i in range(0, n, n_rows)]
    results: Iterator[_Result]
    if forks and len(blocks) >= _LEAST_FORKED and workers > 1 and can_fork():
        results = map_forked(function, blocks)
    else:
        results = map_ahead(function, blocks, workers=workers, ahead=workers + 1)
    yield from tqdm(results, total=len(blocks), desc=what, disable=None if progress else True)
