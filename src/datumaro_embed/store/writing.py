"""What a writer is: `StoreWriter`, one of the two contracts of this room (base.py: the other)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ..records import Categories, ItemRecord

__all__ = ["StoreWriter"]

Self = TypeVar("Self", bound="StoreWriter")


class StoreWriter(ABC):
    """Takes rows in ascending key order and publishes them all at once, or nothing.

    A context manager: leaving it before `seal`, by an exception or not, leaves nothing behind.
    """

    @abstractmethod
    def append(self, record: ItemRecord, vector: npt.NDArray[np.floating[Any]] | None) -> None:
        """Add one row.

        Parameters
        ----------
        record : ItemRecord
            Its key above (subset, id) of every row before; strings compare by code point.
        vector : array of shape (dim,), float32, norm 1 within 1e-3; or None
            Of float16 for a float16 store, as read from another: within 4e-3. None exactly where
            the status is not OK: a zero vector is stored.

        Raises
        ------
        UsageError
            With `key`, where order, shape, norm or a field's range is wrong. The writer is as
            before the call and takes further rows.
        """

    @abstractmethod
    def set_categories(
        self, categories: Categories, embedding: npt.NDArray[np.floating[Any]] | None = None
    ) -> None:
        """Give the label names, and one vector for each; once, at any time before `seal`.

        Parameters
        ----------
        categories : Categories
        embedding : array of shape (n_labels, dim), float32, rows of norm 1; or None

        Raises
        ------
        UsageError
            Where shape or norm is wrong.
        """

    @abstractmethod
    def seal(self, provenance: Mapping[str, Any]) -> None:
        """Publish all rows; the writer takes no more.

        Parameters
        ----------
        provenance : mapping
            JSON-able: how the vectors were made.

        Raises
        ------
        StoreWriteError
            Where the operating system refuses; what was there before is untouched, and the rows are
            kept: make room and call `seal` again.
        StoreExistsError
            Where something came into the way since the writer was made.
        """

    @abstractmethod
    def abort(self) -> None:
        """Drop everything; nothing is left behind. After `seal` or `abort`: does nothing."""

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()
