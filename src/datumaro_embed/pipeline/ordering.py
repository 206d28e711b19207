"""Rows leave in the order in which their items came, whenever their vectors are ready."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..records import ItemRecord

__all__ = ["OrderedRows", "ReadItem"]

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ReadItem:
    """An item with its vector, or with pixels that need one, or with neither where it failed.

    Attributes
    ----------
    record : ItemRecord
    pixels : array of shape (side, side, 3), uint8, or None
    vector : array of shape (dim,), float32, or None
        Of an earlier run.
    """

    record: ItemRecord
    pixels: npt.NDArray[np.uint8] | None = None
    vector: Vector | None = None


class OrderedRows:
    """A queue: an item with pixels waits for its vector, any other only for those before it.

    Parameters
    ----------
    write : callable
        Takes record, vector (None where the item failed) and whether the vector is re-used.
    """

    def __init__(self, write: Callable[[ItemRecord, Vector | None, bool], None]) -> None:
        self._write = write
        self._waiting: deque[ReadItem] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def expect(self, item: ReadItem) -> None:
        """Take the next item."""
        self._waiting.append(ReadItem(item.record, item.pixels, item.vector))
        self._write_ready()

    def fill(self, vectors: npt.NDArray[np.float32]) -> None:
        """Take vectors for the first items that wait for one."""
        for vector in vectors:
            self._write(self._waiting.popleft().record, vector, False)
            self._write_ready()

    def _write_ready(self) -> None:
        while self._waiting and self._waiting[0].pixels is None:
            item = self._waiting.popleft()
            self._write(item.record, item.vector, item.vector is not None)
