"""Rows leave in the order in which their items came, whenever their vectors are ready."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..records import ItemRecord, Status
from .contents import Contents

__all__ = ["OrderedRows", "ReadItem"]

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ReadItem:
    """An item with its vector, or with pixels that need one, or with neither where it failed.

    Attributes
    ----------
    record : ItemRecord
    position : int
        Ascends from item to item.
    pixels : array of shape (side, side, 3), uint8, or None
    vector : array of shape (dim,), float32, or None
        Of an earlier run.
    shares : bool
        Items with the same bytes take its vector.
    is_twin : bool
        It takes that of the first item with the same bytes.
    """

    record: ItemRecord
    position: int
    pixels: npt.NDArray[np.uint8] | None = None
    vector: Vector | None = None
    shares: bool = False
    is_twin: bool = False


class OrderedRows:
    """A queue: an item with pixels waits for its vector, any other only for those before it.

    Parameters
    ----------
    write : callable
        Takes record, vector (None where the item failed) and whether the vector is re-used.
    contents : Contents
    """

    def __init__(
        self, write: Callable[[ItemRecord, Vector | None, bool], None], contents: Contents
    ) -> None:
        self._write = write
        self._contents = contents
        self._waiting: deque[tuple[ReadItem, bool]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def expect(self, item: ReadItem) -> bool:
        """Take the next item; return whether its pixels are to be embedded."""
        if item.shares and self._contents.is_twin(item.record.content_sha256, item.position):
            item = replace(item, shares=False, is_twin=True)
        waits = item.pixels is not None and not item.is_twin
        self._waiting.append((replace(item, pixels=None), waits))
        self._write_ready()
        return waits

    def fill(self, answers: Iterable[Vector | str]) -> None:
        """Take vectors, or the reasons why there is none, for the first items that wait."""
        for answer in answers:
            item, _ = self._waiting.popleft()
            if isinstance(answer, str):
                failed = replace(item.record, status=Status.INFERENCE_FAILED, error=answer)
                self._finish(replace(item, record=failed), None)
            else:
                self._finish(item, answer)
            self._write_ready()

    def _write_ready(self) -> None:
        while self._waiting and not self._waiting[0][1]:
            item, _ = self._waiting.popleft()
            self._finish(item, item.vector)

    def _finish(self, item: ReadItem, vector: Vector | None) -> None:
        record = item.record
        if item.is_twin:
            record, vector = self._contents.of_twin(record)
        elif item.shares:
            self._contents.keep(record, vector)
        self._write(record, vector, item.vector is not None)
