"""From key to row: binary search in sorted hashes, confirmed by the stored strings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ..records import ItemKey
from .encoding import encode_text, key_hash

__all__ = ["KeyIndex"]


class KeyIndex:
    """Finds rows by key.

    Parameters
    ----------
    hashes : array of shape (n_rows,), uint64
        ``key_hash`` of each row, in row order.
    key_of : callable
        Row → key.

    Notes
    -----
    Sorts once, O(n log n), and keeps 16 bytes for each row; `find` is O(log n).
    """

    def __init__(self, hashes: npt.NDArray[np.uint64], key_of: Callable[[int], ItemKey]) -> None:
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]
        self._key_of = key_of

    def find(self, key: ItemKey) -> int | None:
        """Row of the key, or None."""
        wanted = np.uint64(key_hash(encode_text(key.subset), encode_text(key.id)))
        for place in range(int(np.searchsorted(self._hashes, wanted)), len(self._hashes)):
            if self._hashes[place] != wanted:
                return None
            row = int(self._order[place])
            if self._key_of(row) == key:
                return row
        return None
