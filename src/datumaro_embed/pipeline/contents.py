"""Images with the same bytes: the first in order is embedded, the others take its vector."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..records import ItemRecord

__all__ = ["Contents"]

Vector = npt.NDArray[np.float32]
_OF_IMAGE = ("status", "error", "signature", "statistics")  # the same for the same bytes


class Contents:
    """Vectors of this run by the SHA-256 of their image.

    Parameters
    ----------
    capacity : int
        Different images that are remembered, the latest; more than may be under way at once.
    dtype : {"float16", "float32"}
        Of the store, and of what is kept here.

    Notes
    -----
    Threads ask `is_first` in any order, so a later item may claim an image before an earlier one
    comes; the earlier one takes the claim over, and `is_twin` settles it once both are there. A
    region of an image has its image's hash and must not come here. About ``dim * itemsize + 3,500``
    bytes for each image.
    """

    def __init__(self, capacity: int, dtype: str) -> None:
        self._capacity, self._dtype = capacity, np.dtype(dtype)
        self._first: OrderedDict[bytes, int] = OrderedDict()  # position of the first item
        self._kept: dict[bytes, tuple[dict[str, Any], npt.NDArray[np.floating] | None]] = {}
        self._lock = threading.Lock()

    def is_first(self, content_sha256: bytes, position: int) -> bool:
        """Tell whether no item before this one is known to have these bytes, and remember it."""
        with self._lock:
            first = min(position, self._first.get(content_sha256, position))
            self._first[content_sha256] = first
            self._first.move_to_end(content_sha256)
            if len(self._first) > self._capacity:
                forgotten, _ = self._first.popitem(last=False)
                self._kept.pop(forgotten, None)
            return first == position

    def is_twin(self, content_sha256: bytes, position: int) -> bool:
        """Tell the same for good, once every item before this one has asked."""
        with self._lock:
            return self._first.get(content_sha256, position) < position

    def keep(self, record: ItemRecord, vector: Vector | None) -> None:
        """Remember what became of an image; the first item's is what counts."""
        facts = {name: getattr(record, name) for name in _OF_IMAGE}
        kept = None if vector is None else vector.astype(self._dtype)
        with self._lock:
            if record.content_sha256 in self._first:
                self._kept[record.content_sha256] = facts, kept

    def of_twin(self, record: ItemRecord) -> tuple[ItemRecord, Vector | None]:
        """Return a record as the first item's image makes it, and its vector."""
        with self._lock:
            facts, kept = self._kept[record.content_sha256]
        return replace(record, **facts), None if kept is None else kept.astype(np.float32)
