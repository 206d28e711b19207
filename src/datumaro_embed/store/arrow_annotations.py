"""The annotations of a store as one Arrow column."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from .arrow_columns import names_of, ragged, texts

if TYPE_CHECKING:
    from .base import EmbeddingStore

__all__ = ["annotation_column"]

_NUMBERS = {
    "ann_id": pa.int64(),
    "group": pa.int64(),
    "object_id": pa.int64(),
    "z_order": pa.int32(),
}


def annotation_column(store: EmbeddingStore, rows: slice) -> pa.Array:
    """One list of structs for each item, cut from the flat columns without a Python loop."""
    bounds = store.ann_offsets[rows.start : rows.stop + 1].astype(np.int64)
    some = slice(int(bounds[0]), int(bounds[-1]))
    fields = {
        "type": names_of(store.ann_type_names, store.ann_types[some]),
        "label": pa.array(store.ann_labels[some], pa.int32()),
        "label_name": names_of(store.categories.labels, store.ann_labels[some]),
        **{
            name: pa.array(store.column(f"annotations/{name}")[some], kind)
            for name, kind in _NUMBERS.items()
        },
        "coords": _coords(store, some),
        **{
            name: texts(store, f"annotations/{name}", some)
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
    bounds, data = ragged(store, "annotations/visibility", rows)
    return pa.LargeListArray.from_arrays(pa.array(bounds), pa.array(data, pa.uint8()))
