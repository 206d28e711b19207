"""A store as Arrow tables.

Columns: those of the items (texts for codes and enumerations, hexadecimal digests, JSON), the
distinct label names, the annotations as a list of structs, and ``embedding`` as a fixed-size list.
Row i of the table is row i of the store.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from ..records import Status
from .codec import Array, encode_json
from .lookup import check_dtype, check_n_rows
from .part import StoredRows
from .schema import SCHEMA, Column

__all__ = ["METADATA_KEY", "iter_tables"]

METADATA_KEY = b"datumaro_embed"
"""Where an Arrow schema keeps what no column holds: categories, provenance, fingerprint."""


def iter_tables(
    store: StoredRows,
    n_rows: int = 65_536,
    *,
    vectors: bool = True,
    dtype: str = "float32",
    embedded_only: bool = False,
) -> Iterator[pa.Table]:
    """Yield what `StoredRows.to_arrow` gives, at most `n_rows` at a time, at least once."""
    check_dtype(dtype)
    check_n_rows(n_rows)
    metadata = {METADATA_KEY: _metadata(store)}
    for first in range(0, max(store.n_rows, 1), n_rows):
        stop = min(first + n_rows, store.n_rows)
        columns = _columns(store, "items", first, stop)
        columns["labels"] = _labels(store, first, stop)
        columns["annotations"] = _annotations(store, first, stop)
        if vectors:
            columns["embedding"] = _vectors(store, first, stop, dtype)
        table = pa.table(columns, metadata=metadata)
        ok = pa.array(store.rows("items/status", first, stop) == Status.OK)
        yield table.filter(ok) if embedded_only else table


def _metadata(store: StoredRows) -> bytes:
    """JSON of what belongs to the store and to no row."""
    labels = store.label_embeddings
    encoded = "" if labels is None else b64encode(labels.astype("<f4").tobytes()).decode("ascii")
    return encode_json(
        {
            "version": 2,
            "dtype": store.kind.dtype,
            "dim": store.dim,
            "run_fingerprint": store.kind.fingerprint,
            "model": store.kind.model,
            "vector_settings": store.kind.settings,
            "labels": list(store.categories.labels),
            "categories": store.categories.full,
            "label_embedding": encoded,
            "provenance": store.provenance,
        }
    )


def _columns(store: StoredRows, table: str, first: int, stop: int) -> dict[str, pa.Array]:
    """Every column of a table but vectors and rows of other tables."""
    return {
        column.name: _column(store, f"{table}/{column.name}", column, first, stop)
        for column in SCHEMA[table].columns
        if column.kind not in ("vector", "rows")
        and not (column.optional and not store.has(f"{table}/{column.name}"))
    }


def _column(store: StoredRows, path: str, column: Column, first: int, stop: int) -> pa.Array:
    values = store.rows(path, first, stop)
    if column.is_ragged:
        lengths = store.lengths(f"{path}_offsets", first, stop)
        bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
        if column.kind in ("text", "json"):
            return _texts(bounds, values)
        return pa.LargeListArray.from_arrays(pa.array(bounds), pa.array(values))
    if column.kind == "code":
        return _names_of(store.names(path), values)
    if column.kind == "digest":
        return pa.array([value.tobytes().hex() for value in values], pa.string())
    if column.values is not None:
        return _names_of([value.name.lower() for value in column.values], values)
    return pa.array(values)


def _annotations(store: StoredRows, first: int, stop: int) -> pa.Array:
    """One list of structs for each item, cut from the flat columns without a Python loop."""
    rows = store.child_rows("annotations", first, stop)
    fields = _columns(store, "annotations", *rows)
    names = _names_of(store.categories.labels, store.rows("annotations/label", *rows))
    structs = pa.StructArray.from_arrays([*fields.values(), names], [*fields, "label_name"])
    return pa.LargeListArray.from_arrays(pa.array(_bounds(store, first, stop)), structs)


def _bounds(store: StoredRows, first: int, stop: int) -> Array:
    lengths = store.lengths("items/annotations_offsets", first, stop)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def _vectors(store: StoredRows, first: int, stop: int, dtype: str) -> pa.Array:
    values = store.rows("items/vector", first, stop).astype(dtype).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(values), store.dim)


def _labels(store: StoredRows, first: int, stop: int) -> pa.Array:
    """For each item the distinct names of its annotations' labels, in the categories' order."""
    names = store.categories.labels
    rows = store.child_rows("annotations", first, stop)
    labels = store.rows("annotations/label", *rows).astype(np.int64)
    bounds = _bounds(store, first, stop)
    owners = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    known = (labels >= 0) & (labels < len(names))
    width = max(len(names), 1)
    pairs = np.unique(owners[known] * width + labels[known])
    offsets = np.searchsorted(pairs // width, np.arange(len(bounds)))
    return pa.LargeListArray.from_arrays(pa.array(offsets), _names_of(names, pairs % width))


def _texts(bounds: Array, data: Array) -> pa.Array:
    """Strings end to end; what is no UTF-8 (an undecodable file name) is replaced."""
    buffers = (pa.py_buffer(np.ascontiguousarray(part)) for part in (bounds, data))
    texts = pa.LargeStringArray.from_buffers(len(bounds) - 1, *buffers)
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        raw = data.tobytes()
        cut = zip(bounds.tolist(), bounds[1:].tolist(), strict=False)
        decoded = [raw[first:end].decode("utf-8", "replace") for first, end in cut]
        return pa.array(decoded, pa.large_string())
    return texts


def _names_of(names: Sequence[str], codes: Array) -> pa.Array:
    """Look codes up in a table of names; a code without a name (-1: no label) is null."""
    clean = [name.encode("utf-8", "replace").decode("utf-8") for name in names]
    index = codes.astype(np.int64)
    unknown = (index < 0) | (index >= len(clean))
    return pa.array(clean, pa.string()).take(pa.array(index, mask=unknown))
