"""Which row is which: the key order of several stores, and an index as NumPy takes it."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from ..records import ItemKey
from .base import EmbeddingStore
from .rows import corrupt
from .union import Runs

__all__ = ["merged_runs", "row_numbers"]


def merged_runs(stores: Sequence[EmbeddingStore]) -> Runs:
    """Put the rows of several stores in key order.

    Raises
    ------
    StoreCorruptError
        Two stores have the same item.

    Notes
    -----
    Some 5 microseconds for each row.
    """
    keyed = heapq.merge(*(_keys(i, store) for i, store in enumerate(stores)))
    runs: list[list[int]] = []
    last: ItemKey | None = None
    for key, source, row in keyed:
        if key == last:
            raise corrupt(stores[source].path, f"row {row}", f"another shard has '{key}' too")
        last = key
        if runs and runs[-1][0] == source and runs[-1][2] == row:
            runs[-1][2] += 1
        else:
            runs.append([source, row, row + 1])
    return np.array(runs, dtype=np.int64).reshape(-1, 3)


def _keys(source: int, store: EmbeddingStore) -> Iterator[tuple[ItemKey, int, int]]:
    for row in range(store.n_rows):
        yield store.key(row), source, row


def row_numbers(rows: npt.ArrayLike | slice, n_rows: int) -> npt.NDArray[np.int64]:
    """Turn an index as NumPy takes it into row numbers.

    Raises
    ------
    IndexError
    """
    if isinstance(rows, slice):
        return np.arange(*rows.indices(n_rows), dtype=np.int64)
    array = np.atleast_1d(np.asarray(rows))
    if array.dtype == bool:
        if len(array) != n_rows:
            raise IndexError(f"a mask of {len(array)} for {n_rows:,} rows")
        return np.flatnonzero(array)
    numbers = array.astype(np.int64)
    numbers = np.where(numbers < 0, numbers + n_rows, numbers)
    if len(numbers) and not (numbers.min() >= 0 and numbers.max() < n_rows):
        raise IndexError(f"a row is out of range; the store has {n_rows:,} rows")
    return numbers
