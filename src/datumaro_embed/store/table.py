"""`EmbeddingStore`: what one asks of a store: its facts, tables, vectors and items."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from ..depth import DepthRange
from ..errors import ItemNotFoundError, NoTableError, StoreCorruptError, UsageError
from ..records import ItemKey, ItemRecord, ShortRepr, Status
from ..tally import counted
from .check import problems, sound_rows
from .codec import Array, ArrayPart
from .hdf5 import Hdf5Part
from .rows import IntArray, StoredRows, check_dtype
from .schema import FORMAT_VERSION, array_specs

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from ..display import Origin
    from .tables import CaptionTable, ObjectTable, VectorTable

Self = TypeVar("Self", bound="EmbeddingStore")


@dataclass(frozen=True, slots=True, repr=False)
class VectorBatch(ShortRepr):
    """Some rows of a store: (n,) int64, n keys, and vectors of shape (n, dim), float32."""

    rows: IntArray
    keys: tuple[ItemKey, ...]
    vectors: npt.NDArray[np.float32]


def _column_view(path: str) -> Any:
    """Name a column: ``store.widths`` for ``store.column("items/width")``."""
    spec = array_specs()[path]
    shape = ", ".join(map(str, spec.shape))
    meaning = f"({shape}) {np.dtype(spec.dtypes[0]).name}: {spec.meaning}."
    return property(operator.methodcaller("column", path), doc=meaning)


class EmbeddingStore(StoredRows):
    """Reads a store; a context manager. A mapping of its keys to its records, in row order."""

    format_version = FORMAT_VERSION
    splits: Array = _column_view("items/split")
    statuses: Array = _column_view("items/status")
    widths: Array = _column_view("items/width")
    heights: Array = _column_view("items/height")
    subset_codes: Array = _column_view("items/subset")
    content_sha256: Array = _column_view("items/content_sha256")

    @classmethod
    def of(cls: type[Self], part: Hdf5Part | ArrayPart) -> Self:
        """Make a store of one part."""
        return cls([part], path=part.path, kind=part.kind, uuid=part.uuid)

    # Facts ---------------------------------------------------------------------------------------

    @property
    def subset_names(self) -> tuple[str, ...]:
        """Names of the subsets, ascending; `subset_codes` are places in them."""
        return self.names("items/subset")

    @property
    def ann_type_names(self) -> tuple[str, ...]:
        """Datumaro's names of the annotation types, in whose order `annotations/type` counts."""
        return self.names("annotations/type")

    @property
    def ann_rows(self) -> IntArray:
        """(n_annotations,) int64: the row of each annotation's item; made anew at each call."""
        lengths = self.lengths("items/annotations_offsets", 0, self.n_rows)
        return np.repeat(np.arange(self.n_rows), lengths.astype(np.int64))

    def model_fact(self, name: str) -> str:
        """Return what provenance says of the model: ``"name"``, ``"source"``, …; "" if nothing."""
        found = self._said("model", {}).get(name)
        return found if isinstance(found, str) else ""

    @property
    def media_root(self) -> str:
        """Folder that the paths of items are relative to, as provenance has it; "" if nowhere."""
        return str(self._said("media_root", ""))

    def origin(self, media_root: str | os.PathLike[str] | None = None) -> Origin:
        """Return the store to show pictures from, for results displayed in a notebook."""
        from ..display import Origin

        root = None if media_root is None else os.path.abspath(media_root)
        return Origin(os.path.abspath(self.path), self.uuid, root)

    def _repr_html_(self) -> str | None:
        """Give some of its items, evenly chosen, with pictures."""
        from ..display import html_of

        return html_of(None, self.origin())

    @cached_property
    def depth_range(self) -> DepthRange:
        """By which rule samples of more than 8 bits became bytes."""
        return DepthRange.parse(self._said("depth_range", self.kind.depth_range))

    @property
    def every(self) -> int:
        """Frame interval at which videos were embedded (`--every`), from the provenance."""
        return max(int(self._said("every", 1)), 1)

    def _said(self, name: str, default: Any) -> Any:
        """Return what provenance has under a name, where it is of the type of the default."""
        found = self.provenance.get(name)
        return found if isinstance(found, type(default)) else default

    # Tables --------------------------------------------------------------------------------------

    def table(self, name: str) -> VectorTable:
        """Table by its name: ``"items"``, ``"objects"`` or ``"captions"``.

        Raises `UsageError`: no such table; `NoTableError`: the store lacks it (see `has_table`).
        """
        from .tables import TABLES

        if name not in TABLES:
            raise UsageError(f"No table {name!r}. Choose one of {', '.join(TABLES)}.", name=name)
        if not self.has_table(name):
            raise NoTableError(
                f"'{self.path}' has no {name}. Embed the dataset with --{name}.",
                path=self.path,
                name=name,
            )
        return TABLES[name](self)

    @property
    def items(self) -> VectorTable:
        """The items."""
        from .tables import VectorTable

        return VectorTable(self)

    @property
    def objects(self) -> ObjectTable:
        """The objects; raises `NoTableError` where they were not embedded."""
        return cast("ObjectTable", self.table("objects"))

    @property
    def captions(self) -> CaptionTable:
        """The captions; raises `NoTableError` where they were not embedded."""
        return cast("CaptionTable", self.table("captions"))

    # Vectors -------------------------------------------------------------------------------------

    def embeddings(self, rows: npt.ArrayLike | slice | None = None) -> Array:
        """Vectors of some rows, or of all: an array of integers or booleans, a slice, or None.

        Returns an array of shape (n, dim), of the stored type, read-only, in the order of `rows`:
        norm 1, or zero where the status is not OK. All rows and slices of a sealed file are views
        of it; others, and a directory's, are copied. Raises `IndexError`: a row is out of range.
        """
        return self.gather("items/vector", rows)

    def to_numpy(
        self, *, dtype: str = "float32", embedded_only: bool = False
    ) -> npt.NDArray[np.floating[Any]]:
        """Copy the vectors, (n, dim), in row order, as float32, float16 or float64.

        Items without a vector are left out if `embedded_only`; otherwise theirs is zero.
        """
        check_dtype(dtype)
        return np.array(
            self.embeddings(self.statuses == Status.OK if embedded_only else None), dtype=dtype
        )

    def iter_batches(
        self, n_rows: int = 4096, *, embedded_only: bool = False
    ) -> Iterator[VectorBatch]:
        """Yield rows, keys and float32 vectors, `n_rows` at a time, in bounded memory."""
        if n_rows < 1:
            raise UsageError(f"n_rows is {n_rows}; give at least 1.", n_rows=n_rows)
        rows = np.arange(self.n_rows)
        if embedded_only:
            rows = np.flatnonzero(self.statuses == Status.OK)
        for start in range(0, len(rows), n_rows):
            some = rows[start : start + n_rows]
            keys = tuple(map(self.key, some.tolist()))
            yield VectorBatch(some, keys, np.asarray(self.embeddings(some), dtype=np.float32))

    def rows_for(self, dataset: Iterable[Any]) -> IntArray:
        """Row of each item of a dataset, whole or filtered, in its order; -1 where none."""
        found = [self._find(ItemKey(i.subset, i.id)) for i in self._items_of(dataset)]
        return np.array([-1 if row is None else row for row in found], dtype=np.int64)

    def _items_of(self, dataset: Iterable[Any]) -> list[Any]:
        from ..experimental import items_of

        def path_of(key: ItemKey) -> str | None:
            row = self._find(key)
            return None if row is None else self.text("items/path", row)

        return items_of(dataset, self.media_root, path_of)

    def for_dataset(
        self, dataset: Iterable[Any], *, missing: str = "error"
    ) -> npt.NDArray[np.float32]:
        """Vector of each item of a dataset, in its order: ``zip(dataset, vectors)``.

        The dataset is a Datumaro one, legacy or experimental, whole or filtered, in any order.
        Returns an array of shape (n_items, dim), float32, zero where embedding failed (see
        `statuses`).

        Raises `ItemNotFoundError`: an item is not in the store, such as after its id or subset was
        changed; its vector is zero instead where `missing` is ``"zero"`` and not ``"error"``.
        """
        if missing not in {"error", "zero"}:
            raise UsageError(f"missing is {missing!r}; choose error or zero.", missing=missing)
        items = self._items_of(dataset)
        rows = self.rows_for(items)
        absent = np.flatnonzero(rows < 0)
        if len(absent) and missing == "error":
            first = ItemKey(items[absent[0]].subset, items[absent[0]].id)
            raise ItemNotFoundError(
                f"'{self.path}' does not contain {counted(len(absent), 'items')} of the dataset, "
                f"such as '{first}'. Embed the dataset again, or pass missing='zero'.",
                key=first,
                count=len(absent),
            )
        vectors = np.zeros((len(rows), self.dim), dtype=np.float32)
        vectors[rows >= 0] = self.embeddings(rows[rows >= 0])
        return vectors

    def to_arrow(
        self, *, vectors: bool = True, dtype: str = "float32", embedded_only: bool = False
    ) -> pa.Table:
        """Convert everything to one table, with ``embedding`` as a fixed-size list.

        Its schema's metadata holds categories and provenance: `import_vectors` restores the store.
        """
        return self.items.to_arrow(vectors=vectors, dtype=dtype, embedded_only=embedded_only)

    def to_pandas(self, *, vectors: bool = True, embedded_only: bool = False) -> pd.DataFrame:
        """As `to_arrow`, as a data frame; each cell of ``embedding`` is a float32 array."""
        return self.to_arrow(vectors=vectors, embedded_only=embedded_only).to_pandas()

    # Items, checks and end -----------------------------------------------------------------------

    def __len__(self) -> int:
        return self.n_rows

    def __iter__(self) -> Iterator[ItemKey]:
        return iter(self.keys())

    def __getitem__(self, key: ItemKey | str) -> ItemRecord:
        """Record of the item with this key; see `row` and `item`."""
        return self.item(self.row(key))

    def is_sound(self, row: int) -> bool:
        """Tell whether a row is undamaged; verifies the checksums of its part on first use."""
        index, inner = self._place(row)
        if index not in self._sound:
            part = self.parts[index]
            sound = np.full(part.n_rows("items"), part.is_trusted or part.file is None)
            if not sound.all():
                with suppress(StoreCorruptError):
                    sound = sound_rows(part.file)[0]
            self._sound[index] = sound
        return bool(self._sound[index][inner])

    def verify(self) -> list[str]:
        """Recompute everything that can be.

        Returns one line for each problem, the first 100 of them; none where the store is sound.
        Reads every byte, at more than 1 GB/s from memory.
        """
        return problems(self)

    def close(self) -> None:
        """Release the files; arrays handed out stay valid, anything else asked of it is refused."""
        self._closed = True
        self._cache.clear()
        for part in (*self._parts, *([self.head] if self.head else [])):
            part.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} '{self.path}': {counted(self.n_rows, 'rows')} x {self.dim} "
            f"{self.kind.dtype}, {counted(self.count('annotations'), 'annotations')}>"
        )
