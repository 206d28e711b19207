"""From key to row: rows are in ascending key order, so a binary search over the keys themselves."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from ..records import ItemKey

__all__ = ["find_row"]


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
