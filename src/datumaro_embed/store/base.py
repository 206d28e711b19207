"""What a store is: `StoreWriter` and `EmbeddingStore`, the two contracts of this room.

A backend's author gives `EmbeddingStore` three members (`info`, `_load`, `_close`) and inherits the
rest; `datumaro_embed.testing.StoreContract` tests the result.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ..errors import ItemNotFoundError, UsageError
from ..records import Categories, ItemKey, ItemRecord
from .lookup import find_row
from .rows import Keys, RowReader
from .verify import problems
from .views import ColumnViews, StoreInfo

__all__ = ["EmbeddingStore", "StoreWriter"]

Self = TypeVar("Self", bound="EmbeddingStore")
WriterSelf = TypeVar("WriterSelf", bound="StoreWriter")
Array = npt.NDArray[Any]


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
            None exactly where the status is not OK: a zero vector is stored.

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

    def __enter__(self: WriterSelf) -> WriterSelf:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()


class EmbeddingStore(ColumnViews, ABC):
    """Reads a sealed store; a context manager. Row i is always item i, in ascending key order.

    Arrays are read-only. Those of a sealed file are mapped and cost no memory until touched.
    """

    def __init__(self) -> None:
        self._cache: dict[str, Array] = {}
        self._rows: RowReader | None = None
        self._closed = False

    @property
    @abstractmethod
    def info(self) -> StoreInfo:
        """What is known without reading a column."""

    @abstractmethod
    def _load(self, path: str) -> Array | None:
        """Read one array of the schema; None where an optional one is absent.

        Raises
        ------
        StoreCorruptError
            Where it cannot be read, or its values cannot be right.
        """

    @abstractmethod
    def _close(self) -> None:
        """Release files."""

    def column(self, path: str) -> Array:
        """One array by its path in the schema, such as ``"items/width"``.

        Returns
        -------
        array, read-only
            Type and shape as in docs/store-format.md.

        Raises
        ------
        UsageError
            Where the schema has no such path, the store has no such optional array, or is closed.
        StoreCorruptError
        """
        found = self._optional(path)
        if found is None:
            raise UsageError(f"The store has no '{path}'; see docs/store-format.md.", path=path)
        return found

    def _optional(self, path: str) -> Array | None:
        found = self._cache.get(path)
        if found is None:
            if self._closed:
                raise UsageError("The store is closed; open it again.", path=self.info.path)
            loaded = self._load(path)
            if loaded is None:
                return None
            found = loaded.view()
            found.flags.writeable = False
            self._cache[path] = found
        return found

    def embeddings(self, rows: npt.ArrayLike | slice | None = None) -> Array:
        """Vectors of some rows, or of all.

        Parameters
        ----------
        rows : array of integers or booleans, or slice; None for all rows

        Returns
        -------
        array of shape (n, dim), the stored type, read-only
            In the order of `rows`; norm 1, or zero where the status is not OK.

        Raises
        ------
        IndexError
            Where a row is out of range.

        Notes
        -----
        All rows and slices are views of the mapped file, without a copy; a gather copies n rows.
        """
        vectors = self.column("items/embedding")
        if rows is None:
            return vectors
        gathered = vectors[rows if isinstance(rows, slice) else np.atleast_1d(_row_array(rows))]
        gathered.flags.writeable = False
        return gathered

    def __len__(self) -> int:
        return self.info.n_rows

    def key(self, row: int) -> ItemKey:
        """Key of a row; raises `IndexError` out of range."""
        return self._row_reader.key(row)

    def keys(self) -> Keys:
        """Keys of all rows, in row order, each decoded when it is asked for."""
        return Keys(self._row_reader)

    def row(self, key: ItemKey) -> int:
        """Row of a key.

        Raises
        ------
        ItemNotFoundError

        Notes
        -----
        Binary search, as rows are in key order: some 0.1 ms for ten million rows.
        """
        row = self._find(key)
        if row is None:
            raise ItemNotFoundError(
                f"No item '{key}' in '{self.info.path}'; see keys() for what there is.", key=key
            )
        return row

    def __contains__(self, key: object) -> bool:
        return isinstance(key, ItemKey) and self._find(key) is not None

    def _find(self, key: ItemKey) -> int | None:
        return find_row(self.keys(), key)

    def item(self, row: int) -> ItemRecord:
        """Decode the record of a row with its annotations, equal to the one appended.

        Raises
        ------
        IndexError
            Out of range.
        StoreCorruptError
        """
        return self._row_reader.item(row)

    @property
    def categories(self) -> Categories:
        """Label names and every category type of the dataset."""
        return self._row_reader.categories()

    @property
    def label_embeddings(self) -> Array | None:
        """Vectors of the label prompts, (n_labels, dim) float32, in label order; None if absent."""
        return self._optional("categories/embedding")

    @property
    def provenance(self) -> dict[str, Any]:
        """How the vectors were made, as given to `StoreWriter.seal`."""
        return self._row_reader.json_object("provenance", self.column("provenance"))

    @property
    def _row_reader(self) -> RowReader:
        rows = self._rows
        if rows is None:
            rows = self._rows = self._make_row_reader()
        return rows

    def _make_row_reader(self) -> RowReader:
        return RowReader(self.info.path, self.info.n_rows, self.column)

    def verify(self) -> list[str]:
        """Recompute everything that can be.

        Returns
        -------
        list of str
            One line for each problem, the first 100 of them; empty where the store is sound.

        Notes
        -----
        Reads every byte; about 10 microseconds for each row and each annotation.
        """
        return problems(self)

    def close(self) -> None:
        """Release the file; arrays handed out stay valid, anything else asked of it is refused."""
        if not self._closed:
            self._closed = True
            self._cache.clear()
            self._rows = None
            self._close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        info = self.info
        return (
            f"<{type(self).__name__} '{info.path}': {info.n_rows:,} rows x {info.dim} "
            f"{info.dtype.name}, {info.n_annotations:,} annotations>"
        )


def _row_array(rows: npt.ArrayLike) -> Array:
    """Row numbers as an index; an empty list means no rows and not an empty float array."""
    array = np.asarray(rows)
    return array if array.size or array.dtype == bool else array.astype(np.int64)
