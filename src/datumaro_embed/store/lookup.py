"""From keys to rows: binary search among keys that are decoded when they are asked for."""

from __future__ import annotations

import difflib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, overload

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..records import ItemKey, ShortRepr
from ..tally import counted
from .part import StoredRows

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = [
    "HasKey",
    "Keys",
    "VectorBatch",
    "as_key",
    "check_dtype",
    "check_n_rows",
    "find_row",
    "label_counts",
    "near_keys",
    "rows_for",
]

IntArray = npt.NDArray[np.int64]

_NEIGHBOURS = 25
_SUGGESTIONS = 3
_LEAST_RATIO = 0.6
_DTYPES = ("float16", "float32", "float64")


class HasKey(Protocol):
    """An item of a dataset: Datumaro's `DatasetItem`, or anything with these two."""

    @property
    def id(self) -> str: ...
    @property
    def subset(self) -> str: ...


class HasSubsets(Protocol):
    """A store, as far as `near_keys` asks."""

    @property
    def subset_names(self) -> Collection[str]: ...


class Keys(Sequence[ItemKey]):
    """The keys of a store in row order; each is decoded when it is asked for."""

    def __init__(self, key: Callable[[int], ItemKey], rows: int | range) -> None:
        self._key = key
        self._rows = range(rows) if isinstance(rows, int) else rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> ItemKey: ...
    @overload
    def __getitem__(self, index: slice) -> Keys: ...
    def __getitem__(self, index: int | slice) -> ItemKey | Keys:
        if isinstance(index, slice):
            return Keys(self._key, self._rows[index])
        return self._key(self._rows[index])

    def __repr__(self) -> str:
        return f"<Keys of {counted(len(self), 'items')}>"


def find_row(keys: Sequence[ItemKey], key: ItemKey) -> int | None:
    """Row of the key, or None.

    Parameters
    ----------
    keys : sequence of ItemKey
        Ascending.
    key : ItemKey

    Notes
    -----
    Decodes O(log n) keys, some 0.1 ms for ten million; there is no index to build, to keep or to
    go stale. Where the order is damaged, which `verify` finds, a key may be missed; never is
    another row returned.
    """
    row = bisect_left(keys, key)
    return row if row < len(keys) and keys[row] == key else None


def as_key(key: object) -> ItemKey | None:
    """Read a key, or a string ``SUBSET/ID``; None for a string that is not one.

    Raises
    ------
    TypeError
        Neither: a row number, such as.
    """
    if isinstance(key, ItemKey):
        return key
    if not isinstance(key, str):
        raise TypeError(
            f"a key is an ItemKey or 'SUBSET/ID', not {key!r}; item(row) takes a row number"
        )
    try:
        return ItemKey.parse(key)
    except ValueError:
        return None


def near_keys(keys: Keys, key: ItemKey | str, store: HasSubsets) -> list[ItemKey]:
    """Return the most similar ones of few keys: same id elsewhere, and those next in order.

    Notes
    -----
    A search among all keys would take a minute for ten million.
    """
    text, named = str(key), as_key(key)
    wanted = named or ItemKey("", text)
    rows: set[int] = set()
    for subset in (wanted.subset, *store.subset_names):
        row = bisect_left(keys, ItemKey(subset, wanted.id))
        rows.update(range(max(0, row - _NEIGHBOURS), min(len(keys), row + _NEIGHBOURS)))

    def similarity(other: ItemKey) -> float:
        return difflib.SequenceMatcher(None, text, str(other) if named else other.id).ratio()

    ranked = sorted(((similarity(keys[row]), keys[row]) for row in sorted(rows)), reverse=True)
    return [other for ratio, other in ranked[:_SUGGESTIONS] if ratio >= _LEAST_RATIO]


def rows_for(keys: Sequence[ItemKey], dataset: Iterable[HasKey]) -> npt.NDArray[np.int64]:
    """Row of every item of a dataset, in its order; -1 where there is none."""
    found = (find_row(keys, ItemKey(item.subset, item.id)) for item in dataset)
    return np.array([-1 if row is None else row for row in found], dtype=np.int64)


def label_counts(store: StoredRows, first: int, stop: int) -> tuple[IntArray, IntArray, IntArray]:
    """Count the labels of some items' annotations.

    Returns
    -------
    rows, labels, counts : arrays of shape (n_pairs,), int64
        Each pair of an item, counted from `first`, and a label that it has: ascending.
    """
    n_labels = len(store.categories.labels)
    spans = store.lengths("items/annotations_offsets", first, stop).astype(np.int64)
    owners = np.repeat(np.arange(stop - first), spans)
    rows = store.child_rows("annotations", first, stop)
    labels = store.rows("annotations/label", *rows).astype(np.int64)
    known = (labels >= 0) & (labels < n_labels)
    width = max(n_labels, 1)
    pairs, counts = np.unique(owners[known] * width + labels[known], return_counts=True)
    return pairs // width, pairs % width, counts


@dataclass(frozen=True, slots=True, repr=False)
class VectorBatch(ShortRepr):
    """Some consecutive rows of a store.

    Attributes
    ----------
    rows : array of shape (n,), int64
    keys : tuple of ItemKey
    vectors : array of shape (n, dim), float32
    """

    rows: npt.NDArray[np.int64]
    keys: tuple[ItemKey, ...]
    vectors: npt.NDArray[np.float32]


def check_dtype(dtype: str) -> None:
    """Refuse a type that vectors are not given in; raises `UsageError`."""
    if dtype not in _DTYPES:
        raise UsageError(f"dtype is {dtype!r}; choose one of {', '.join(_DTYPES)}.", dtype=dtype)


def check_n_rows(n_rows: int) -> None:
    """Refuse a batch of no rows; raises `UsageError`."""
    if n_rows < 1:
        raise UsageError(f"n_rows is {n_rows}; give at least 1.", n_rows=n_rows)
