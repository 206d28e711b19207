"""Records → columns → records, one row at a time; what a column holds is said in schema.py.

Texts, JSON and numbers are written as docs/store-format.md says; a change here is a change of the
format.
"""

from __future__ import annotations

import json
import math
import operator
import struct
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import IntEnum
from itertools import pairwise
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from ..errors import StoreCorruptError, UsageError
from ..records import Categories, ItemKey, ItemRecord, Status
from ..vectors import VectorKind
from .schema import MAX_JSON_BYTES, SCHEMA, Column, Table, child_tables

__all__ = [
    "STORED_NORM_TOLERANCE",
    "Array",
    "Arrays",
    "ColumnBuilder",
    "corrupt",
    "decode_json",
    "decode_rows",
    "decode_text",
    "encode_json",
    "encode_text",
    "head_arrays",
    "names_in",
    "ragged_values",
    "unit_vectors",
]

Array = npt.NDArray[Any]
Arrays = dict[str, Array]
"""Schema path → array."""
Buffer = bytes | bytearray | memoryview

NORM_TOLERANCE = 1e-3
STORED_NORM_TOLERANCE = {2: 4e-3, 4: 2e-3}
"""By item size in bytes: what a writer accepts, plus rounding."""
_FLOAT_KEY = "$float"
_STRUCTS = {"|u1": "B", "<u2": "H", "<u4": "I", "<i4": "i", "<i8": "q", "<f4": "f", "<f8": "d"}


def corrupt(path: str, place: str, why: object) -> StoreCorruptError:
    """Word any damage in one way: which file, where in it, what is wrong, what to do."""
    return StoreCorruptError(
        f"The store '{path}' is damaged at '{place}': {why}. Restore a copy, or embed again with "
        "--restart.",
        path=path,
        place=place,
    )


# Values ----------------------------------------------------------------------------------------


def encode_text(text: str) -> bytes:
    """UTF-8; a lone surrogate (an undecodable file name) is kept, as three bytes."""
    return text.encode("utf-8", "surrogatepass")


def decode_text(data: Buffer) -> str:
    """Inverse of `encode_text`; raises `ValueError` where the bytes are not such text."""
    return bytes(data).decode("utf-8", "surrogatepass")


def encode_json(value: Mapping[str, Any]) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8, and a lossless rule for NaN and infinities.

    ``nan``, ``inf`` and ``-inf`` become ``{"$float": "nan"}`` and so on; a key that itself begins
    with ``$`` gets one more. Tuples become arrays and NumPy scalars the Python number they hold.

    Raises
    ------
    UsageError
        A value is not a JSON value, a key is not a string, or the text is over 64 MiB.
    """
    if not value:
        return b"{}"
    try:
        text = json.dumps(
            _to_plain(value),
            sort_keys=True,
            ensure_ascii=False,
            separators=(",", ":"),
            allow_nan=False,
        )
    except UsageError:
        raise
    except (RecursionError, ValueError) as error:
        raise UsageError(
            f"A value cannot be written as JSON ({error}). Flatten or drop it."
        ) from error
    # The only surrogates stand inside strings, where backslashreplace writes JSON's own \udXXX.
    data = text.encode("utf-8", "backslashreplace")
    if len(data) > MAX_JSON_BYTES:
        raise UsageError(
            f"A JSON value has {len(data):,} bytes; the limit is {MAX_JSON_BYTES:,}. "
            "Move the data out of the attributes."
        )
    return data


def _to_plain(value: Any) -> Any:
    """Turn a value into what `json` writes without loss."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {_FLOAT_KEY: repr(value)}
    if isinstance(value, Mapping):
        return {_escape(key): _to_plain(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [_to_plain(entry) for entry in value]
    raise UsageError(
        f"A value of type {type(value).__name__} is not a JSON value. Convert it first."
    )


def _escape(key: Any) -> str:
    if not isinstance(key, str):
        raise UsageError(
            f"A JSON key must be a string, not {type(key).__name__}. Convert it first."
        )
    return "$" + key if key.startswith("$") else key


def decode_json(data: Buffer) -> dict[str, Any]:
    """Inverse of `encode_json`.

    Raises
    ------
    ValueError
        The bytes are not a JSON object, or one nested too deeply or over 64 MiB.
    """
    raw = bytes(data)
    if raw == b"{}":
        return {}
    if len(raw) > MAX_JSON_BYTES:
        raise ValueError(f"JSON of {len(raw):,} bytes is over the limit of {MAX_JSON_BYTES:,}")
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
        value = _from_plain(value) if b'"$' in raw else value
    except (RecursionError, TypeError) as error:
        raise ValueError("JSON is nested too deeply or misuses $float") from error
    if not isinstance(value, dict):
        raise ValueError("JSON value is not an object")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"JSON holds the bare word {name}")


def _from_plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_plain(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_FLOAT_KEY}:
        return float(value[_FLOAT_KEY])
    return {key.removeprefix("$"): _from_plain(entry) for key, entry in value.items()}


def _encoder(column: Column) -> Callable[[Any], bytes]:
    """Return the function from a record's value to the bytes of a row."""
    if column.kind == "number":
        pack = struct.Struct(f"<{column.size or 1}{_STRUCTS[column.dtype]}").pack
        allowed = column.values
        if column.size:
            return lambda values: pack(*values)
        return pack if allowed is None else lambda value: pack(allowed(value))
    encoders: dict[str, Callable[[Any], bytes]] = {
        "text": encode_text,
        "json": encode_json,
        "floats": lambda value: array("d", value).tobytes(),
        "ints": lambda value: array("I", value).tobytes(),
        "bytes": bytes,
        "digest": bytes,
    }
    return encoders[column.kind]


def _decoder(column: Column) -> Callable[[Array], Any]:
    """Return the function from the bytes of a ragged row to the record's value."""
    decoders: dict[str, Callable[[Array], Any]] = {
        "text": lambda data: decode_text(data.data),
        "json": lambda data: decode_json(data.data),
        "floats": lambda data: tuple(data.tolist()),
        "ints": lambda data: tuple(data.tolist()),
        "bytes": lambda data: tuple(data.tolist()),
    }
    return decoders[column.kind]


# Writing ---------------------------------------------------------------------------------------


class _Ragged:
    """Values of differing length, end to end, and where each ends."""

    def __init__(self, itemsize: int = 1) -> None:
        self._itemsize = itemsize
        self.ends = array("Q", [0])
        self.data = bytearray()

    def append(self, value: Buffer) -> None:
        self.data += value
        self.ends.append(len(self.data) // self._itemsize)

    def extend(self, lengths: Array, values: Array) -> None:
        ends = np.cumsum(lengths, dtype=np.uint64) + np.uint64(self.ends[-1])
        self.ends.frombytes(ends.astype("=u8").tobytes())
        self.data += np.ascontiguousarray(values).tobytes()

    def arrays(self, values: str, dtype: str = "|u1") -> Arrays:
        return {
            f"{values}_offsets": np.frombuffer(self.ends, np.uint64).astype("<u8", copy=False),
            values: np.frombuffer(self.data, dtype),
        }


class _TableBuilder:
    """Columns of one table, as bytes."""

    def __init__(self, table: Table, names: Mapping[str, dict[str, int]] | None = None) -> None:
        self.table = table
        self.n_rows = 0
        self.names = names or {c.name: {} for c in table.columns if c.kind == "code"}
        self._absent: set[str] = set()
        self._plain = [c for c in table.columns if c.kind not in ("code", "rows", "vector")]
        self._encoders = [_encoder(column) for column in self._plain]
        self._getters = [_field(column) for column in self._plain]
        self.has_vectors = any(column.kind == "vector" for column in table.columns)
        self._coded = [column for column in table.columns if column.kind == "code"]
        self._ragged = {c.name: _Ragged(np.dtype(c.dtype).itemsize) for c in table.columns}
        self._fixed = {c.name: bytearray() for c in table.columns if not c.is_ragged}

    def encode(self, record: Any) -> list[bytes | None]:
        """Encode everything that can fail; nothing is kept yet.

        Raises
        ------
        UsageError
        """
        row: list[bytes | None] = []
        for column, get, encode in zip(self._plain, self._getters, self._encoders, strict=True):
            value = get(record)
            if value is None and column.optional:
                row.append(_zeros(column) if column.filled else None)
                continue
            try:
                row.append(encode(value))
            except (struct.error, TypeError, ValueError, OverflowError, AttributeError) as error:
                if isinstance(error, UsageError):
                    raise
                raise UsageError(_out_of_range(column, value)) from error
            if column.kind == "digest" and len(row[-1] or b"") != column.size:
                raise UsageError(
                    f"{column.name} has {len(value)} bytes; it must have {column.size}."
                )
        for column in self._coded:
            value = _field(column)(record)
            if not isinstance(value, str) and not (value is None and column.optional):
                raise UsageError(_out_of_range(column, value))
        return row

    def coded(self, record: Any) -> dict[str, int]:
        """Give each code of a record its number; raises `UsageError` where a table overflows."""
        values = {column: _field(column)(record) for column in self._coded}
        return {
            column.name: self.codes(column, [value])[0]
            for column, value in values.items()
            if value is not None
        }

    def append(
        self,
        encoded: Sequence[bytes | None],
        codes: Mapping[str, int],
        *,
        vector: bytes = b"",
        n_children: Mapping[str, int | None] | None = None,
    ) -> None:
        """Keep a row that `encode` and `codes` have passed."""
        for column, value in zip(self._plain, encoded, strict=True):
            if value is None:
                self._absent.add(column.name)
            elif column.is_ragged:
                self._ragged[column.name].append(value)
            else:
                self._fixed[column.name] += value
        for column in self.table.columns:
            if column.kind == "code" and column.name not in codes:
                self._absent.add(column.name)
            elif column.kind == "code":
                code = codes[column.name]
                self._fixed[column.name] += code.to_bytes(np.dtype(column.dtype).itemsize, "little")
            elif column.kind == "rows":
                n_rows = n_children[column.name] if n_children else None
                if n_rows is None:
                    self._absent.add(column.name)
                ends = self._ragged[column.name].ends
                ends.append(ends[-1] + (n_rows or 0))
            elif column.kind == "vector":
                self._fixed[column.name] += vector
        self.n_rows += 1

    def extend(self, store: Any, first: int, stop: int, convert: Mapping[str, Any]) -> None:
        """Keep rows of a store, column by column."""
        table = self.table.name
        for column in self.table.columns:
            stem = f"{table}/{column.name}"
            if column.optional and not store.has(_presence(stem, column)):
                if column.filled:
                    self._fixed[column.name] += _zeros(column) * (stop - first)
                else:
                    self._absent.add(column.name)
            elif column.kind == "rows":
                lengths = store.lengths(f"{stem}_offsets", first, stop)
                self._ragged[column.name].extend(lengths, np.zeros(0, np.uint8))
            elif column.is_ragged:
                lengths = store.lengths(f"{stem}_offsets", first, stop)
                self._ragged[column.name].extend(lengths, store.rows(stem, first, stop))
            else:
                values = store.rows(stem, first, stop)
                if column.kind == "code":
                    values = self._recoded(column, values, store.names(stem))
                elif stem in convert:
                    values = convert[stem](values)
                self._fixed[column.name] += np.ascontiguousarray(values).tobytes()
        self.n_rows += stop - first

    def _recoded(self, column: Column, codes: Array, names: Sequence[str]) -> Array:
        used = [names[code] for code in dict.fromkeys(codes.tolist())]
        places = self.codes(column, used)
        table = np.zeros(len(names), dtype=column.dtype)
        for name, code in zip(used, places, strict=True):
            table[names.index(name)] = code
        return table[codes] if len(names) else codes

    def codes(self, column: Column, names: Sequence[str]) -> list[int]:
        """Give each name its number, by first use; nothing is kept if the table would overflow."""
        table = self.names[column.name]
        limit = 2 ** (8 * np.dtype(column.dtype).itemsize)
        new = [name for name in dict.fromkeys(names) if name not in table]
        if len(table) + len(new) > limit:
            raise UsageError(
                f"{self.table.name}/{column.name} has more than {limit:,} distinct values. Merge "
                "some of them."
            )
        table.update({name: len(table) + i for i, name in enumerate(new)})
        return [table[name] for name in names]

    def lacks(self, column: Column) -> bool:
        """Tell whether rows have no value of a column, so that the column is not written."""
        if column.filled:
            return not np.frombuffer(self._fixed[column.name], np.uint8).any()
        return column.name in self._absent or (column.optional and not self.n_rows)

    def arrays(self, vector_shape: tuple[int, np.dtype[Any]]) -> Arrays:
        arrays: Arrays = {}
        for column in self.table.columns:
            stem = f"{self.table.name}/{column.name}"
            if self.lacks(column):
                continue
            if column.kind == "rows":
                offsets = np.frombuffer(self._ragged[column.name].ends, np.uint64)
                arrays[f"{stem}_offsets"] = offsets.astype("<u8", copy=False)
            elif column.is_ragged:
                arrays |= self._ragged[column.name].arrays(stem, column.dtype)
            elif column.kind == "vector":
                dim, dtype = vector_shape
                data = np.frombuffer(self._fixed[column.name], dtype)
                arrays[stem] = data.reshape(self.n_rows, dim)
            else:
                data = np.frombuffer(self._fixed[column.name], column.dtype)
                arrays[stem] = data.reshape(-1, column.size) if column.size else data
            if column.kind == "code":
                ragged = _Ragged()
                for name in self.names[column.name]:
                    ragged.append(encode_text(name))
                arrays |= ragged.arrays(f"{stem}_names")
        return arrays


def _presence(stem: str, column: Column) -> str:
    """Return the array by which a store has a column."""
    return f"{stem}_offsets" if column.kind == "rows" else stem


def _field(column: Column) -> Callable[[Any], Any]:
    return operator.attrgetter(column.field or column.name)


def _zeros(column: Column) -> bytes:
    return bytes(column.size * np.dtype(column.dtype).itemsize)


def _out_of_range(column: Column, value: object) -> str:
    kind = np.dtype(column.dtype).name if column.kind == "number" else column.kind
    return f"{column.name} is {value!r:.60}, which is not {kind}. Correct the value."


class ColumnBuilder:
    """Gathers rows as columns; memory is that of the data itself, not of a list of records.

    Parameters
    ----------
    kind : VectorKind
        Length and type of the vectors; float16 is rounded to nearest, ties to even.

    Attributes
    ----------
    n_rows : int
        Items.

    Notes
    -----
    A refused row leaves the builder as it was.
    """

    def __init__(self, kind: VectorKind) -> None:
        self.kind = kind
        self._dtype = np.dtype(kind.dtype).newbyteorder("<")
        self._items = _TableBuilder(SCHEMA["items"])
        self._children = {name: _TableBuilder(SCHEMA[name]) for name in child_tables()}
        self._last_key: ItemKey | None = None
        self._tables: frozenset[str] | None = None

    @property
    def n_rows(self) -> int:
        """Items so far."""
        return self._items.n_rows

    def successor(self) -> ColumnBuilder:
        """Return an empty builder for the rows that follow these."""
        follower = ColumnBuilder(self.kind)
        follower._last_key, follower._tables = self._last_key, self._tables
        return follower

    def append(self, record: ItemRecord, vector: npt.NDArray[np.floating[Any]] | None) -> None:
        """Add one row; see `StoreWriter.append`."""
        self._check_order(record.key)
        try:
            self._append(record, vector)
        except UsageError as error:
            raise UsageError(f"Item '{record.key}': {error.message}", key=record.key) from error
        self._last_key = record.key

    def _check_order(self, key: ItemKey) -> None:
        if not (isinstance(key.subset, str) and isinstance(key.id, str)):
            raise UsageError(f"The subset and id of the key {key!r} must be strings.", key=key)
        last = self._last_key
        if last is None or last < key:
            return
        what = "appears twice" if key == last else f"comes after '{last}'"
        raise UsageError(
            f"Item '{key}' {what}. Append each item once, sorted by subset and id.",
            key=key,
            previous=last,
        )

    def _append(self, record: ItemRecord, vector: npt.NDArray[np.floating[Any]] | None) -> None:
        # Everything that can fail comes before anything is kept.
        vector_bytes = self._vector_bytes(record.status, record.status == Status.OK, vector)
        item = self._items.encode(record)
        entries = {name: getattr(record, name) for name in self._children}
        n_rows = {
            name: None if found is None and SCHEMA[name].optional else len(found)
            for name, found in entries.items()
        }
        tables = self._checked_tables(name for name, n in n_rows.items() if n is not None)
        rows = [
            (table, table.encode(entry), table.coded(entry), self._child_vector(table, entry))
            for name, table in self._children.items()
            for entry in entries[name] or ()
        ]
        subset = self._items.coded(record)

        self._tables = tables
        self._items.append(item, subset, vector=vector_bytes, n_children=n_rows)
        for table, encoded, codes, vector_bytes in rows:
            table.append(encoded, codes, vector=vector_bytes)

    def _checked_tables(self, names: Iterable[str]) -> frozenset[str]:
        """Check that rows have the same tables as those before."""
        tables = frozenset(names)
        for name in sorted(tables ^ (tables if self._tables is None else self._tables)):
            raise UsageError(f"Some items have {name} and others have not. Give all items {name}.")
        return tables

    def _child_vector(self, table: _TableBuilder, entry: Any) -> bytes:
        if not table.has_vectors:
            return b""
        status = getattr(entry, "status", Status.OK)
        return self._vector_bytes(status, entry.has_vector, entry.vector)

    def _vector_bytes(
        self, status: IntEnum, has_vector: bool, vector: npt.NDArray[np.floating[Any]] | None
    ) -> bytes:
        if has_vector != (vector is not None):
            raise UsageError(
                f"Status {status.name} {'needs a' if has_vector else 'takes no'} vector. "
                "Pass None if the status has no vector, a vector otherwise."
            )
        if vector is None:
            return bytes(self.kind.dim * self._dtype.itemsize)
        stored = vector.dtype == self._dtype and vector.dtype == np.float16
        tolerance = STORED_NORM_TOLERANCE[2] if stored else NORM_TOLERANCE
        rows = unit_vectors(vector[np.newaxis], self.kind.dim, 1, tolerance=tolerance)
        data: bytes = rows[0].astype(self._dtype).tobytes()
        return data

    def extend(
        self,
        store: Any,
        first: int,
        stop: int,
        *,
        labels: Array | None = None,
    ) -> None:
        """Add rows of a store as they are, column by column.

        Parameters
        ----------
        store : EmbeddingStore
            Of the same kind of vectors; its rows are in ascending order of their keys.
        first, stop : int
        labels : array of integers, optional
            New number of each label; others become -1.
        """
        if first == stop:
            return
        self._check_order(store.key(first))

        def renumbered(old: Array) -> Array:
            new = np.full_like(old, -1)
            known = (old >= 0) & (old < len(cast(Array, labels)))
            new[known] = cast(Array, labels)[old[known]]
            return new

        convert = {} if labels is None else {f"{name}/label": renumbered for name in self._children}
        there = [name for name in self._children if store.has(f"items/{name}_offsets")]
        self._tables = self._checked_tables(there)
        self._items.extend(store, first, stop, {})
        for name in there:
            start, end = store.child_rows(name, first, stop)
            self._children[name].extend(store, start, end, convert)
        self._last_key = store.key(stop - 1)

    def finish(self) -> Arrays:
        """Every array of items and their tables; they share the builder's memory: append no more.

        A table is left out where an item has no value for it.
        """
        shape = (self.kind.dim, self._dtype)
        arrays = self._items.arrays(shape)
        for name, table in self._children.items():
            if f"items/{name}_offsets" in arrays:
                arrays |= table.arrays(shape)
        return arrays


def head_arrays(
    categories: Categories,
    label_vectors: npt.NDArray[np.floating[Any]] | None,
    provenance: Mapping[str, Any],
    dim: int,
) -> Arrays:
    """Arrays of the labels and of what belongs to no row.

    Raises
    ------
    UsageError
        The label vectors have another shape, or are not unit vectors.
    """
    names = _Ragged()
    for name in categories.labels:
        names.append(encode_text(name))
    arrays = names.arrays("labels/name")
    if label_vectors is not None:
        rows = np.asarray(label_vectors)
        arrays["labels/vector"] = unit_vectors(rows, dim, len(categories.labels))
    for name, value in (("categories", categories.full), ("provenance", provenance)):
        arrays[f"meta/{name}"] = np.frombuffer(encode_json(value), np.uint8)
    return arrays


def unit_vectors(
    rows: Array, dim: int, n_rows: int, *, tolerance: float = NORM_TOLERANCE
) -> npt.NDArray[np.float32]:
    """Check vectors of shape (n_rows, dim), and give them as float32.

    Raises
    ------
    UsageError
    """
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


def ragged_values(array: Callable[[str], Array], stem: str, first: int, stop: int) -> list[Array]:
    """Views of the values of some rows of a ragged column."""
    bounds = array(f"{stem}_offsets")[first : stop + 1].tolist()
    data = array(stem)
    return [data[a:b] for a, b in pairwise(bounds)]


def names_in(array: Callable[[str], Array], stem: str) -> tuple[str, ...]:
    """Texts of a whole ragged column, such as the names of a code."""
    count = len(array(f"{stem}_offsets")) - 1
    return tuple(decode_text(data.data) for data in ragged_values(array, stem, 0, count))


def decode_rows(
    array: Callable[[str], Array | None],
    names: Callable[[str], Sequence[str]],
    table: str,
    first: int,
    stop: int,
) -> Iterator[dict[str, Any]]:
    """Decode rows of a table to the values of their records, by field.

    Parameters
    ----------
    array : callable
        Schema path → array; None for an optional one that is absent.
    names : callable
        Schema path of a code → its names.

    Raises
    ------
    ValueError
        A value cannot be right.
    """
    columns: dict[str, list[Any]] = {}
    for column in SCHEMA[table].columns:
        stem, field = f"{table}/{column.name}", column.field or column.name
        if column.kind in ("rows", "vector"):
            continue
        values = array(stem)
        if values is None:
            continue
        if column.is_ragged:
            decode = _decoder(column)
            with _named(stem):
                raw = ragged_values(cast(Callable[[str], Array], array), stem, first, stop)
                columns[field] = [decode(data) for data in raw]
            continue
        values = values[first:stop]
        if column.kind == "code":
            table_of_names = names(stem)
            columns[field] = [table_of_names[code] for code in values.tolist()]
        else:
            columns[field] = _fixed_values(column, values)
    for values_of_row in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values_of_row, strict=True))


def _fixed_values(column: Column, values: Array) -> list[Any]:
    """Decode values of fixed size."""
    if column.filled:
        known: list[bool] = (values != 0).any(axis=1).tolist()
        found = _fixed_values(replace(column, filled=False), values)
        return [value if is_known else None for value, is_known in zip(found, known, strict=True)]
    if column.kind == "digest":
        return [value.tobytes() for value in values]
    if column.values is not None:
        return [column.values(value) for value in values.tolist()]
    return list(map(tuple, values.tolist())) if column.size else values.tolist()


@contextmanager
def _named(place: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
