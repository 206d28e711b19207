"""`EmbeddingStore`: rows of items, their annotations and vectors, over one part or many.

A sealed file is one part; a directory has one for each segment. Columns of several parts are put
end to end; their codes and offsets are made to fit the whole.
"""

from __future__ import annotations

import operator
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from ..depth import DepthRange
from ..errors import ItemNotFoundError, UsageError
from ..experimental import items_of
from ..records import Categories, ItemKey, ItemRecord, Status
from ..tally import counted
from ..vectors import VectorKind
from .check import SoundRows, problems
from .codec import Array, corrupt, decode_json, decode_rows, decode_text, names_in
from .lookup import (
    HasKey,
    Keys,
    VectorBatch,
    as_key,
    check_dtype,
    check_n_rows,
    find_row,
    near_keys,
    rows_for,
)
from .part import Part
from .schema import FORMAT_VERSION, SCHEMA, ArraySpec, array_specs, child_tables
from .tables import CaptionTable, ItemTable, LabelTable, ObjectTable, VectorTable, table_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["EmbeddingStore"]

Self = TypeVar("Self", bound="EmbeddingStore")
_LISTS_KEYS = "`datumaro-embed info STORE --items N` prints the first N (in Python: store.keys())."


class _ColumnView:
    """Names a column: ``store.widths`` for ``store.column("items/width")``."""

    def __init__(self, path: str, doc: str) -> None:
        self._path = path
        self.__doc__ = doc

    def __get__(self, store: EmbeddingStore, owner: object = None) -> Array:
        return cast(Any, self) if store is None else store.column(self._path)


class EmbeddingStore:
    """Reads a store; a context manager. Row i is always item i, in ascending key order.

    Arrays are read-only. Those of a sealed file are mapped and cost no memory until touched.

    Parameters
    ----------
    parts : sequence of Part
        In ascending order of their keys. May open each part when it is asked for.
    path : str
        As given to the opener.
    kind : VectorKind
    uuid : str
        32 hexadecimal digits, new for every finished store.
    head : Part, optional
        Holds labels, categories and provenance; the first part unless given.
    sizes : mapping, optional
        Table → rows of each part, where they are known without opening the parts.
    bounds : sequence of (ItemKey, ItemKey), optional
        First and last key of each part.
    tables : collection of str, optional
        Tables of rows that belong to items and that every part has.
    complete : bool
        Its run has ended.
    n_expected : int, optional
        Rows that the store will have once it is complete; 0 where nobody knows.
    """

    splits = _ColumnView("items/split", "(n_rows,) uint8: values of `Split`.")
    statuses = _ColumnView("items/status", "(n_rows,) uint8: values of `Status`.")
    widths = _ColumnView("items/width", "(n_rows,) uint32: upright pixels, 0 unknown.")
    heights = _ColumnView("items/height", "(n_rows,) uint32: upright pixels, 0 unknown.")
    subset_codes = _ColumnView("items/subset", "(n_rows,) uint16: index into `subset_names`.")
    content_sha256 = _ColumnView(
        "items/content_sha256",
        "(n_rows, 32) uint8: SHA-256 of the image; zeros if it was not read.",
    )
    ann_offsets = _ColumnView(
        "items/annotations_offsets",
        "(n_rows + 1,) uint64: row i has annotations ``ann_offsets[i]`` to below the next.",
    )
    ann_types = _ColumnView(
        "annotations/type", "(n_annotations,) uint8: index into `ann_type_names`."
    )
    ann_labels = _ColumnView(
        "annotations/label", "(n_annotations,) int32: index into ``categories.labels``; -1 none."
    )
    ann_ids = _ColumnView("annotations/ann_id", "(n_annotations,) int64: as in Datumaro.")
    ann_groups = _ColumnView("annotations/group", "(n_annotations,) int64: as in Datumaro, 0 none.")
    ann_object_ids = _ColumnView(
        "annotations/object_id", "(n_annotations,) int64: as in Datumaro, -1 none."
    )
    ann_z_orders = _ColumnView("annotations/z_order", "(n_annotations,) int32: as in Datumaro.")
    ann_coords = _ColumnView(
        "annotations/coords", "(n_coords,) float64: upright pixels; cut by `ann_coords_offsets`."
    )
    ann_coords_offsets = _ColumnView(
        "annotations/coords_offsets",
        "(n_annotations + 1,) uint64: where each annotation's numbers begin in `ann_coords`.",
    )

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        path: str,
        kind: VectorKind,
        uuid: str,
        head: Part | None = None,
        sizes: Mapping[str, Sequence[int]] | None = None,
        bounds: Sequence[tuple[ItemKey, ItemKey]] | None = None,
        tables: Collection[str] | None = None,
        complete: bool = True,
        n_expected: int | None = None,
    ) -> None:
        self.path, self.kind, self.uuid, self.complete = path, kind, uuid, complete
        self._parts = parts
        self._head = head
        self._bounds, self._tables = bounds, tables
        self._sizes = dict(sizes or {})
        self._starts: dict[str, npt.NDArray[np.int64]] = {}
        self._cache: dict[str, Array] = {}
        self._names: dict[str, tuple[str, ...]] = {}
        self._codes: dict[tuple[str, int], Array | None] = {}
        self._categories: Categories | None = None
        self._sound: dict[int, SoundRows] = {}
        self._closed = False
        self.n_rows = int(self._starts_of("items")[-1])
        self.n_expected = self.n_rows if n_expected is None else n_expected

    # Facts ---------------------------------------------------------------------------------------

    @property
    def parts(self) -> Sequence[Part]:
        """What the store consists of, by first key."""
        return self._parts

    @property
    def head(self) -> Part | None:
        """The part of labels and provenance, where it is one of its own."""
        return self._head

    @property
    def n_annotations(self) -> int:
        """Number of annotations of all items."""
        return self.count("annotations")

    def count(self, table: str) -> int:
        """Number of rows of a table of items, or of what belongs to them; 0 where it is absent."""
        return int(self._starts_of(table)[-1])

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return self.kind.dim

    @property
    def dtype(self) -> np.dtype[np.floating[Any]]:
        """Stored type of the vectors: float16 or float32."""
        return np.dtype(self.kind.dtype).newbyteorder("<")

    @property
    def run_fingerprint(self) -> str:
        """Of the model; equal where vectors are of one space."""
        return self.kind.fingerprint

    @property
    def vector_settings(self) -> str:
        """How the vectors were computed, such as ``"f32 on CPU"``; empty where that is unknown."""
        return self.kind.settings

    @property
    def format_version(self) -> int:
        """Major version of the format."""
        return FORMAT_VERSION

    @property
    def subset_names(self) -> tuple[str, ...]:
        """Names of the subsets, ascending; `subset_codes` index them."""
        return self.names("items/subset")

    @property
    def ann_type_names(self) -> tuple[str, ...]:
        """Datumaro's names of the annotation types; `ann_types` index them."""
        return self.names("annotations/type")

    @property
    def ann_rows(self) -> npt.NDArray[np.int64]:
        """(n_annotations,) int64: the row of each annotation's item; made anew at each call."""
        offsets = self.ann_offsets.astype(np.int64)
        return np.repeat(np.arange(self.n_rows), offsets[1:] - offsets[:-1])

    @property
    def categories(self) -> Categories:
        """Label names and every category type of the dataset."""
        if self._categories is None:
            head = self._head_part
            if head is None:
                return Categories()
            with self._values_of(head, "labels/name"):
                labels = names_in(self._getter(head), "labels/name")
            self._categories = Categories(labels, self._json("meta/categories"))
        return self._categories

    @property
    def label_embeddings(self) -> Array | None:
        """Vectors of the label prompts, (n_labels, dim) float32, in label order; None if absent."""
        return self._optional("labels/vector")

    @property
    def provenance(self) -> dict[str, Any]:
        """How the vectors were made, as given to `StoreWriter.seal`."""
        return self._json("meta/provenance")

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
    def depth_range(self) -> DepthRange:
        """By which rule samples of more than 8 bits became bytes."""
        found = self.provenance.get("depth_range")
        return DepthRange.parse(found if isinstance(found, str) else self.kind.depth_range)

    @property
    def every(self) -> int:
        """Of videos, every how many frames were embedded, as provenance has it."""
        found = self.provenance.get("every")
        return found if isinstance(found, int) and found > 0 else 1

    # Tables --------------------------------------------------------------------------------------

    def has_table(self, name: str) -> bool:
        """Tell whether the store has a table; ``objects`` and ``captions`` may be absent."""
        return name not in child_tables() or self.has(f"items/{name}_offsets")

    def table(self, name: str) -> VectorTable:
        """Table by its name: ``"items"``, ``"objects"``, ``"captions"`` or ``"labels"``.

        Raises
        ------
        UsageError
            No such table, or the store lacks it (see `has_table`).
        """
        return table_of(self, name)

    @property
    def items(self) -> ItemTable:
        """The items."""
        return ItemTable(self)

    @property
    def objects(self) -> ObjectTable:
        """The objects; raises `NoTableError` where they were not embedded."""
        return cast(ObjectTable, self.table("objects"))

    @property
    def captions(self) -> CaptionTable:
        """The captions; raises `NoTableError` where they were not embedded."""
        return cast(CaptionTable, self.table("captions"))

    @property
    def labels(self) -> LabelTable:
        """The label names."""
        return LabelTable(self)

    # Columns -------------------------------------------------------------------------------------

    def column(self, path: str) -> Array:
        """One array by its path in the schema, such as ``"items/width"``.

        Returns
        -------
        array, read-only
            Type and shape as in docs/store-format.md.

        Raises
        ------
        UsageError
            The schema has no such path, the store has no such optional array, or is closed.
        StoreCorruptError
        """
        found = self._optional(path)
        if found is None:
            raise UsageError(f"The store has no '{path}'. See docs/store-format.md.", path=path)
        return found

    def has(self, path: str) -> bool:
        """Tell whether the store has an array; only optional ones may be absent."""
        self._refuse_closed()
        spec = array_specs().get(path)
        if spec is None or not spec.optional:
            return spec is not None
        table = spec.cuts if spec.column and spec.column.kind == "rows" else spec.table
        if self._tables is not None and table in child_tables():
            return table in self._tables
        parts = [self._head_part] if spec.table == "labels" else self._parts
        found = (part is not None and part.array(path) is not None for part in parts)
        is_enough = any if spec.column is not None and spec.column.filled else all
        return len(parts) > 0 and is_enough(found)

    def _optional(self, path: str) -> Array | None:
        found = self._cache.get(path)
        if found is None:
            self._refuse_closed()
            spec = array_specs().get(path)
            loaded = None if spec is None else self._load(spec)
            if loaded is None:
                return None
            found = self._cache[path] = _read_only(loaded)
        return found

    def _load(self, spec: ArraySpec) -> Array | None:
        if spec.table == "labels" or not spec.table:
            return None if self._head_part is None else self._head_part.array(spec.path)
        if len(self._parts) == 1:
            return self._parts[0].array(spec.path)
        if not self.has(spec.path):
            return None
        if spec.role in ("names", "names_offsets"):
            stem = spec.path.removesuffix("_offsets").removesuffix("_names")
            data = [name.encode("utf-8", "surrogatepass") for name in self.names(stem)]
            if spec.role == "names":
                return np.frombuffer(b"".join(data), np.uint8)
            return np.cumsum([0, *map(len, data)], dtype="<u8")
        n_rows = int(self._starts_of(spec.table)[-1])
        if spec.role == "offsets":
            ends = np.cumsum(self.lengths(spec.path, 0, n_rows), dtype="<u8")
            return np.concatenate([np.zeros(1, "<u8"), ends])
        return self.rows(spec.path, 0, n_rows)

    def rows(self, path: str, first: int, stop: int) -> Array:
        """Values that belong to some rows of an array's table; not for offsets."""
        spec = array_specs()[path]
        pieces = [self._piece(spec, i, a, b) for i, a, b in self._spans(spec.table, first, stop)]
        return pieces[0] if len(pieces) == 1 else np.concatenate([self._empty(spec), *pieces])

    def lengths(self, path: str, first: int, stop: int) -> npt.NDArray[np.uint64]:
        """How many values each of some rows has, by the path of their offsets."""
        spec = array_specs()[path]
        pieces = [
            np.diff(self._array(i, path)[a : b + 1])
            for i, a, b in self._spans(spec.table, first, stop)
        ]
        return np.concatenate([np.zeros(0, np.uint64), *pieces])

    def child_rows(self, table: str, first: int, stop: int) -> tuple[int, int]:
        """First row of a table that belongs to some items, and the one after the last."""
        spans = list(self._spans("items", first, stop))
        if not spans:
            return 0, 0
        (i, a, _), (j, _, b) = spans[0], spans[-1]
        starts, offsets = self._starts_of(table), f"items/{table}_offsets"
        return (
            int(starts[i]) + int(self._array(i, offsets)[a]),
            int(starts[j]) + int(self._array(j, offsets)[b]),
        )

    def owner(self, table: str, row: int) -> tuple[int, int]:
        """Item of a row of a table, and which of the item's it is, from 0; raises `IndexError`."""
        index, inner = self._place(row, table)
        offsets = self._array(index, f"items/{table}_offsets")
        item = int(np.searchsorted(offsets, np.uint64(inner), side="right")) - 1
        return int(self._starts_of("items")[index]) + item, inner - int(offsets[item])

    def gather(self, path: str, rows: npt.ArrayLike | slice | None = None) -> Array:
        """Values of some rows, or of all, of an array with one for each; see `embeddings`."""
        if rows is None:
            return self.column(path)
        if len(self._parts) == 1 or path in self._cache:
            index = rows if isinstance(rows, slice) else np.atleast_1d(_row_array(rows))
            return _read_only(self.column(path)[index])
        spec = array_specs()[path]
        numbers = _row_numbers(rows, self.count(spec.table))
        starts = self._starts_of(spec.table)
        places = np.searchsorted(starts, numbers, side="right") - 1
        empty = self._empty(spec)
        values = np.empty((len(numbers), *empty.shape[1:]), empty.dtype)
        for place in np.unique(places).tolist():
            here = places == place
            values[here] = self._filled(place, spec)[numbers[here] - starts[place]]
        return _read_only(values)

    def names(self, stem: str) -> tuple[str, ...]:
        """All names of a code, such as ``"items/subset"``, by first use."""
        if stem not in self._names:
            found: dict[str, None] = {}
            for part in self._parts:
                self._refuse_closed()
                with self._values_of(part, f"{stem}_names"):
                    found |= dict.fromkeys(names_in(self._getter(part), f"{stem}_names"))
            self._names[stem] = tuple(found)
        return self._names[stem]

    def _piece(self, spec: ArraySpec, index: int, first: int, stop: int) -> Array:
        values = self._filled(index, spec)
        if spec.role == "values":
            bounds = self._array(index, f"{spec.path}_offsets")
            return values[int(bounds[first]) : int(bounds[stop])]
        if spec.column is not None and spec.column.kind == "code" and len(self._parts) > 1:
            table = self._recoding(spec.path, index, values.dtype)
            return values[first:stop] if table is None else table[values[first:stop]]
        return values[first:stop]

    def _recoding(self, stem: str, index: int, dtype: np.dtype[Any]) -> Array | None:
        """New code of each old one of a part; None where they are the same."""
        if (stem, index) not in self._codes:
            places = {name: code for code, name in enumerate(self.names(stem))}
            own = names_in(self._getter(self._parts[index]), f"{stem}_names")
            table = np.array([places[name] for name in own], dtype=dtype)
            same = np.array_equal(table, np.arange(len(table)))
            self._codes[stem, index] = None if same else table
        return self._codes[stem, index]

    def _filled(self, index: int, spec: ArraySpec) -> Array:
        """Return an array of a part; zeros where only other parts have it."""
        part = self._parts[index]
        if spec.column is not None and spec.column.filled and part.array(spec.path) is None:
            one = np.zeros((1, spec.column.size), spec.column.dtype)
            return np.broadcast_to(one, (part.n_rows(spec.table), spec.column.size))
        return self._array(index, spec.path)

    def _empty(self, spec: ArraySpec) -> Array:
        if spec.column is not None and spec.column.kind == "vector":
            return np.zeros((0, self.dim), self.dtype)
        inner = [size for size in spec.shape[1:] if isinstance(size, int)]
        return np.zeros((0, *inner), spec.dtypes[0])

    def _array(self, index: int, path: str) -> Array:
        self._refuse_closed()
        found: Array = self._getter(self._parts[index])(path)
        return found

    @staticmethod
    def _getter(part: Part) -> Any:
        def array(path: str) -> Array:
            found = part.array(path)
            if found is None:
                raise corrupt(part.path, path, "is missing")
            return found

        return array

    def _starts_of(self, table: str) -> npt.NDArray[np.int64]:
        if table not in self._starts:
            sizes = self._sizes.get(table)
            if sizes is None:
                sizes = [part.n_rows(table) for part in self._parts]
            self._starts[table] = np.cumsum([0, *sizes], dtype=np.int64)
        return self._starts[table]

    def _spans(self, table: str, first: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Part, first row in it and the one after the last, of some rows of the whole."""
        starts = self._starts_of(table)
        index = max(int(np.searchsorted(starts, first, side="right")) - 1, 0)
        while index < len(self._parts) and (starts[index] < stop or first == stop == 0):
            a, b = max(first, int(starts[index])), min(stop, int(starts[index + 1]))
            if a < b:
                yield index, a - int(starts[index]), b - int(starts[index])
            index += 1

    @property
    def _head_part(self) -> Part | None:
        self._refuse_closed()
        if self._head is None and self.complete and len(self._parts):
            return self._parts[0]
        return self._head

    # Vectors -------------------------------------------------------------------------------------

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
            A row is out of range.

        Notes
        -----
        All rows and slices of a sealed file are views of it, without a copy; a gather copies n
        rows. A directory's are copied.
        """
        return self.gather("items/vector", rows)

    def to_numpy(
        self, *, dtype: str = "float32", embedded_only: bool = False
    ) -> npt.NDArray[np.floating[Any]]:
        """Copy the vectors, (n, dim), in row order.

        Parameters
        ----------
        dtype : {"float32", "float16", "float64"}
        embedded_only : bool
            Leave out items without a vector; otherwise theirs is zero.
        """
        check_dtype(dtype)
        return np.array(
            self.embeddings(self.statuses == Status.OK if embedded_only else None), dtype=dtype
        )

    def iter_batches(
        self, n_rows: int = 4096, *, embedded_only: bool = False
    ) -> Iterator[VectorBatch]:
        """Yield rows, keys and float32 vectors, `n_rows` at a time, in bounded memory."""
        check_n_rows(n_rows)
        rows = np.arange(self.n_rows)
        if embedded_only:
            rows = np.flatnonzero(self.statuses == Status.OK)
        for start in range(0, len(rows), n_rows):
            some = rows[start : start + n_rows]
            keys = tuple(map(self.key, some.tolist()))
            yield VectorBatch(some, keys, np.asarray(self.embeddings(some), dtype=np.float32))

    def rows_for(self, dataset: Iterable[HasKey]) -> npt.NDArray[np.int64]:
        """Row of each item of a dataset, whole or filtered, in its order; -1 where none."""
        return rows_for(self.keys(), self._items_of(dataset))

    def _items_of(self, dataset: Iterable[HasKey]) -> list[HasKey]:
        def path_of(key: ItemKey) -> str | None:
            row = self._find(key)
            return None if row is None else self.item(row).path

        return items_of(dataset, self.media_root, path_of)

    def for_dataset(
        self, dataset: Iterable[HasKey], *, missing: str = "error"
    ) -> npt.NDArray[np.float32]:
        """Vector of each item of a dataset, in its order: ``zip(dataset, vectors)``.

        Parameters
        ----------
        dataset : iterable of items
            A Datumaro dataset, legacy or experimental, whole or filtered, in any order.
        missing : {"error", "zero"}
            What an item does that the store does not have.

        Returns
        -------
        array of shape (n_items, dim), float32
            Zero where embedding failed (see `statuses`).

        Raises
        ------
        ItemNotFoundError
            An item is not in the store, such as after its id or subset was changed.
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
        import pyarrow as pa  # as is .arrow: only who asks for tables waits for it

        from .arrow import iter_tables

        tables = iter_tables(self, vectors=vectors, dtype=dtype, embedded_only=embedded_only)
        return pa.concat_tables(list(tables))

    def to_pandas(self, *, vectors: bool = True, embedded_only: bool = False) -> pd.DataFrame:
        """As `to_arrow`, as a data frame; each cell of ``embedding`` is a float32 array."""
        return self.to_arrow(vectors=vectors, embedded_only=embedded_only).to_pandas()

    # Items ---------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self.n_rows

    def keys(self) -> Keys:
        """Keys of all rows, in row order, each decoded when it is asked for."""
        return Keys(self.key, self.n_rows)

    def key(self, row: int) -> ItemKey:
        """Key of a row; raises `IndexError` out of range."""
        index, inner = self._place(row)
        part = self._parts[index]
        code = int(self._array(index, "items/subset")[inner])
        first, stop = self._array(index, "items/id_offsets")[inner : inner + 2].tolist()
        with self._values_of(part, f"items/id of row {row}"):
            name = decode_text(self._array(index, "items/id")[first:stop].data)
            return ItemKey(self._part_names(index, "items/subset")[code], name)

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
            near = ", ".join(f"'{other}'" for other in near_keys(self.keys(), key, self))
            raise ItemNotFoundError(
                f"No item '{key}' in '{self.path}'. "
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
        if self._bounds is None:
            return find_row(self.keys(), key)
        self._refuse_closed()
        index = bisect_right(self._bounds, key, key=lambda bounds: bounds[0]) - 1
        if index < 0 or self._bounds[index][1] < key:
            return None
        start, stop = self._starts_of("items")[index : index + 2].tolist()
        row = find_row(self.keys()[start:stop], key)
        return None if row is None else start + row

    def item(self, row: int, *, without: Collection[str] = ()) -> ItemRecord:
        """Decode the record of a row with its annotations, equal to the one appended.

        Parameters
        ----------
        row : int
        without : collection of str
            Tables whose rows are not read: ``"annotations"``, ``"objects"``, ``"captions"``.

        Raises
        ------
        IndexError
            Out of range.
        StoreCorruptError
        """
        index, inner = self._place(row)
        part = self._parts[index]
        with self._values_of(part, f"row {row}"):
            (fields,) = self._decoded(index, "items", inner, inner + 1)
            for name in child_tables():
                offsets = part.array(f"items/{name}_offsets")
                if offsets is not None and name not in without:
                    first, stop = offsets[inner : inner + 2].tolist()
                    fields[name] = tuple(self._records(index, name, first, stop))
            fields["key"] = ItemKey(fields.pop("key.subset"), fields.pop("key.id"))
            record: ItemRecord = (SCHEMA["items"].record or ItemRecord)(**fields)
            return record

    def record(self, table: str, row: int) -> Any:
        """Decode the record of a row of a table that belongs to an item, with its vector.

        Raises
        ------
        IndexError
            Out of range.
        StoreCorruptError
        """
        index, inner = self._place(row, table)
        with self._values_of(self._parts[index], f"{table} {row}"):
            return next(self._records(index, table, inner, inner + 1))

    def _records(self, index: int, table: str, first: int, stop: int) -> Iterator[Any]:
        make: Any = SCHEMA[table].record
        rows = self._decoded(index, table, first, stop)
        if f"{table}/vector" not in array_specs():
            yield from (make(**values) for values in rows)
            return
        vectors = _read_only(self._array(index, f"{table}/vector")[first:stop])
        for values, vector in zip(rows, vectors, strict=True):
            has_vector = values["status"].has_vector if "status" in values else True
            yield make(**values, vector=vector if has_vector else None)

    def labels_of(self, row: int) -> tuple[str, ...]:
        """Names of the labels of an item's annotations, ascending, each once.

        Raises
        ------
        IndexError
            Out of range.
        StoreCorruptError
        """
        self._place(row)
        labels = self.rows("annotations/label", *self.child_rows("annotations", row, row + 1))
        names = self.categories.labels  # none in a run that has not ended
        return tuple(sorted({names[n] for n in set(labels.tolist()) if 0 <= n < len(names)}))

    def error(self, row: int) -> str:
        """Reason why a row has no vector, without decoding the rest of it; empty where it has.

        Raises
        ------
        IndexError
            Out of range.
        StoreCorruptError
        """
        index, inner = self._place(row)
        first, stop = self._array(index, "items/error_offsets")[inner : inner + 2].tolist()
        with self._values_of(self._parts[index], f"items/error of row {row}"):
            return decode_text(self._array(index, "items/error")[first:stop].data)

    def _decoded(self, index: int, table: str, first: int, stop: int) -> Iterator[dict[str, Any]]:
        def names(stem: str) -> Sequence[str]:
            return self._part_names(index, stem)

        self._refuse_closed()
        return decode_rows(self._parts[index].array, names, table, first, stop)

    def _part_names(self, index: int, stem: str) -> tuple[str, ...]:
        if len(self._parts) == 1:
            return self.names(stem)
        cached = f"{index}:{stem}"
        if cached not in self._names:
            self._names[cached] = names_in(self._getter(self._parts[index]), f"{stem}_names")
        return self._names[cached]

    def _place(self, row: int, table: str = "items") -> tuple[int, int]:
        """Part of a row of a table, and the row in it."""
        self._refuse_closed()
        row, n_rows = operator.index(row), self.count(table)
        if not 0 <= row < n_rows:
            what = "rows" if table == "items" else table
            raise IndexError(f"row {row} is out of range; the store has {n_rows:,} {what}")
        if len(self._parts) == 1:
            return 0, row
        starts = self._starts_of(table)
        index = int(np.searchsorted(starts, row, side="right")) - 1
        return index, row - int(starts[index])

    def _json(self, path: str) -> dict[str, Any]:
        data = self._optional(path)
        if data is None:
            return {}
        with self._values_of(cast(Part, self._head_part), path):
            return decode_json(data.data)

    @contextmanager
    def _values_of(self, part: Part, place: str) -> Iterator[None]:
        try:
            yield
        except (ValueError, IndexError) as error:
            raise corrupt(part.path, place, error) from error

    # Checks and end ------------------------------------------------------------------------------

    def is_sound(self, row: int) -> bool:
        """Compare the blocks of a row with their checksums; each block is read once."""
        index, inner = self._place(row)
        if index not in self._sound:
            self._sound[index] = SoundRows(self._parts[index])
        return inner in self._sound[index]

    def verify(self) -> list[str]:
        """Recompute everything that can be.

        Returns
        -------
        list of str
            One line for each problem, the first 100 of them; empty where the store is sound.

        Notes
        -----
        Reads every byte, at more than 1 GB/s from memory.
        """
        return problems(self)

    def close(self) -> None:
        """Release the files; arrays handed out stay valid, anything else asked of it is refused."""
        if self._closed:
            return
        self._closed = True
        self._cache.clear()
        close_all = getattr(self._parts, "close", None)  # of parts that are opened when needed
        for close in [close_all] if close_all else [part.close for part in self._parts]:
            close()
        if self._head is not None:
            self._head.close()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise UsageError("The store is closed. Open it again.", path=self.path)

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} '{self.path}': {counted(self.n_rows, 'rows')} x {self.dim} "
            f"{self.kind.dtype}, {counted(self.n_annotations, 'annotations')}>"
        )


def _read_only(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view


def _row_array(rows: npt.ArrayLike) -> Array:
    """Row numbers as an index; an empty list means no rows and not an empty float array."""
    found = np.asarray(rows)
    return found if found.size or found.dtype == bool else found.astype(np.int64)


def _row_numbers(rows: npt.ArrayLike | slice, n_rows: int) -> npt.NDArray[np.int64]:
    """Turn an index as NumPy takes it into row numbers; raises `IndexError`."""
    if isinstance(rows, slice):
        return np.arange(*rows.indices(n_rows), dtype=np.int64)
    found = np.atleast_1d(np.asarray(rows))
    if found.dtype == bool:
        if len(found) != n_rows:
            raise IndexError(f"a mask of {len(found)} for {n_rows:,} rows")
        return np.flatnonzero(found)
    numbers = found.astype(np.int64)
    numbers = np.where(numbers < 0, numbers + n_rows, numbers)
    if len(numbers) and not (numbers.min() >= 0 and numbers.max() < n_rows):
        raise IndexError(f"a row is out of range; the store has {n_rows:,} rows")
    return numbers
