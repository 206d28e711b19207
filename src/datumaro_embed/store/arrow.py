"""A store as Arrow tables.

Columns: subset, id, split, path, width, height, status, error, content_sha256, labels, attributes
(JSON), annotations (a list of structs) and embedding (a fixed-size list). Row i of the table is row
i of the store.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..records import Split, Status
from .arrow_annotations import annotation_column
from .arrow_columns import names_of, texts
from .batches import check_dtype, check_n_rows
from .encoding import encode_json

if TYPE_CHECKING:
    from .base import EmbeddingStore

__all__ = ["METADATA_KEY", "iter_tables"]

Array = npt.NDArray[Any]

METADATA_KEY = b"datumaro_embed"
"""Where an Arrow schema keeps what no column holds: categories, provenance, fingerprint."""


def iter_tables(
    store: EmbeddingStore,
    n_rows: int = 65_536,
    *,
    vectors: bool = True,
    dtype: str = "float32",
    embedded_only: bool = False,
) -> Iterator[pa.Table]:
    """Yield what `EmbeddingStore.to_arrow` gives, at most `n_rows` at a time, at least once."""
    check_dtype(dtype)
    check_n_rows(n_rows)
    metadata = {METADATA_KEY: _metadata(store)}
    for start in range(0, max(store.n_rows, 1), n_rows):
        rows = slice(start, min(start + n_rows, store.n_rows))
        columns = _item_columns(store, rows)
        columns["annotations"] = annotation_column(store, rows)
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
        "subset": names_of(store.subset_names, store.subset_codes[rows]),
        "id": texts(store, "items/id", rows),
        "split": names_of([split.name.lower() for split in Split], store.splits[rows]),
        "path": texts(store, "items/path", rows),
        "width": pa.array(store.widths[rows]),
        "height": pa.array(store.heights[rows]),
        "status": names_of([status.name.lower() for status in Status], store.statuses[rows]),
        "error": texts(store, "items/error", rows),
        "content_sha256": _hex(store.content_sha256[rows]),
        "labels": _labels(store, rows),
        "attributes": texts(store, "items/attributes", rows),
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
    return pa.LargeListArray.from_arrays(pa.array(offsets), names_of(names, pairs % width))
