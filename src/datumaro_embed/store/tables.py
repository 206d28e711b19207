"""The tables of a store that are searched: items, objects and captions.

All answer the same questions, so that what works on one table works on any (``--of``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..encoding import decode_text, encode_text
from ..errors import ItemNotFoundError
from ..records import ObjectKey
from ..tally import counted
from .codec import Array
from .rows import IntArray, StoredRows
from .schema import array_specs, status_has_vector

if TYPE_CHECKING:
    import pyarrow as pa

BoolArray = npt.NDArray[np.bool_]


class VectorTable:
    """Rows of one table; of items, where a subclass does not say otherwise.

    Arrays are read-only; those of a sealed file are mapped and not copied. `name` is ``"items"``,
    ``"objects"`` or ``"captions"``.
    """

    name: ClassVar[str] = "items"

    def __init__(self, store: StoredRows) -> None:
        self._store = store

    def __len__(self) -> int:
        return self._store.count(self.name)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self)

    @property
    def vectors(self) -> Array:
        """(n_rows, dim), the stored type; zero where `has_vector` is false. See `embeddings`."""
        return self._store.column(f"{self.name}/vector")

    def embeddings(self, rows: npt.ArrayLike | slice | None = None) -> Array:
        """Vectors of some rows, or of all; see `EmbeddingStore.embeddings`."""
        return self._store.gather(f"{self.name}/vector", rows)

    @property
    def statuses(self) -> Array:
        """(n_rows,) uint8: values of `Status` or `ObjectStatus`; zeros where all have a vector."""
        path = f"{self.name}/status"
        return self._store.column(path) if path in array_specs() else np.zeros(len(self), np.uint8)

    @property
    def has_vector(self) -> BoolArray:
        """(n_rows,) bool: which rows have a vector."""
        found: BoolArray = status_has_vector(self.name)[self.statuses]
        return found

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of all labels of the store; numbers of labels index them."""
        return self._store.categories.labels

    def labels_of(self, row: int) -> tuple[str, ...]:
        """Names of the labels of a row, ascending, each once."""
        return self._store.labels_of(row)

    def labelled(self, labels: Iterable[int]) -> BoolArray:
        """(n_rows,) bool: which rows have one of some labels, by number; items by annotations."""
        found = np.isin(self._store.column("annotations/label"), list(labels))
        n_before = np.concatenate([np.zeros(1, np.int64), np.cumsum(found)])
        offsets = self._store.column("items/annotations_offsets")
        mask: BoolArray = n_before[offsets[1:]] > n_before[offsets[:-1]]
        return mask

    def label_counts(self) -> tuple[IntArray, IntArray, IntArray]:
        """Item row, label and number of annotations of each pair, ascending by row and label."""
        return self._store.label_counts(0, self._store.n_rows)

    def label_pairs(self) -> tuple[IntArray, IntArray]:
        """Row and label of each pair, ascending, each once; an item may have several labels."""
        return self.label_counts()[:2]

    @property
    def item_rows(self) -> IntArray:
        """(n_rows,) int64: the row of each row's item; made anew at each call."""
        return self.spread(np.arange(self._store.n_rows))

    def item_row(self, row: int) -> int:
        """Row of a row's item; raises `IndexError` out of range."""
        return range(len(self))[row]

    def spread(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Give each row the value of its item: (n_items, …) to (n_rows, …)."""
        return values

    def contents(self) -> npt.NDArray[np.uint8]:
        """(n_rows, n) uint8: equal where the same was embedded; zeros where nothing is known.

        SHA-256 of images; of objects also their crops; of captions SHA-256 of the texts.
        """
        return self._store.column("items/content_sha256")

    def facts(self, row: int) -> dict[str, Any]:  # noqa: ARG002
        """What tells a row from others of its item, as fields of `Hit`."""
        return {}

    def of(self, item_row: int) -> range:
        """Rows that belong to an item; raises `IndexError`."""
        self._store.key(item_row)
        return range(item_row, item_row + 1)

    def key(self, row: int) -> Any:
        """Key of a row; raises `IndexError` out of range."""
        return self._store.key(row)

    def row(self, key: Any) -> int:
        """Row of a key, as an object or as a string; raises `ItemNotFoundError`."""
        return self._store.row(key)

    def record(self, row: int) -> Any:
        """Decode a row; raises `IndexError` out of range."""
        return self._store.item(row)

    def to_arrow(
        self, *, vectors: bool = True, dtype: str = "float32", embedded_only: bool = False
    ) -> pa.Table:
        """Convert every column, one row each, with ``embedding`` as a fixed-size list."""
        import pyarrow as pa  # only who asks for tables waits for it

        tables = self.iter_arrow(vectors=vectors, dtype=dtype, embedded_only=embedded_only)
        return pa.concat_tables(list(tables))

    def iter_arrow(
        self, *, vectors: bool = True, dtype: str = "float32", embedded_only: bool = False
    ) -> Iterator[pa.Table]:
        """Yield what `to_arrow` gives, some rows at a time, at least once."""
        from .arrow import iter_tables

        return iter_tables(
            self._store, of=self.name, vectors=vectors, dtype=dtype, embedded_only=embedded_only
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of '{self._store.path}': {counted(len(self), 'rows')}>"


class _ChildTable(VectorTable):
    """Rows that belong to items, in the order of their items; keys are ``SUBSET/ID#N``."""

    def of(self, item_row: int) -> range:
        self._store.key(item_row)
        return range(*self._store.child_rows(self.name, item_row, item_row + 1))

    def item_row(self, row: int) -> int:
        return self._store.owner(self.name, row)[0]

    def spread(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        lengths = self._store.lengths(f"items/{self.name}_offsets", 0, self._store.n_rows)
        return np.repeat(values, lengths.astype(np.int64), axis=0)

    def key(self, row: int) -> ObjectKey:
        item_row, number = self._store.owner(self.name, row)
        return ObjectKey(self._store.key(item_row), number)

    def row(self, key: ObjectKey | str) -> int:
        try:
            wanted = ObjectKey.parse(key) if isinstance(key, str) else key
        except ValueError as error:
            raise ItemNotFoundError(f"{error}, such as train/x#0.", key=key) from error
        rows = self.of(self._store.row(wanted.item))
        if not 0 <= wanted.number < len(rows):
            raise ItemNotFoundError(
                f"Item '{wanted.item}' has {counted(len(rows), self.name)} in "
                f"'{self._store.path}', numbered from 0, and no number {wanted.number}.",
                key=wanted,
            )
        return rows[wanted.number]

    @property
    def labels(self) -> Array:
        """(n_rows,) int32: the number of each row's label, a caption's annotation's; -1 none."""
        return self._store.column(f"{self.name}/label")

    def labels_of(self, row: int) -> tuple[str, ...]:
        label, names = self._shown(row).label, self.label_names
        return (names[label],) if 0 <= label < len(names) else ()

    def _shown(self, row: int) -> Any:
        """Return what has the row's label."""
        return self.record(row)

    def labelled(self, labels: Iterable[int]) -> BoolArray:
        return np.isin(self.labels, list(labels))

    def label_pairs(self) -> tuple[IntArray, IntArray]:
        labels = np.asarray(self.labels, np.int64)
        rows = np.flatnonzero((labels >= 0) & (labels < len(self.label_names)))
        return rows, labels[rows]

    def record(self, row: int) -> Any:
        """Decode a row, with its vector; raises `IndexError` out of range."""
        return self._store.record(self.name, row)


class ObjectTable(_ChildTable):
    """The objects: what annotations of one group and label show together, or one alone."""

    name = "objects"

    def contents(self) -> npt.NDArray[np.uint8]:
        shas = self.spread(self._store.column("items/content_sha256"))
        crops = np.ascontiguousarray(self._store.column("objects/crop")).view(np.uint8)
        return np.hstack([shas, crops]) * shas.any(axis=1, keepdims=True)

    def facts(self, row: int) -> dict[str, Any]:
        return {"box": self.record(row).box}

    @property
    def boxes(self) -> Array:
        """(n_rows, 4) float64: x, y, w, h in upright pixels."""
        return self._store.column("objects/box")

    @property
    def areas(self) -> Array:
        """(n_rows,) float64: square pixels."""
        return self._store.column("objects/area")


class CaptionTable(_ChildTable):
    """The captions: one row for each annotation of the type."""

    name = "captions"

    @property
    def annotation_rows(self) -> IntArray:
        """(n_rows,) int64: the row of each caption's annotation; made anew at each call."""
        starts = self._store.column("items/annotations_offsets").astype(np.int64)
        return starts[self.item_rows] + self._store.column("captions/annotation")

    @property
    def labels(self) -> Array:
        labels: Array = self._store.column("annotations/label")[self.annotation_rows]
        return labels

    @property
    def texts(self) -> list[str]:
        """Text of each caption; made anew at each call."""
        rows = self.annotation_rows
        bounds = self._store.column("annotations/text_offsets")
        data = self._store.column("annotations/text")
        ends = zip(bounds[rows].tolist(), bounds[rows + 1].tolist(), strict=True)
        return [decode_text(data[first:stop].data) for first, stop in ends]

    def contents(self) -> npt.NDArray[np.uint8]:
        digests = b"".join(hashlib.sha256(encode_text(text)).digest() for text in self.texts)
        return np.frombuffer(digests, np.uint8).reshape(-1, 32)

    def facts(self, row: int) -> dict[str, Any]:
        return {"text": self.text(row)}

    def text(self, row: int) -> str:
        """Text of one caption; raises `IndexError` out of range."""
        return str(self._shown(row).text)

    def _shown(self, row: int) -> Any:
        item_row, _ = self._store.owner(self.name, row)
        first, _ = self._store.child_rows("annotations", item_row, item_row + 1)
        return self._store.record("annotations", first + self.record(row).annotation)


TABLES: dict[str, type[VectorTable]] = {
    table.name: table for table in (VectorTable, ObjectTable, CaptionTable)
}
