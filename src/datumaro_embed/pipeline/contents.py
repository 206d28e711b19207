"""Images with the same bytes: the first in order is embedded, the others take its vector."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..records import ItemRecord, Status

__all__ = ["Contents"]

Vector = npt.NDArray[np.float32]


@dataclass(slots=True)
class _Content:
    """What became of the first item, in order, that has these bytes."""

    position: int
    status: Status = Status.OK
    error: str = ""
    vector: npt.NDArray[np.floating] | None = None
    signature: bytes | None = None
    statistics: tuple[float, ...] | None = None


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
        self._known: OrderedDict[bytes, _Content] = OrderedDict()
        self._lock = threading.Lock()

    def is_first(self, content_sha256: bytes, position: int) -> bool:
        """Tell whether no item before this one is known to have these bytes, and remember it."""
        with self._lock:
            content = self._known.setdefault(content_sha256, _Content(position))
            self._known.move_to_end(content_sha256)
            if len(self._known) > self._capacity:
                self._known.popitem(last=False)
            content.position = min(content.position, position)
            return content.position == position

    def is_twin(self, content_sha256: bytes, position: int) -> bool:
        """Tell the same for good, once every item before this one has asked."""
        with self._lock:
            content = self._known.get(content_sha256)
            return content is not None and content.position < position

    def keep(self, record: ItemRecord, vector: Vector | None) -> None:
        """Remember what became of an image; the first item's is what counts."""
        with self._lock:
            content = self._known.get(record.content_sha256)
            if content is not None:
                content.status, content.error = record.status, record.error
                content.signature, content.statistics = record.signature, record.statistics
                content.vector = None if vector is None else vector.astype(self._dtype)

    def of_twin(self, record: ItemRecord) -> tuple[ItemRecord, Vector | None]:
        """Return a record as the first item's image makes it, and its vector."""
        with self._lock:
            content = self._known[record.content_sha256]
        vector = None if content.vector is None else content.vector.astype(np.float32)
        return replace(
            record,
            status=content.status,
            error=content.error,
            signature=content.signature,
            statistics=content.statistics,
        ), vector
