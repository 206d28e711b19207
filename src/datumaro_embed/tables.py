"""A store as arrays and tables: NumPy, Arrow, pandas, and batches for a loop.

Columns of the table: subset, id, split, path, width, height, status, error, content_sha256, labels,
attributes (JSON), annotations (a list of structs) and embedding (a fixed-size list). Row i of the
table is row i of the store.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .errors import UsageError
from .records import ItemKey, Split, Status
from .store import EmbeddingStore
from .store.encoding import encode_json

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "METADATA_KEY",
    "VectorBatch",
    "iter_batches",
    "iter_tables",
    "to_arrow",
    "to_numpy",
    "to_pandas",
]

Array = npt.NDArray[Any]

METADATA_KEY = b"datumaro_embed"
"""Where an Arrow schema keeps what no column holds: categories, provenance, fingerprint."""

_DTYPES = ("float16", "float32", "float64")
_NUMBERS = {
    "ann_id": pa.int64(),
    "group": pa.int64(),
    "object_id": pa.int64(),
    "z_order": pa.int32(),
}


@dataclass(frozen=True, slots=True)
class VectorBatch:
    """Some consecutive rows of a store.

    Attributes
    ----------
    rows : array of shape (n,), int64
    keys : tuple of ItemKey
    vectors : array of shape (n, dim), float32
    """

    rows: npt.NDArray[np.int64]
    keys: tuple[ItemKey, ...]
    vectors: npt.NDArray[np.float32]


def to_numpy(
    store: EmbeddingStore, *, dtype: str = "float32", embedded_only: bool = False
) -> npt.NDArray[np.floating[Any]]:
    """Copy the vectors.

    Parameters
    ----------
    store : EmbeddingStore
    dtype : {"float32", "float16", "float64"}
    embedded_only : bool
        Leave out items without a vector; otherwise theirs is zero.

    Returns
    -------
    array of shape (n, dim)
        In row order; norm 1, or zero.
    """
    _check_dtype(dtype)
    vectors = store.embeddings(store.statuses == Status.OK) if embedded_only else store.embeddings()
    return np.array(vectors, dtype=dtype)


def iter_batches(
    store: EmbeddingStore, n_rows: int = 4096, *, embedded_only: bool = False
) -> Iterator[VectorBatch]:
    """Yield keys and vectors, `n_rows` at a time, in row order and bounded memory.

    Parameters
    ----------
    store : EmbeddingStore
    n_rows : int
        Rows in each batch but the last.
    embedded_only : bool
        Leave out items without a vector.

    Raises
    ------
    UsageError
        `n_rows` is below 1.
    """
    _check_n_rows(n_rows)
    rows = np.flatnonzero(store.statuses == Status.OK) if embedded_only else np.arange(store.n_rows)
    for start in range(0, len(rows), n_rows):
        some = rows[start : start + n_rows]
        keys = tuple(store.key(row) for row in some.tolist())
        yield VectorBatch(some, keys, np.asarray(store.embeddings(some), dtype=np.float32))


def to_arrow(
    store: EmbeddingStore,
    *,
    vectors: bool = True,
    dtype: str = "float32",
    embedded_only: bool = False,
) -> pa.Table:
    """Convert the whole store to one Arrow table.

    Parameters
    ----------
    store : EmbeddingStore
    vectors : bool
        With the column ``embedding``, a fixed-size list of length dim.
    dtype : {"float32", "float16", "float64"}
        Of the vectors.
    embedded_only : bool
        Leave out items without a vector.

    Returns
    -------
    pyarrow.Table
        Its schema's metadata holds categories and provenance, so that `import_vectors` restores the
        store exactly.
    """
    tables = iter_tables(store, vectors=vectors, dtype=dtype, embedded_only=embedded_only)
    return pa.concat_tables(list(tables))


def to_pandas(
    store: EmbeddingStore, *, vectors: bool = True, embedded_only: bool = False
) -> pd.DataFrame:
    """Convert the whole store to a data frame; each cell of ``embedding`` is a float32 array.

    Parameters are those of `to_arrow`.
    """
    return to_arrow(store, vectors=vectors, embedded_only=embedded_only).to_pandas()


def iter_tables(
    store: EmbeddingStore,
    n_rows: int = 65_536,
    *,
    vectors: bool = True,
    dtype: str = "float32",
    embedded_only: bool = False,
) -> Iterator[pa.Table]:
    """Yield the table of `to_arrow` in parts of at most `n_rows`, at least one part."""
    _check_dtype(dtype)
    _check_n_rows(n_rows)
    metadata = {METADATA_KEY: _metadata(store)}
    for start in range(0, max(store.n_rows, 1), n_rows):
        rows = slice(start, min(start + n_rows, store.n_rows))
        columns = _item_columns(store, rows)
        columns["annotations"] = _annotations(store, rows)
        if vectors:
            columns["embedding"] = _vectors(store, rows, dtype)
        table = pa.table(columns, metadata=metadata)
        yield table.filter(pa.array(store.statuses[rows] == Status.OK)) if embedded_only else table


def _metadata(store: EmbeddingStore) -> bytes:
    """JSON of what belongs to the store and to no row."""
    labels = store.label_embeddings
    encoded = "" if labels is None else b64encode(labels.astype("<f4").tobytes()).decode("ascii")
    return encode_json(
        {
            "version": 1,
            "dtype": store.dtype.name,
            "dim": store.dim,
            "run_fingerprint": store.run_fingerprint,
            "labels": list(store.categories.labels),
            "categories": store.categories.full,
            "label_embedding": encoded,
            "provenance": store.provenance,
        }
    )


def _item_columns(store: EmbeddingStore, rows: slice) -> dict[str, pa.Array]:
    return {
        "subset": _names(store.subset_names, store.subset_codes[rows]),
        "id": _texts(store, "items/id", rows),
        "split": _names([split.name.lower() for split in Split], store.splits[rows]),
        "path": _texts(store, "items/path", rows),
        "width": pa.array(store.widths[rows]),
        "height": pa.array(store.heights[rows]),
        "status": _names([status.name.lower() for status in Status], store.statuses[rows]),
        "error": _texts(store, "items/error", rows),
        "content_sha256": _hex(store.content_sha256[rows]),
        "labels": _labels(store, rows),
        "attributes": _texts(store, "items/attributes", rows),
    }


def _hex(digests: Array) -> pa.Array:
    return pa.array([digest.tobytes().hex() for digest in digests], pa.string())


def _vectors(store: EmbeddingStore, rows: slice, dtype: str) -> pa.Array:
    values = np.asarray(store.embeddings(rows), dtype=dtype).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(values), store.dim)


def _labels(store: EmbeddingStore, rows: slice) -> pa.Array:
    """For each item the distinct names of its annotations' labels, in the categories' order."""
    names = store.categories.labels
    bounds = store.ann_offsets[rows.start : rows.stop + 1].astype(np.int64)
    labels = store.ann_labels[bounds[0] : bounds[-1]].astype(np.int64)
    owners = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    known = (labels >= 0) & (labels < len(names))
    width = max(len(names), 1)
    pairs = np.unique(owners[known] * width + labels[known])
    offsets = np.searchsorted(pairs // width, np.arange(len(bounds)))
    return pa.LargeListArray.from_arrays(pa.array(offsets), _names(names, pairs % width))


def _annotations(store: EmbeddingStore, rows: slice) -> pa.Array:
    """One list of structs for each item, cut from the flat columns without a Python loop."""
    bounds = store.ann_offsets[rows.start : rows.stop + 1].astype(np.int64)
    some = slice(int(bounds[0]), int(bounds[-1]))
    fields = {
        "type": _names(store.ann_type_names, store.ann_types[some]),
        "label": pa.array(store.ann_labels[some], pa.int32()),
        "label_name": _names(store.categories.labels, store.ann_labels[some]),
        **{
            name: pa.array(store.column(f"annotations/{name}")[some], kind)
            for name, kind in _NUMBERS.items()
        },
        "coords": _coords(store, some),
        **{
            name: _texts(store, f"annotations/{name}", some)
            for name in ("rle", "text", "attributes", "extra")
        },
        "visibility": _visibility(store, some),
    }
    structs = pa.StructArray.from_arrays(list(fields.values()), list(fields))
    return pa.LargeListArray.from_arrays(pa.array(bounds - bounds[0]), structs)


def _coords(store: EmbeddingStore, rows: slice) -> pa.Array:
    bounds = store.ann_coords_offsets[rows.start : rows.stop + 1].astype(np.int64)
    values = pa.array(store.ann_coords[bounds[0] : bounds[-1]], pa.float64())
    return pa.LargeListArray.from_arrays(pa.array(bounds - bounds[0]), values)


def _visibility(store: EmbeddingStore, rows: slice) -> pa.Array:
    bounds, data = _ragged(store, "annotations/visibility", rows)
    return pa.LargeListArray.from_arrays(pa.array(bounds), pa.array(data, pa.uint8()))


def _texts(store: EmbeddingStore, stem: str, rows: slice) -> pa.Array:
    """Strings of a ragged column; what is no UTF-8 (an undecodable file name) is replaced."""
    bounds, data = _ragged(store, stem, rows)
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


def _ragged(store: EmbeddingStore, stem: str, rows: slice) -> tuple[Array, Array]:
    bounds = store.column(f"{stem}_offsets")[rows.start : rows.stop + 1].astype(np.int64)
    return bounds - bounds[0], store.column(f"{stem}_bytes")[bounds[0] : bounds[-1]]


def _names(names: Sequence[str], codes: Array) -> pa.Array:
    """Look codes up in a table of names; a code without a name (-1: no label) is null."""
    clean = [name.encode("utf-8", "replace").decode("utf-8") for name in names]
    index = codes.astype(np.int64)
    unknown = (index < 0) | (index >= len(clean))
    return pa.array(clean, pa.string()).take(pa.array(index, mask=unknown))


def _check_dtype(dtype: str) -> None:
    if dtype not in _DTYPES:
        raise UsageError(f"dtype is {dtype!r}; choose one of {', '.join(_DTYPES)}.", dtype=dtype)


def _check_n_rows(n_rows: int) -> None:
    if n_rows < 1:
        raise UsageError(f"n_rows is {n_rows}; give at least 1.", n_rows=n_rows)
