"""From key to row: rows are in ascending key order, so a binary search over the keys themselves."""

from __future__ import annotations

import difflib
from bisect import bisect_left
from collections.abc import Sequence
from typing import Protocol

from ..records import ItemKey

__all__ = ["as_key", "find_row", "near_keys"]

_NEIGHBOURS = 25
_SUGGESTIONS = 3
_LEAST_RATIO = 0.6


class HasKeys(Protocol):
    """A store, as far as its keys go."""

    @property
    def subset_names(self) -> tuple[str, ...]: ...
    def keys(self) -> Sequence[ItemKey]: ...


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
        raise TypeError(f"a key is an ItemKey or 'SUBSET/ID', not {key!r}; item(row) takes a row")
    try:
        return ItemKey.parse(key)
    except ValueError:
        return None


def near_keys(store: HasKeys, key: ItemKey | str) -> list[ItemKey]:
    """Return the most similar ones of few keys: same id elsewhere, and those next in order.

    Notes
    -----
    A search among all keys would take a minute for ten million.
    """
    text, named = str(key), as_key(key)
    wanted = named or ItemKey("", text)
    keys = store.keys()
    rows: set[int] = set()
    for subset in (wanted.subset, *store.subset_names):
        row = bisect_left(keys, ItemKey(subset, wanted.id))
        rows.update(range(max(0, row - _NEIGHBOURS), min(len(keys), row + _NEIGHBOURS)))

    def similarity(other: ItemKey) -> float:
        return difflib.SequenceMatcher(None, text, str(other) if named else other.id).ratio()

    ranked = sorted(((similarity(keys[row]), keys[row]) for row in sorted(rows)), reverse=True)
    return [other for ratio, other in ranked[:_SUGGESTIONS] if ratio >= _LEAST_RATIO]
