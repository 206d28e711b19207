"""A store as Arrow tables.

Columns of items: their own (texts for codes and enumerations, hexadecimal digests, JSON), the
distinct label names, ``embedding`` as a fixed-size list, and a list of structs for each table whose
rows belong to items. Tables of objects and captions have the same structs as rows, with the keys of
their items. Row i of a table is row i of the store's.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from ..encoding import encode_json
from .codec import Array
from .rows import StoredRows, check_dtype
from .schema import (
    RAGGED_KINDS,
    SCHEMA,
    array_specs,
    child_tables,
    optional_tables,
    status_has_vector,
)

METADATA_KEY = b"datumaro_embed"
"""Where an Arrow schema keeps what no column holds: categories, provenance, fingerprint."""
_VECTORS = 65_536


def iter_tables(
    store: StoredRows,
    *,
    of: str = "items",
    vectors: bool = True,
    dtype: str = "float32",
    embedded_only: bool = False,
) -> Iterator[pa.Table]:
    """Yield what `VectorTable.to_arrow` gives: rows of 65,536 vectors at a time, at least once."""
    check_dtype(dtype)
    nested = sum(map(store.count, optional_tables())) if of == "items" and vectors else 0
    n_rows = max(1, _VECTORS * store.count(of) // max(1, store.count(of) + nested))
    label_vectors = store.label_embeddings
    data = b"" if label_vectors is None else label_vectors.astype("<f4").tobytes()
    facts = {  # what belongs to the store and to no row
        "version": 2,
        "of": of,
        "dtype": store.kind.dtype,
        "dim": store.dim,
        "run_fingerprint": store.kind.fingerprint,
        "model": store.kind.model,
        "vector_settings": store.kind.settings,
        "labels": list(store.categories.labels),
        "categories": store.categories.full,
        "label_embedding": b64encode(data).decode("ascii"),
        "provenance": store.provenance,
    }
    metadata = {METADATA_KEY: encode_json(facts)}
    has_vector = status_has_vector(of)
    for first in range(0, max(store.count(of), 1), n_rows):
        stop = min(first + n_rows, store.count(of))
        columns = _items if of == "items" else _children
        found = columns(store, of, first, stop, dtype if vectors else "")
        table = pa.table(found, metadata=metadata)
        if embedded_only and f"{of}/status" in array_specs():
            table = table.filter(pa.array(has_vector[store.rows(f"{of}/status", first, stop)]))
        yield table


def _items(store: StoredRows, of: str, first: int, stop: int, dtype: str) -> dict[str, pa.Array]:
    columns = _columns(store, of, first, stop, with_filled=bool(dtype))
    # For each item what `EmbeddingStore.labels_of` gives.
    rows, labels, _ = store.label_counts(first, stop)
    names = sorted(set(store.categories.labels))
    places = {name: rank for rank, name in enumerate(names)}
    ranks = np.array([places[name] for name in store.categories.labels], np.int64)
    width = max(len(names), 1)
    pairs = np.unique(rows * width + ranks[labels])
    offsets = pa.array(np.searchsorted(pairs // width, np.arange(stop - first + 1)))
    columns["labels"] = pa.LargeListArray.from_arrays(offsets, _names_of(names, pairs % width))
    for table in child_tables():  # lists of structs, cut from the flat columns without a loop
        if store.has_table(table) and (dtype or table == "annotations"):
            fields = _fields(store, table, *store.child_rows(table, first, stop), dtype)
            structs = pa.StructArray.from_arrays([*fields.values()], [*fields])
            bounds = pa.array(_bounds(store, f"items/{table}", first, stop))
            columns[table] = pa.LargeListArray.from_arrays(bounds, structs)
    if dtype:
        columns["embedding"] = _vectors(store, of, first, stop, dtype)
    return columns


def _children(store: StoredRows, of: str, first: int, stop: int, dtype: str) -> dict[str, pa.Array]:
    """One row for each object or caption, with the key and the path of its item."""
    a, z = (store.owner(of, first)[0], store.owner(of, stop - 1)[0] + 1) if stop > first else (0, 0)
    starts = store.child_rows(of, a, z)[0] + _bounds(store, f"items/{of}", a, z)
    rows = np.arange(first, stop)
    owners = np.searchsorted(starts, rows, side="right") - 1
    columns = {
        name: _column(store, f"items/{name}", a, z).take(pa.array(owners))
        for name in ("subset", "id", "path")
    }
    columns["number"] = pa.array(rows - starts[owners])
    if of == "captions":
        inner = _bounds(store, "items/annotations", a, z)[owners]
        inner += store.rows("captions/annotation", first, stop)
        texts = _column(store, "annotations/text", *store.child_rows("annotations", a, z))
        columns["text"] = texts.take(pa.array(inner))
    return columns | _fields(store, of, first, stop, dtype)


def _fields(
    store: StoredRows, table: str, first: int, stop: int, dtype: str
) -> dict[str, pa.Array]:
    """Every column of rows that belong to items, the name of the label, and the vector."""
    fields = _columns(store, table, first, stop)
    if "label" in fields:
        labels = store.rows(f"{table}/label", first, stop)
        fields["label_name"] = _names_of(store.categories.labels, labels)
    if dtype and f"{table}/vector" in array_specs():
        fields["embedding"] = _vectors(store, table, first, stop, dtype)
    return fields


def _columns(
    store: StoredRows, table: str, first: int, stop: int, *, with_filled: bool = True
) -> dict[str, pa.Array]:
    """Every column of a table but vectors and rows of other tables."""
    return {
        column.name: _column(store, f"{table}/{column.name}", first, stop)
        for column in SCHEMA[table].columns
        if column.kind not in ("vector", "rows")
        and not (column.optional and not store.has(f"{table}/{column.name}"))
        and (with_filled or not column.filled)
    }


def _column(store: StoredRows, path: str, first: int, stop: int) -> pa.Array:
    column, values = array_specs()[path].column, store.rows(path, first, stop)
    if column.kind in RAGGED_KINDS:
        bounds = _bounds(store, path, first, stop)
        if column.kind in ("text", "json"):
            # Strings end to end; what is no UTF-8 (an undecodable file name) is replaced.
            buffers = (pa.py_buffer(np.ascontiguousarray(part)) for part in (bounds, values))
            texts = pa.LargeStringArray.from_buffers(len(bounds) - 1, *buffers)
            try:
                texts.validate(full=True)
            except pa.ArrowInvalid:
                raw = values.tobytes()
                cut = zip(bounds.tolist(), bounds[1:].tolist(), strict=False)
                decoded = [raw[a:z].decode("utf-8", "replace") for a, z in cut]
                texts = pa.array(decoded, pa.large_string())
            return texts
        return pa.LargeListArray.from_arrays(pa.array(bounds), pa.array(values))
    if column.kind == "code":
        return _names_of(store.names(path), values)
    if column.kind == "digest" and column.filled:
        data = pa.py_buffer(np.ascontiguousarray(values))
        return pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(column.size), stop - first, [None, data]
        )
    if column.kind == "digest":
        return pa.array([value.tobytes().hex() for value in values], pa.string())
    if column.size:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), column.size)
    if column.values is not None:
        return _names_of([value.name.lower() for value in column.values], values)
    return pa.array(values)


def _bounds(store: StoredRows, path: str, first: int, stop: int) -> Array:
    """Where the values of some rows begin and end, counted from the first."""
    lengths = store.lengths(f"{path}_offsets", first, stop)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def _vectors(store: StoredRows, table: str, first: int, stop: int, dtype: str) -> pa.Array:
    values = store.rows(f"{table}/vector", first, stop).astype(dtype).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(values), store.dim)


def _names_of(names: Sequence[str], codes: Array) -> pa.Array:
    """Look codes up in a table of names; a code without a name (-1: no label) is null."""
    clean = [name.encode("utf-8", "replace").decode("utf-8") for name in names]
    index = codes.astype(np.int64)
    unknown = (index < 0) | (index >= len(clean))
    return pa.array(clean, pa.string()).take(pa.array(index, mask=unknown))
