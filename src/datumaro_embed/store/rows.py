"""The rows of a store: columns and records of its tables, over one part or many.

A sealed file is one part; a directory has one for each segment. Columns of several parts are put
end to end; their codes and offsets are made to fit the whole.
"""

from __future__ import annotations

import difflib
import operator
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import pairwise
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from ..errors import ItemNotFoundError, UsageError
from ..records import Categories, ItemKey, ItemRecord
from ..tally import counted
from ..vectors import VectorKind
from .codec import Array, Part, decode_records, decode_rows, text_arrays
from .schema import ROW_ROLES, SCHEMA, ArraySpec, array_specs, child_tables

IntArray = npt.NDArray[np.int64]
_LISTS_KEYS = "`datumaro-embed info STORE --items N` prints the first N (in Python: store.keys())."
_NEIGHBOURS = 25
_SUGGESTIONS = 3
_LEAST_RATIO = 0.6

# Keys ------------------------------------------------------------------------------------------


class Keys(Sequence[ItemKey]):
    """The keys of a store in row order; each is decoded when it is asked for."""

    def __init__(self, key: Callable[[int], ItemKey], rows: range) -> None:
        self._key, self._rows = key, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> ItemKey: ...
    @overload
    def __getitem__(self, index: slice) -> Keys: ...
    def __getitem__(self, index: int | slice) -> ItemKey | Keys:
        if isinstance(index, slice):
            return Keys(self._key, self._rows[index])
        return self._key(self._rows[index])

    def __repr__(self) -> str:
        return f"<Keys of {counted(len(self), 'items')}>"


def _as_key(key: object) -> ItemKey | None:
    """Read a key, or a string ``SUBSET/ID``; None for a string that is not one."""
    if isinstance(key, ItemKey):
        return key
    if not isinstance(key, str):
        raise TypeError(
            f"a key is an ItemKey or 'SUBSET/ID', not {key!r}; item(row) takes a row number"
        )
    try:
        return ItemKey.parse(key)
    except ValueError:
        return None


# Rows ------------------------------------------------------------------------------------------


class StoredRows:
    """Rows of items and of what belongs to them. Row i is always item i, in ascending key order.

    Arrays are read-only. Those of a sealed file are mapped and cost no memory until touched.

    `parts` are in ascending order of their keys. `uuid` has 32 hexadecimal digits, new for every
    finished store. `head` holds labels, categories and provenance: the first part of a complete
    store unless given. A store is `complete` once its run has ended; until then `n_expected` is the
    expected number of rows, 0 if unknown.

    `dim` is the length of every vector; `dtype`, float16 or float32, its stored type; `kind` has
    them too, and the model's fingerprint, which is equal where vectors are of one space.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        path: str,
        kind: VectorKind,
        uuid: str,
        head: Part | None = None,
        complete: bool = True,
        n_expected: int | None = None,
    ) -> None:
        self.path, self.kind, self.uuid, self.complete = path, kind, uuid, complete
        self.dim = kind.dim
        self.dtype: np.dtype[np.floating[Any]] = np.dtype(kind.dtype).newbyteorder("<")
        self._parts, self.head = parts, head
        self._starts: dict[str, IntArray] = {  # number of the first row of each part, and the end
            table: np.cumsum([0, *(part.n_rows(table) for part in parts)], dtype=np.int64)
            for table in SCHEMA
        }
        self._cache: dict[str, Array] = {}
        self._names: dict[str, tuple[str, ...]] = {}
        self._codes: dict[tuple[str, int], Array] = {}
        self._sound: dict[int, Array] = {}
        self._categories: Categories | None = None
        self._closed = False
        self.n_rows = self.count("items")
        self.n_expected = self.n_rows if n_expected is None else n_expected

    @property
    def parts(self) -> Sequence[Part]:
        """What the store consists of, by first key; `UsageError` once it is closed."""
        if self._closed:
            raise UsageError("The store is closed. Open it again.", path=self.path)
        return self._parts

    def count(self, table: str) -> int:
        """Number of rows of a table of items, or of what belongs to them; 0 where it is absent."""
        return int(self._starts[table][-1])

    @property
    def categories(self) -> Categories:
        """Label names and every category type of the dataset."""
        head = self._head_part
        if self._categories is None and head is not None:
            labels = tuple(head.texts("labels/name"))
            self._categories = Categories(labels, head.json("meta/categories"))
        return self._categories or Categories()

    @property
    def label_embeddings(self) -> Array | None:
        """Vectors of the label prompts, (n_labels, dim) float32, in label order; None if absent."""
        return self.column("labels/vector") if self.has("labels/vector") else None

    @property
    def provenance(self) -> dict[str, Any]:
        """How the vectors were made, as given to `StoreWriter.seal`."""
        return self._head_part.json("meta/provenance") if self._head_part else {}

    def has_table(self, name: str) -> bool:
        """Tell whether the store has a table; ``objects`` and ``captions`` may be absent."""
        return name not in child_tables() or self.has(f"items/{name}_offsets")

    # Columns -------------------------------------------------------------------------------------

    def column(self, path: str) -> Array:
        """One array by its path in the schema, such as ``"items/width"``, read-only.

        Type and shape are as in docs/store-format.md. Raises `UsageError`: the schema has no such
        path, the store has no such optional array, or is closed; `StoreCorruptError`.
        """
        if path not in self._cache:
            if not self.has(path):
                raise UsageError(f"The store has no '{path}'. See docs/store-format.md.", path=path)
            spec = array_specs()[path]
            n_rows = self.count(spec.table) if spec.role in ROW_ROLES else 0
            if spec.table in ("", "labels") and self._head_part is not None:
                found = self._head_part.required(path)
            elif len(self.parts) == 1:
                found = self.parts[0].required(path)
            elif spec.role in ("names", "names_offsets"):
                stem = path.removesuffix("_offsets").removesuffix("_names")
                found = text_arrays(f"{stem}_names", self.names(stem))[path]
            elif spec.role == "offsets":
                ends = np.cumsum(self.lengths(path, 0, n_rows), dtype="<u8")
                found = np.concatenate([np.zeros(1, "<u8"), ends])
            else:
                found = self.rows(path, 0, n_rows)
            view = found.view()
            view.flags.writeable = False
            self._cache[path] = view
        return self._cache[path]

    def has(self, path: str) -> bool:
        """Tell whether the store has an array of the schema; only optional ones may be absent."""
        spec, parts = array_specs().get(path), self.parts
        if spec is None:
            return False
        if spec.table in ("", "labels"):
            return self._head_part is not None and self._head_part.has(path)
        found = (part.has(path) for part in parts)
        return not spec.optional or (len(parts) > 0 and (any if spec.column.filled else all)(found))

    def rows(self, path: str, first: int, stop: int) -> Array:
        """Values that belong to some rows of an array's table; not for offsets."""
        spec, pieces = array_specs()[path], []
        for index, a, b in self._spans(spec.table, first, stop):
            values = self._filled(index, spec)
            if spec.role == "values":
                a, b = self.parts[index].required(f"{path}_offsets")[[a, b]].tolist()
            piece = values[a:b]
            if spec.column.kind == "code" and spec.role == "rows" and len(self.parts) > 1:
                if (path, index) not in self._codes:  # the code in the store of each of the part
                    places = {name: code for code, name in enumerate(self.names(path))}
                    codes = [places[name] for name in self.parts[index].names(path)]
                    self._codes[path, index] = np.array(codes, spec.dtypes[0])
                piece = self._codes[path, index][piece]
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else np.concatenate([self._empty(spec), *pieces])

    def lengths(self, path: str, first: int, stop: int) -> npt.NDArray[np.uint64]:
        """How many values each of some rows has, by the path of their offsets."""
        spans = self._spans(array_specs()[path].table, first, stop)
        pieces = [np.diff(self.parts[i].required(path)[a : b + 1]) for i, a, b in spans]
        return np.concatenate([np.zeros(0, np.uint64), *pieces])

    def child_rows(self, table: str, first: int, stop: int) -> tuple[int, int]:
        """First row of a table that belongs to some items, and the one after the last."""
        if first >= stop:
            return 0, 0
        starts, offsets = self._starts[table], f"items/{table}_offsets"
        (i, a), (j, b) = self._place(first), self._place(stop - 1)
        return (
            int(starts[i]) + int(self.parts[i].required(offsets)[a]),
            int(starts[j]) + int(self.parts[j].required(offsets)[b + 1]),
        )

    def owner(self, table: str, row: int) -> tuple[int, int]:
        """Item of a row of a table, and which of the item's it is, from 0; raises `IndexError`."""
        index, inner = self._place(row, table)
        offsets = self.parts[index].required(f"items/{table}_offsets")
        item = int(np.searchsorted(offsets, np.uint64(inner), side="right")) - 1
        return int(self._starts["items"][index]) + item, inner - int(offsets[item])

    def gather(self, path: str, rows: npt.ArrayLike | slice | None = None) -> Array:
        """Values of some rows, or of all, of an array with one for each; see `embeddings`."""
        if rows is None:
            return self.column(path)
        at_once, spec = len(self.parts) == 1 or path in self._cache, array_specs()[path]
        if at_once and isinstance(rows, slice):
            return self.column(path)[rows]
        n_rows = self.count(spec.table)
        if isinstance(rows, slice):
            numbers = np.arange(*rows.indices(n_rows), dtype=np.int64)
        else:
            index = np.atleast_1d(np.asarray(rows))
            if index.dtype == bool:
                index = np.arange(n_rows)[index]
            if len(index) and index.dtype.kind not in "iu":
                raise IndexError(f"rows are integers or booleans, not {index.dtype}")
            numbers = index.astype(np.int64)
            numbers[numbers < 0] += n_rows
            if len(numbers) and not (numbers.min() >= 0 and numbers.max() < n_rows):
                raise IndexError(f"a row is out of range; the store has {n_rows:,} rows")
        if at_once:
            values = self.column(path)[numbers]
        else:
            starts = self._starts[spec.table]
            places = np.searchsorted(starts, numbers, side="right") - 1
            empty = self._empty(spec)
            values = np.empty((len(numbers), *empty.shape[1:]), empty.dtype)
            for place in np.unique(places).tolist():
                here = places == place
                values[here] = self._filled(place, spec)[numbers[here] - starts[place]]
        values.flags.writeable = False
        return values

    def names(self, stem: str) -> tuple[str, ...]:
        """All names of a code, such as ``"items/subset"``, by first use."""
        if stem not in self._names:
            found = [name for part in self.parts for name in part.names(stem)]
            # The codes of a single part are given as they are, and so are their names.
            self._names[stem] = tuple(found if len(self.parts) == 1 else dict.fromkeys(found))
        return self._names[stem]

    def label_counts(
        self, first: int, stop: int, *, of_images: bool = False
    ) -> tuple[IntArray, IntArray, IntArray]:
        """Count the labels of some items' annotations, or only the labels of whole images.

        Returns item rows counted from `first`, labels and counts, each of shape (n_pairs,), int64;
        pairs of item and label are ascending.
        """
        n_labels = len(self.categories.labels)
        spans = self.lengths("items/annotations_offsets", first, stop).astype(np.int64)
        owners = np.repeat(np.arange(stop - first), spans)
        rows = self.child_rows("annotations", first, stop)
        labels = self.rows("annotations/label", *rows).astype(np.int64)
        known = (labels >= 0) & (labels < n_labels)
        if of_images:
            names = np.array([*self.names("annotations/type"), ""])
            known &= names[self.rows("annotations/type", *rows)] == "label"
        width = max(n_labels, 1)
        pairs, counts = np.unique(owners[known] * width + labels[known], return_counts=True)
        return pairs // width, pairs % width, counts

    def _filled(self, index: int, spec: ArraySpec) -> Array:
        """Return an array of a part; zeros where only other parts have it."""
        part, size = self.parts[index], spec.column.size
        if spec.column.filled and part.array(spec.path) is None:
            one = np.zeros((1, size), spec.column.dtype)
            return np.broadcast_to(one, (part.n_rows(spec.table), size))
        return part.required(spec.path)

    def _empty(self, spec: ArraySpec) -> Array:
        if spec.column.kind == "vector":
            return np.zeros((0, self.dim), self.dtype)
        inner = [size for size in spec.shape[1:] if isinstance(size, int)]
        return np.zeros((0, *inner), spec.dtypes[0])

    def _spans(self, table: str, first: int, stop: int) -> Iterator[tuple[int, int, int]]:
        """Part, first row in it and the one after the last, of some rows of the whole."""
        starts = self._starts[table]
        index = max(int(np.searchsorted(starts, first, side="right")) - 1, 0)
        for start, end in pairwise(starts[index:].tolist()):
            if start >= stop:
                return
            if max(first, start) < min(stop, end):
                yield index, max(first, start) - start, min(stop, end) - start
            index += 1

    @property
    def _head_part(self) -> Part | None:
        parts = self.parts
        return parts[0] if self.head is None and self.complete and len(parts) else self.head

    # Items ---------------------------------------------------------------------------------------

    def keys(self) -> Keys:
        """Keys of all rows, in row order, each decoded when it is asked for."""
        return Keys(self.key, range(self.n_rows))

    def key(self, row: int) -> ItemKey:
        """Key of a row; raises `IndexError` out of range."""
        index, inner = self._place(row)
        return self.parts[index].key(inner)

    def row(self, key: ItemKey | str) -> int:
        """Row of a key, or of a string ``SUBSET/ID`` (see `ItemKey.parse`).

        Raises `ItemNotFoundError`, which names the nearest keys. Binary search, as rows are in key
        order: some 0.1 ms for ten million rows.
        """
        wanted = _as_key(key)
        row = None if wanted is None else self._find(wanted)
        if row is None:
            # The most similar of few keys: same id elsewhere, and those next in order. A search
            # among all keys would take a minute for ten million.
            keys, text, at = self.keys(), str(key), wanted or ItemKey("", str(key))
            rows: set[int] = set()
            for subset in (at.subset, *self.names("items/subset")):
                place = bisect_left(keys, ItemKey(subset, at.id))
                rows.update(range(max(0, place - _NEIGHBOURS), min(len(keys), place + _NEIGHBOURS)))
            ranked = []
            for other in map(keys.__getitem__, sorted(rows)):
                matcher = difflib.SequenceMatcher(None, text, str(other) if wanted else other.id)
                ranked.append((matcher.ratio(), other))
            best = sorted(ranked, reverse=True)[:_SUGGESTIONS]
            near = ", ".join(f"'{other}'" for ratio, other in best if ratio >= _LEAST_RATIO)
            raise ItemNotFoundError(
                f"No item '{key}' in '{self.path}'. "
                + (f"Nearest: {near}." if near else f"A key is SUBSET/ID. {_LISTS_KEYS}"),
                key=wanted or key,
            )
        return row

    def __contains__(self, key: object) -> bool:
        wanted = _as_key(key) if isinstance(key, ItemKey | str) else None
        return wanted is not None and self._find(wanted) is not None

    def _find(self, key: ItemKey) -> int | None:
        """Find the part by its first key, which is known of each, and the row in it.

        No index is built, kept or stale. Where the order is damaged, which `verify` finds, a key
        may be missed; never is another row returned.
        """
        index = bisect_right(self.parts, key, key=lambda part: part.first_key) if self.n_rows else 0
        if index == 0:
            return None
        start, stop = self._starts["items"][index - 1 : index + 1].tolist()
        row = bisect_left(self.keys(), key, start, stop)
        return row if row < stop and self.key(row) == key else None

    def item(self, row: int, *, without: Collection[str] = ()) -> ItemRecord:
        """Decode the record of a row with its annotations, equal to the one appended.

        Rows of the tables `without` (``"annotations"``, ``"objects"``, ``"captions"``) are not
        read. Raises `IndexError`: out of range; `StoreCorruptError`.
        """
        index, inner = self._place(row)
        part = self.parts[index]
        (fields,) = decode_rows(part, "items", inner, inner + 1)
        for name in child_tables():
            offsets = part.array(f"items/{name}_offsets")
            if offsets is not None and name not in without:
                first, stop = offsets[inner : inner + 2].tolist()
                fields[name] = tuple(decode_records(part, name, first, stop))
        key = ItemKey(fields.pop("key.subset"), fields.pop("key.id"))
        record: ItemRecord = (SCHEMA["items"].record or ItemRecord)(key=key, **fields)
        return record

    def record(self, table: str, row: int) -> Any:
        """Decode the record of a row of a table that belongs to an item, with its vector.

        Raises `IndexError`: out of range; `StoreCorruptError`.
        """
        index, inner = self._place(row, table)
        return next(decode_records(self.parts[index], table, inner, inner + 1))

    def labels_of(self, row: int) -> tuple[str, ...]:
        """Names of the labels of an item's annotations, ascending, each once.

        Raises `IndexError`: out of range; `StoreCorruptError`.
        """
        self._place(row)
        labels = self.rows("annotations/label", *self.child_rows("annotations", row, row + 1))
        names = self.categories.labels  # none in a run that has not ended
        return tuple(sorted({names[n] for n in set(labels.tolist()) if 0 <= n < len(names)}))

    def text(self, path: str, row: int) -> str:
        """Text of a row, such as ``"items/path"``, without decoding the rest of it.

        Raises `IndexError`: out of range; `StoreCorruptError`.
        """
        index, inner = self._place(row, array_specs()[path].table)
        (text,) = self.parts[index].texts(path, inner, inner + 1)
        return text

    def _place(self, row: int, table: str = "items") -> tuple[int, int]:
        """Part of a row of a table, and the row in it."""
        row, n_rows = operator.index(row), self.count(table)
        if not 0 <= row < n_rows:
            what = "rows" if table == "items" else table
            raise IndexError(f"row {row} is out of range; the store has {n_rows:,} {what}")
        if len(self.parts) == 1:
            return 0, row
        starts = self._starts[table]
        index = int(np.searchsorted(starts, row, side="right")) - 1
        return index, row - int(starts[index])


def check_dtype(dtype: str) -> None:
    """Refuse a type that vectors are not given in; raises `UsageError`."""
    known = ("float16", "float32", "float64")
    if dtype not in known:
        raise UsageError(f"dtype is {dtype!r}; choose one of {', '.join(known)}.", dtype=dtype)
