"""Rows of several stores as the columns of one, piece by piece and without a copy of all.

A shard's rows are consecutive in the union, so its columns are taken as they lie; rows of stores
that interleave are gathered, a thousand at a time. Offsets and codes are made to fit the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .base import EmbeddingStore
from .columns import name_arrays
from .schema import COLUMNS, SCHEMA
from .skeleton import Shapes

__all__ = ["Runs", "Union", "whole"]

Array = npt.NDArray[Any]
Runs = npt.NDArray[np.int64]
"""Array of shape (n_runs, 3): store, first row, row after the last; in ascending key order."""

_GATHERED_ROWS, _CONSECUTIVE_ROWS = 1024, 65_536
_RAGGED = {column.indexes: column.path for column in SCHEMA if column.indexes}
"""Path of values → path of their offsets."""
_CODES = {"items/subset_code": "subsets", "annotations/type": "annotation_types"}


def whole(n_rows: Sequence[int]) -> Runs:
    """Runs of stores that follow each other."""
    return np.array([(i, 0, n) for i, n in enumerate(n_rows) if n], dtype=np.int64).reshape(-1, 3)


@dataclass(frozen=True, slots=True)
class _Picked:
    """Some rows (of items, or of annotations) in the order of the union.

    Attributes
    ----------
    source, row : arrays of shape (n,)
        Or, of one store and consecutive, an int and a slice.
    """

    source: int | Array
    row: slice | Array

    def __len__(self) -> int:
        if isinstance(self.row, slice):
            return int(self.row.stop - self.row.start)
        return len(self.row)

    def take(self, column: Callable[[int], Array], shift: int = 0) -> Array:
        """Values of a column of one value for each row; `shift` 1 takes those of the next row."""
        if isinstance(self.source, int):
            assert isinstance(self.row, slice)
            return column(self.source)[self.row.start + shift : self.row.stop + shift]
        assert not isinstance(self.row, slice)
        first, *others = np.unique(self.source).tolist()
        values = column(first)
        out = np.empty((len(self), *values.shape[1:]), dtype=values.dtype)
        for source in (first, *others):
            here = self.source == source
            out[here] = column(source)[self.row[here] + shift]
        return out

    def children(self, offsets: Callable[[int], Array]) -> _Picked:
        """Rows that the offsets cut out for each of these."""
        if isinstance(self.source, int):
            assert isinstance(self.row, slice)
            cuts = offsets(self.source)
            return _Picked(self.source, slice(int(cuts[self.row.start]), int(cuts[self.row.stop])))
        if not len(self):
            return self
        starts = self.take(offsets).astype(np.int64)
        lengths = self.take(offsets, 1).astype(np.int64) - starts
        return _Picked(np.repeat(self.source, lengths), _ranges(starts, lengths))

    def lengths(self, offsets: Callable[[int], Array]) -> Array:
        """How many values the offsets cut out for each."""
        difference: Array = self.take(offsets, 1) - self.take(offsets)
        return difference


def _ranges(starts: Array, lengths: Array) -> Array:
    """Concatenate ``arange(start, start + length)`` of each."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()), dtype=np.int64)


class Union:
    """The columns of items and annotations of several stores as those of one.

    Parameters
    ----------
    stores : sequence of EmbeddingStore
        May open each when it is asked for, and close those not used for long.
    runs : Runs
        Which rows of which store, in ascending key order.
    """

    def __init__(self, stores: Sequence[EmbeddingStore], runs: Runs) -> None:
        self._stores = stores
        self._runs = runs
        self._ends = np.cumsum(runs[:, 2] - runs[:, 1])
        self._names: dict[str, list[str]] = {}

    @property
    def n_rows(self) -> int:
        """Rows of all runs."""
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def n_annotations(self) -> int:
        """Annotations of these rows."""
        return self._n_values("annotations")

    def names(self, group: str) -> list[str]:
        """Names of ``subsets`` (ascending) or ``annotation_types`` (by first use)."""
        if group not in self._names:
            found = dict.fromkeys(self._used_names(group))
            self._names[group] = sorted(found) if group == "subsets" else list(found)
        return self._names[group]

    def shapes(self) -> Shapes:
        """Types and shapes of the arrays that `pieces` gives."""
        shapes = {}
        for column in SCHEMA:
            if column.path.startswith(("items/", "annotations/")):
                shapes[column.path] = self._shape(column.path)
        for group in ("subsets", "annotation_types"):
            arrays = name_arrays(group, self.names(group))
            shapes |= {path: (array.dtype.str, array.shape) for path, array in arrays.items()}
        return shapes

    def _shape(self, path: str) -> tuple[str, tuple[int, ...]]:
        column = COLUMNS[path]
        dtype, inner = column.dtypes[0], tuple(s for s in column.shape[1:] if isinstance(s, int))
        if path == "items/embedding":
            first = self._stores[int(self._runs[0, 0]) if len(self._runs) else 0]
            dtype, inner = first.dtype.str, (first.dim,)
        symbol = str(column.shape[0])
        if symbol == "*":
            return dtype, (self._n_values(path), *inner)
        length = self.n_rows if symbol.startswith("N") else self.n_annotations
        return dtype, (length + symbol.endswith("+1"), *inner)

    def pieces(self, path: str) -> Iterator[Array]:
        """Yield an array of the schema in parts, which are it when put end to end."""
        group = path.split("/")[0]
        if group not in ("items", "annotations"):
            yield name_arrays(group, self.names(group))[path]
            return
        column = COLUMNS[path]
        if column.indexes:
            yield from self._offsets(path, group)
            return
        for picked in self._picked(group):
            if path in _RAGGED:
                picked = picked.children(self._column(_RAGGED[path]))
            if len(picked):
                recoded = path in _CODES
                yield self._recoded(path, picked) if recoded else picked.take(self._column(path))

    def array(self, path: str) -> Array:
        """One array in memory, whole."""
        dtype, shape = self._shape(path) if "/names" not in path else ("", ())
        parts = list(self.pieces(path))
        return np.concatenate(parts) if parts else np.zeros(shape, dtype=dtype)

    def take(self, rows: Array) -> Array:
        """Vectors of some rows of the union, in the order of `rows`."""
        run = np.searchsorted(self._ends, rows, side="right")
        picked = _Picked(self._runs[run, 0], self._runs[run, 2] + rows - self._ends[run])
        return picked.take(self._column("items/embedding"))

    def locate(self, row: int) -> tuple[int, int]:
        """Store and row in it."""
        run = int(np.searchsorted(self._ends, row, side="right"))
        source, _, stop = self._runs[run].tolist()
        return source, stop - (int(self._ends[run]) - row)

    def _column(self, path: str) -> Callable[[int], Array]:
        return lambda source: self._stores[source].column(path)

    def _picked(self, group: str) -> Iterator[_Picked]:
        ann_offsets = self._column("items/ann_offsets")
        for picked in self._blocks():
            yield picked if group == "items" else picked.children(ann_offsets)

    def _blocks(self) -> Iterator[_Picked]:
        """Long runs alone and in parts; short ones together, up to `_GATHERED_ROWS` rows."""
        lengths = self._runs[:, 2] - self._runs[:, 1]
        first, n_runs = 0, len(self._runs)
        while first < n_runs:
            limit = self._ends[first] - lengths[first] + _GATHERED_ROWS
            stop = max(int(np.searchsorted(self._ends, limit, side="right")), first + 1)
            if stop == first + 1:
                source, start, end = self._runs[first].tolist()
                for row in range(start, end, _CONSECUTIVE_ROWS):
                    yield _Picked(source, slice(row, min(row + _CONSECUTIVE_ROWS, end)))
            else:
                some = self._runs[first:stop]
                rows = _ranges(some[:, 1], some[:, 2] - some[:, 1])
                yield _Picked(np.repeat(some[:, 0], some[:, 2] - some[:, 1]), rows)
            first = stop

    def _offsets(self, path: str, group: str) -> Iterator[Array]:
        end = np.zeros(1, dtype=np.uint64)
        yield end
        for picked in self._picked(group):
            if len(picked):
                offsets = end + np.cumsum(picked.lengths(self._column(path)), dtype=np.uint64)
                yield offsets
                end = offsets[-1:]

    def _recoded(self, path: str, picked: _Picked) -> Array:
        group = _CODES[path]
        places = {name: code for code, name in enumerate(self.names(group))}
        dtype = COLUMNS[path].dtype

        def codes(source: int) -> Array:
            store = self._stores[source]
            table = np.array([places.get(n, 0) for n in _table(store, group)], dtype=dtype)
            column = store.column(path)
            same = len(table) == 0 or np.array_equal(table, np.arange(len(table)))
            return column if same else table[column]

        return picked.take(codes)

    def _used_names(self, group: str) -> Iterator[str]:
        """Names by first use, some more than once."""
        path = next(path for path, table in _CODES.items() if table == group)
        for source, start, stop in self._runs.tolist():
            store = self._stores[source]
            table = _table(store, group)
            if (start, stop) == (0, store.n_rows):  # a writer keeps no name that it does not use
                yield from table
                continue
            picked = _Picked(source, slice(start, stop))
            if group == "annotation_types":
                picked = picked.children(self._column("items/ann_offsets"))
            codes, first = np.unique(picked.take(self._column(path)), return_index=True)
            yield from (table[code] for code in codes[np.argsort(first)].tolist())

    def _n_values(self, path: str) -> int:
        """Length of a ragged column's values (``"annotations"``: rows of annotations)."""
        total = 0
        for source in np.unique(self._runs[:, 0]).tolist():
            bounds = self._runs[self._runs[:, 0] == source, 1:]
            column = self._stores[source].column
            if path.startswith("annotations"):
                bounds = column("items/ann_offsets")[bounds].astype(np.int64)
            if path != "annotations":
                bounds = column(_RAGGED[path])[bounds].astype(np.int64)
            total += int((bounds[:, 1] - bounds[:, 0]).sum())
        return total


def _table(store: EmbeddingStore, group: str) -> tuple[str, ...]:
    return store.subset_names if group == "subsets" else store.ann_type_names
