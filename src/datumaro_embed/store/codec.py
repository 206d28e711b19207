"""Records → columns → records, one row at a time; what a column holds is said in schema.py.

Columns end in a `Part`: the arrays of some rows, in memory or in a file.
"""

from __future__ import annotations

import math
import operator
import struct
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ..encoding import decode_json, decode_text, encode_json, encode_text
from ..errors import StoreCorruptError, UsageError
from ..records import Categories, ItemKey, ItemRecord, Status
from ..vectors import VectorKind
from .schema import RAGGED_KINDS, SCHEMA, Column, array_specs, child_tables

Array = npt.NDArray[Any]
Vector = npt.NDArray[np.floating[Any]]
Arrays = dict[str, Array]
"""Schema path → array."""

NORM_TOLERANCE = 1e-3
STORED_NORM_TOLERANCE = {2: 4e-3, 4: 2e-3}
"""By item size in bytes: what a writer accepts, plus rounding."""
_STRUCTS = {"|u1": "B", "<u2": "H", "<u4": "I", "<i4": "i", "<i8": "q", "<f4": "f", "<f8": "d"}


def corrupt(path: str, place: str, why: object) -> StoreCorruptError:
    """Word any damage in one way: which file, where in it, what is wrong, what to do."""
    return StoreCorruptError(
        f"The store '{path}' is damaged at '{place}': {why}. Restore a copy, or embed again with "
        "``restart``.",
        path=path,
        place=place,
    )


# Writing ---------------------------------------------------------------------------------------


class _ColumnBuilder:
    """Values of one column, as bytes end to end; of ragged ones also where each ends."""

    def __init__(self, table: str, column: Column, kind: VectorKind) -> None:
        self.column, self._path = column, f"{table}/{column.name}"
        is_vector = column.kind == "vector"
        self._dtype = np.dtype(kind.dtype if is_vector else column.dtype).newbyteorder("<")
        self._size = kind.dim if is_vector else column.size
        self._get = operator.attrgetter(column.field or column.name)
        self._data = bytearray()
        self._ends = array("Q", [0])
        self._has_ends = column.kind in (*RAGGED_KINDS, "rows")
        self._is_absent = False
        self.names: dict[str, int] = {}
        encoders: dict[str, Callable[[Any], bytes]] = {
            "text": encode_text,
            "code": self._code,
            "json": encode_json,
            "floats": lambda value: array("d", value).tobytes(),
            "ints": lambda value: array("I", value).tobytes(),
            "rows": lambda rows: bytes(len(rows)),  # a byte for each, so that they have ends
        }
        self._to_bytes = encoders.get(column.kind, bytes)
        if column.kind == "number":
            pack = self._to_bytes = struct.Struct(
                f"<{column.size or 1}{_STRUCTS[column.dtype]}"
            ).pack
            if column.size:
                self._to_bytes = lambda values: pack(*values)
            elif allowed := column.values:
                self._to_bytes = lambda value: pack(allowed(value))

    def _code(self, name: Any) -> bytes:
        """Give a name its number, by first use."""
        if not isinstance(name, str):
            raise TypeError
        limit = 2 ** (8 * self._dtype.itemsize)
        if name not in self.names and len(self.names) == limit:
            raise UsageError(
                f"{self._path} has more than {limit:,} distinct values. Merge some of them."
            )
        code = self.names.setdefault(name, len(self.names))
        return code.to_bytes(self._dtype.itemsize, "little")

    def encode(self, record: Any, vector: Vector | None) -> bytes | None:
        """Encode a record's value, None where it is absent; raises `UsageError`, keeps nothing."""
        column = self.column
        if column.kind == "vector":
            status = getattr(record, "status", Status.OK)
            if status.has_vector != (vector is not None):
                raise UsageError(
                    f"Status {status.name} {'needs a' if status.has_vector else 'takes no'} "
                    "vector. Pass None if the status has no vector, a vector otherwise."
                )
            if vector is None:
                return bytes(self._size * self._dtype.itemsize)
            is_stored = vector.dtype == self._dtype and vector.dtype == np.float16
            tolerance = STORED_NORM_TOLERANCE[2] if is_stored else NORM_TOLERANCE
            rows = _unit_vectors(vector[np.newaxis], self._size, 1, tolerance)
            data: bytes = rows[0].astype(self._dtype).tobytes()
            return data

        value = self._get(record)
        if value is None and column.optional:
            return bytes(self._size * self._dtype.itemsize) if column.filled else None
        try:
            data = self._to_bytes(value)
        except (struct.error, TypeError, ValueError, OverflowError, AttributeError) as error:
            if isinstance(error, UsageError):
                raise
            kind = self._dtype.name if column.kind == "number" else column.kind
            raise UsageError(
                f"{column.name} is {value!r:.60}, which is not {kind}. Correct the value."
            ) from error
        if column.kind == "digest" and len(data) != column.size:
            raise UsageError(f"{column.name} has {len(data)} bytes; it must have {column.size}.")
        return data

    def keep(self, value: bytes | None) -> None:
        """Add what `encode` returned."""
        if value is None:
            self._is_absent = True
            return
        self._data += value
        if self._has_ends:
            self._ends.append(len(self._data) // self._dtype.itemsize)

    def extend(self, store: Any, first: int, stop: int, labels: Array | None = None) -> None:
        """Add values of a store; `labels` has the new number of each label."""
        column, path, offsets = self.column, self._path, f"{self._path}_offsets"
        if column.optional and not store.has(offsets if column.kind == "rows" else path):
            if column.filled:
                self._data += bytes(self._size * self._dtype.itemsize * (stop - first))
            else:
                self._is_absent = True
            return
        if self._has_ends:
            ends = np.cumsum(store.lengths(offsets, first, stop), dtype=np.uint64)
            n_values = int(ends[-1]) if len(ends) else 0
            self._ends.frombytes((ends + np.uint64(self._ends[-1])).astype("=u8").tobytes())
        if column.kind == "rows":
            self._data += bytes(n_values)
            return
        values = store.rows(path, first, stop)
        if column.kind == "code":
            names = store.names(path)
            codes = np.zeros(len(names), self._dtype)
            for code in dict.fromkeys(values.tolist()):
                codes[code] = int.from_bytes(self._code(names[code]), "little")
            values = codes[values] if names else values
        elif labels is not None and column.name == "label":
            old, values = values, np.full_like(values, -1)
            known = (old >= 0) & (old < len(labels))
            values[known] = labels[old[known]]
        self._data += np.ascontiguousarray(values).tobytes()

    def arrays(self) -> Arrays:
        """Arrays of the column; none where rows lack it."""
        column, path = self.column, self._path
        is_empty = not self._data and len(self._ends) == 1
        if self._is_absent or (column.optional and is_empty):
            return {}
        if column.filled and not np.frombuffer(self._data, np.uint8).any():
            return {}
        found: Arrays = {}
        if self._has_ends:
            found[f"{path}_offsets"] = np.array(self._ends, "<u8")
        if column.kind != "rows":
            data = np.frombuffer(bytes(self._data), self._dtype)
            found[path] = data.reshape(-1, self._size) if self._size else data
        if column.kind == "code":
            found |= text_arrays(f"{path}_names", self.names)
        return found


class ColumnBuilder:
    """Gathers rows as columns; memory is that of the data itself, not of a list of records.

    Vectors have the length and type of `kind`; float16 is rounded to nearest, ties to even.
    `n_rows` is the number of items. A refused row leaves the builder as it was. The first row
    follows the last one of the builder `after`.
    """

    def __init__(self, kind: VectorKind, *, after: ColumnBuilder | None = None) -> None:
        self.kind, self.n_rows = kind, 0
        self._tables = {  # vectors last, as they go by the status, which is checked before
            table: [
                _ColumnBuilder(table, column, kind)
                for column in sorted(SCHEMA[table].columns, key=lambda c: c.kind == "vector")
            ]
            for table in ("items", *child_tables())
        }
        columns = (column for table in self._tables.values() for column in table)
        self._coded = [column for column in columns if column.column.kind == "code"]
        self._last_key: ItemKey | None = after._last_key if after else None
        self._present: set[str] = after._present if after else set()

    def append(self, record: ItemRecord, vector: Vector | None) -> None:
        """Add one row; see `StoreWriter.append`."""
        children = {name: getattr(record, name) for name in child_tables()}
        present = {name for name, entries in children.items() if entries is not None}
        self._check_next(record.key, present)
        entries: list[tuple[str, Any, Vector | None]] = [("items", record, vector)]
        for name, some in children.items():
            entries += [(name, entry, getattr(entry, "vector", None)) for entry in some or ()]
        n_names = [len(column.names) for column in self._coded]
        try:  # all that can fail
            encoded = [
                (column, column.encode(entry, its_vector))
                for table, entry, its_vector in entries
                for column in self._tables[table]
            ]
        except UsageError as error:
            for column, n_before in zip(self._coded, n_names, strict=True):
                while len(column.names) > n_before:
                    column.names.popitem()
            raise UsageError(f"Item '{record.key}': {error.message}", key=record.key) from error
        for column, value in encoded:
            column.keep(value)
        self.n_rows, self._last_key, self._present = self.n_rows + 1, record.key, present

    def _check_next(self, key: ItemKey, present: set[str]) -> None:
        """Check that a row comes after those before, and has the same tables."""
        if not (isinstance(key.subset, str) and isinstance(key.id, str)):
            raise UsageError(f"The subset and id of the key {key!r} must be strings.", key=key)
        last = self._last_key
        if last is None:
            return
        if not last < key:
            what = "appears twice" if key == last else f"comes after '{last}'"
            raise UsageError(
                f"Item '{key}' {what}. Append each item once, sorted by subset and id.",
                key=key,
                previous=last,
            )
        for name in sorted(present ^ self._present):
            raise UsageError(
                f"Item '{key}': Some items have {name} and others have not. Give all items {name}.",
                key=key,
            )

    def extend(self, store: Any, first: int, stop: int, *, labels: Array | None = None) -> None:
        """Add rows of a store as they are, column by column.

        The store has the same kind of vectors, and rows in ascending order of their keys. `labels`
        has the new number of each label; others become -1.
        """
        if first == stop:
            return
        present = {name for name in child_tables() if store.has(f"items/{name}_offsets")}
        self._check_next(store.key(first), present)
        for table in ("items", *present):
            a, z = (first, stop) if table == "items" else store.child_rows(table, first, stop)
            for column in self._tables[table]:
                column.extend(store, a, z, None if table == "items" else labels)
        self.n_rows += stop - first
        self._last_key, self._present = store.key(stop - 1), present

    def arrays(self) -> Arrays:
        """Return copies of all arrays, without tables that an item has no value for."""
        found: Arrays = {}
        for table, columns in self._tables.items():
            if table == "items" or f"items/{table}_offsets" in found:
                for column in columns:
                    found |= column.arrays()
        return found


def text_arrays(path: str, texts: Iterable[str]) -> Arrays:
    """Texts end to end, and the offsets that cut them."""
    data = [encode_text(text) for text in texts]
    offsets = np.cumsum([0, *map(len, data)], dtype="<u8")
    return {f"{path}_offsets": offsets, path: np.frombuffer(b"".join(data), np.uint8)}


def head_arrays(
    categories: Categories,
    label_vectors: Vector | None,
    provenance: Mapping[str, Any],
    dim: int,
) -> Arrays:
    """Arrays of the labels and of what belongs to no row.

    Raises `UsageError`: the label vectors have another shape, or are not unit vectors.
    """
    arrays = text_arrays("labels/name", categories.labels)
    if label_vectors is not None:
        rows = np.asarray(label_vectors)
        n_labels = len(categories.labels)
        arrays["labels/vector"] = _unit_vectors(rows, dim, n_labels, NORM_TOLERANCE)
    for name, value in (("categories", categories.full), ("provenance", provenance)):
        arrays[f"meta/{name}"] = np.frombuffer(encode_json(value), np.uint8)
    return arrays


def _unit_vectors(rows: Array, dim: int, n_rows: int, tolerance: float) -> npt.NDArray[np.float32]:
    """Check vectors of shape (n_rows, dim), and give them as float32; raises `UsageError`."""
    if rows.shape != (n_rows, dim):
        raise UsageError(
            f"Vectors have shape {rows.shape}; the store needs {(n_rows, dim)}. "
            "Use one model for one store.",
            shape=rows.shape,
        )
    vectors = rows.astype(np.float32, copy=False)
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    if not np.all(np.abs(norms - 1.0) <= tolerance):
        worst = norms[np.argmax(np.where(np.isfinite(norms), np.abs(norms - 1.0), math.inf))]
        raise UsageError(f"A vector has norm {worst:.6g}. Scale vectors to norm 1 first.")
    return vectors


# Reading ---------------------------------------------------------------------------------------


class Part(ABC):
    """Some rows of a store, in memory or mapped from a file; `path` is for errors.

    A part `is_trusted` if its bytes were compared with a SHA-256, so that its checksums need not
    be. What cannot be read, or cannot be right, is a `StoreCorruptError`.
    """

    kind: VectorKind
    file: Any = None
    """The `Hdf5Part` that it is in; None in memory."""
    is_trusted = False

    def __init__(self, path: str) -> None:
        self.path = path
        self._names: dict[str, list[str]] = {}

    @abstractmethod
    def array(self, path: str) -> Array | None:
        """Return one array of the schema; None where it is absent."""

    @abstractmethod
    def n_rows(self, table: str) -> int:
        """Return the number of rows of a table, without reading a column."""

    def has(self, path: str) -> bool:
        """Tell whether the part has an array of the schema."""
        return self.array(path) is not None

    def key(self, row: int) -> ItemKey:
        """Return the key of a row."""
        code = int(self.required("items/subset")[row])
        return ItemKey(self.names("items/subset")[code], *self.texts("items/id", row, row + 1))

    @property
    def first_key(self) -> ItemKey:
        """Key of the first row, where there is one."""
        return self.key(0)

    def problem(self) -> str:
        """Compare a file whose SHA-256 is known with it: what differs, or nothing."""
        return ""

    def close(self) -> None:  # noqa: B027 - memory has nothing to close
        """Release files; arrays that were handed out stay valid."""

    def required(self, path: str) -> Array:
        """Return one array; `StoreCorruptError` where it is absent."""
        found = self.array(path)
        if found is None:
            raise corrupt(self.path, path, "is missing")
        return found

    def names(self, path: str) -> list[str]:
        """Return the names of a code, such as ``"items/subset"``."""
        if path not in self._names:
            self._names[path] = self.texts(f"{path}_names")
        return self._names[path]

    def texts(self, path: str, first: int = 0, stop: int | None = None) -> list[str]:
        """Return the texts of some rows, or of all."""
        try:
            return [decode_text(data.data) for data in self.cut(path, first, stop)]
        except ValueError as error:
            raise corrupt(self.path, path, error) from error

    def json(self, path: str) -> dict[str, Any]:
        """Return the JSON object that a whole array holds."""
        try:
            return decode_json(self.required(path).data)
        except ValueError as error:
            raise corrupt(self.path, path, error) from error

    def cut(self, path: str, first: int = 0, stop: int | None = None) -> list[Array]:
        """Views of the values of some rows of a ragged column."""
        offsets, values = self.required(f"{path}_offsets"), self.required(path)
        ends = offsets[first : None if stop is None else stop + 1].tolist()
        return [values[a:b] for a, b in pairwise(ends)]


class ArrayPart(Part):
    """A part whose arrays are in memory; `uuid` has 32 hexadecimal digits."""

    def __init__(self, arrays: Arrays, kind: VectorKind, uuid: str, path: str = "memory") -> None:
        super().__init__(path)
        self.kind, self.uuid, self._arrays = kind, uuid, arrays

    def array(self, path: str) -> Array | None:
        return self._arrays.get(path)

    def n_rows(self, table: str) -> int:
        for path, values in self._arrays.items():
            spec = array_specs()[path]
            if spec.table == table and spec.role in ("rows", "offsets"):
                return len(values) - (spec.role == "offsets")
        return 0


def decode_rows(part: Part, table: str, first: int, stop: int) -> Iterator[dict[str, Any]]:
    """Decode rows of a table to the values of their records, by field."""
    columns: dict[str, list[Any]] = {}
    for column in SCHEMA[table].columns:
        path = f"{table}/{column.name}"
        if column.kind == "rows" or path == "items/vector" or part.array(path) is None:
            continue
        columns[column.field or column.name] = _column_values(part, column, path, first, stop)
    for row in zip(*columns.values(), strict=True):
        yield dict(zip(columns, row, strict=True))


def decode_records(part: Part, table: str, first: int, stop: int) -> Iterator[Any]:
    """Decode rows of a table that belong to an item to records, with their vectors."""
    make: Any = SCHEMA[table].record
    return (make(**values) for values in decode_rows(part, table, first, stop))


def _column_values(part: Part, column: Column, path: str, first: int, stop: int) -> list[Any]:
    if column.kind == "text":
        return part.texts(path, first, stop)
    try:
        if column.kind == "json":
            return [decode_json(data.data) for data in part.cut(path, first, stop)]
        if column.kind in RAGGED_KINDS:
            return [tuple(data.tolist()) for data in part.cut(path, first, stop)]
        values = part.required(path)[first:stop]
        found: list[Any] = values.tolist() if column.kind != "vector" else [*values]
        if column.kind == "code":
            names = part.names(path)
            found = [names[code] for code in found]
        elif column.kind == "digest":
            found = [value.tobytes() for value in values]
        elif column.values is not None:
            found = list(map(column.values, found))
        elif column.size:
            found = list(map(tuple, found))
        if column.filled or column.kind == "vector":
            known = (values != 0).any(axis=1).tolist()
            found = [value if has else None for value, has in zip(found, known, strict=True)]
        return found
    except (ValueError, IndexError) as error:
        raise corrupt(part.path, path, error) from error
