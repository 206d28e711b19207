"""Pixels of readable items → batches in preallocated arrays, kept until they are answered."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from .ordering import OrderedRows, ReadItem

__all__ = ["MAX_WAITING_ROWS", "PixelBatches"]

Pixels = npt.NDArray[np.uint8]

# With few images to embed among many rows that need none, rows must not wait for a full batch.
MAX_WAITING_ROWS = 4096


class PixelBatches(Iterator[Pixels]):
    """Iterates over batches; every item goes to `rows` on the way.

    Parameters
    ----------
    items : iterator of ReadItem
    rows : OrderedRows
    batch_size, side_px : int
    first_size : int, optional
        Of the first batch.
    stop : callable
        Asked after each item: whether no more are wanted.

    Attributes
    ----------
    broke : bool
        An exception came from `items` or `rows`, not from who asks for batches.
    ended : bool
        No item is left, or no more are wanted. Iteration may stop before: where too many rows
        wait for batches that are not answered yet. Iterate again when they are.
    n_given : int
        Batches so far.

    Notes
    -----
    An array is written over once it was answered: memory is that of the batches under way and of
    `MAX_WAITING_ROWS` rows.
    """

    def __init__(
        self,
        items: Iterator[ReadItem],
        rows: OrderedRows,
        *,
        batch_size: int,
        side_px: int,
        stop: Callable[[], bool],
        first_size: int | None = None,
    ) -> None:
        self._items, self._rows, self._stop = items, rows, stop
        self._shape = (batch_size, side_px, side_px, 3)
        self._size = first_size or batch_size  # of the next batch
        self._free: list[Pixels] = []
        self._unanswered: deque[Pixels] = deque()
        self.broke = self.ended = False
        self.n_given = 0

    def __next__(self) -> Pixels:
        if self.ended:
            raise StopIteration
        buffer = self._free.pop() if self._free else np.empty(self._shape, np.uint8)
        try:
            n_rows = self._gather(buffer[: self._size])
        except BaseException:
            self.broke = True
            raise
        if not n_rows:
            self._free.append(buffer)
            raise StopIteration
        self.n_given += 1
        self._size = len(buffer)
        self._unanswered.append(buffer[:n_rows])
        return self._unanswered[-1]

    def _gather(self, buffer: Pixels) -> int:
        n_rows = 0
        while n_rows < len(buffer) and not self._too_many_wait(n_rows):
            item = next(self._items, None)
            if item is None:
                self.ended = True
                break
            if self._rows.expect(item) and item.pixels is not None:
                buffer[n_rows] = item.pixels
                n_rows += 1
            if self._stop():
                self.ended = True
                break
        return n_rows

    def _too_many_wait(self, n_rows: int) -> bool:
        is_under_way = n_rows > 0 or bool(self._unanswered)
        return is_under_way and len(self._rows) >= MAX_WAITING_ROWS

    @property
    def n_unanswered(self) -> int:
        """Batches that were given out and have no answer yet."""
        return len(self._unanswered)

    def oldest(self) -> Pixels:
        """Return the first batch without an answer."""
        return self._unanswered[0]

    def answered(self) -> None:
        """Take note that the first batch has its answer."""
        batch = self._unanswered.popleft()
        if isinstance(batch.base, np.ndarray):
            self._free.append(batch.base)
