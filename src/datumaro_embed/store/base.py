"""What a store is: `EmbeddingStore`, one of the two contracts of this room (writing.py: the other).

A backend's author gives `EmbeddingStore` three members (`info`, `_load`, `_close`) and inherits the
rest; `datumaro_embed.testing.StoreContract` tests the result.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from ..depth import DepthRange
from ..errors import ItemNotFoundError, UsageError
from ..records import Categories, ItemKey, ItemRecord
from ..tally import counted
from .alignment import HasKey, rows_for, vectors_for
from .batches import VectorBatch, iter_batches, to_numpy
from .lookup import as_key, find_row, near_keys
from .rows import Keys, RowReader
from .settings import depth_range_of, vector_settings
from .verify import problems
from .views import ColumnViews, StoreInfo

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["EmbeddingStore"]

Self = TypeVar("Self", bound="EmbeddingStore")
Array = npt.NDArray[Any]

_LISTS_KEYS = "`datumaro-embed info STORE --items N` prints the first N (in Python: store.keys())."


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

    @property
    def complete(self) -> bool:
        """Whether its run has ended; only `open_store(partial=True)` opens others."""
        return True

    @property
    def n_expected(self) -> int:
        """Rows that the store will have once it is complete; 0 where nobody knows."""
        return self.info.n_rows

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

    def row(self, key: ItemKey | str) -> int:
        """Row of a key.

        Parameters
        ----------
        key : ItemKey or str
            A string is ``SUBSET/ID`` (see `ItemKey.parse`).

        Raises
        ------
        ItemNotFoundError
            With the nearest keys.

        Notes
        -----
        Binary search, as rows are in key order: some 0.1 ms for ten million rows.
        """
        wanted = as_key(key)
        row = None if wanted is None else self._find(wanted)
        if row is None:
            near = ", ".join(f"'{other}'" for other in near_keys(self, key))
            raise ItemNotFoundError(
                f"No item '{key}' in '{self.info.path}'. "
                + (f"Nearest: {near}." if near else f"A key is SUBSET/ID. {_LISTS_KEYS}"),
                key=wanted or key,
            )
        return row

    def __getitem__(self, key: ItemKey | str) -> ItemRecord:
        """Record of the item with this key; see `row` and `item`."""
        return self.item(self.row(key))

    def __iter__(self) -> Iterator[ItemKey]:
        """Yield every key in row order, as a mapping of keys to records does."""
        return iter(self.keys())

    def __contains__(self, key: object) -> bool:
        wanted = as_key(key) if isinstance(key, ItemKey | str) else None
        return wanted is not None and self._find(wanted) is not None

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

    def error(self, row: int) -> str:
        """Reason why a row has no vector, without decoding the rest of it; empty where it has.

        Raises
        ------
        IndexError
            Out of range.
        StoreCorruptError
        """
        return self._row_reader.error(row)

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

    def model_fact(self, name: str) -> str:
        """Return what provenance says of the model: ``"name"``, ``"source"``, …; "" if nothing."""
        model = self.provenance.get("model")
        found = model.get(name) if isinstance(model, dict) else None
        return found if isinstance(found, str) else ""

    @property
    def media_root(self) -> str:
        """Folder that the paths of items are relative to, as provenance has it; "" if nowhere."""
        found = self.provenance.get("media_root")
        return found if isinstance(found, str) else ""

    @property
    def vector_settings(self) -> str:
        """How the vectors were computed, such as ``"f32 on CPU"``; empty where that is unknown."""
        return vector_settings(self.provenance)

    @property
    def depth_range(self) -> DepthRange:
        """By which rule samples of more than 8 bits became bytes."""
        found = self.provenance.get("depth_range")
        known = found if isinstance(found, str) else depth_range_of(self.vector_settings)
        return DepthRange.parse(known)

    def to_numpy(
        self, *, dtype: str = "float32", embedded_only: bool = False
    ) -> npt.NDArray[np.floating[Any]]:
        """Copy the vectors: (n, dim), in row order, in float16, float32 or float64.

        `embedded_only` leaves out items without a vector; otherwise theirs is zero.
        """
        return to_numpy(self, dtype=dtype, embedded_only=embedded_only)

    def to_arrow(
        self, *, vectors: bool = True, dtype: str = "float32", embedded_only: bool = False
    ) -> pa.Table:
        """Convert everything to one table, with ``embedding`` as a fixed-size list.

        Its schema's metadata holds categories and provenance: `import_vectors` restores the store.
        """
        import pyarrow as pa  # as is .arrow: only who asks for tables waits for it

        from .arrow import iter_tables

        tables = iter_tables(self, vectors=vectors, dtype=dtype, embedded_only=embedded_only)
        return pa.concat_tables(list(tables))

    def to_pandas(self, *, vectors: bool = True, embedded_only: bool = False) -> pd.DataFrame:
        """As `to_arrow`, as a data frame; each cell of ``embedding`` is a float32 array."""
        return self.to_arrow(vectors=vectors, embedded_only=embedded_only).to_pandas()

    def iter_batches(
        self, n_rows: int = 4096, *, embedded_only: bool = False
    ) -> Iterator[VectorBatch]:
        """Yield rows, keys and float32 vectors, `n_rows` at a time, in bounded memory."""
        return iter_batches(self, n_rows, embedded_only=embedded_only)

    def rows_for(self, dataset: Iterable[HasKey]) -> npt.NDArray[np.int64]:
        """Row of each item of a dataset, whole or filtered, in its order; -1 where none."""
        return rows_for(self, dataset)

    def for_dataset(
        self, dataset: Iterable[HasKey], *, missing: str = "error"
    ) -> npt.NDArray[np.float32]:
        """Vector of each item of a dataset, in its order: ``zip(dataset, vectors)``.

        An item that is not here is an `ItemNotFoundError`, or zero with ``missing="zero"``.
        """
        return vectors_for(self, dataset, missing=missing)

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

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        info = self.info
        return (
            f"<{type(self).__name__} '{info.path}': {counted(info.n_rows, 'rows')} x {info.dim} "
            f"{info.dtype.name}, {counted(info.n_annotations, 'annotations')}>"
        )


def _row_array(rows: npt.ArrayLike) -> Array:
    """Row numbers as an index; an empty list means no rows and not an empty float array."""
    array = np.asarray(rows)
    return array if array.size or array.dtype == bool else array.astype(np.int64)
