"""Columns of a store as Arrow arrays: texts, names of codes, ragged values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

if TYPE_CHECKING:
    from .base import EmbeddingStore

__all__ = ["names_of", "ragged", "texts"]

Array = npt.NDArray[Any]


def texts(store: EmbeddingStore, stem: str, rows: slice) -> pa.Array:
    """Strings of a ragged column; what is no UTF-8 (an undecodable file name) is replaced."""
    bounds, data = ragged(store, stem, rows)
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


def ragged(store: EmbeddingStore, stem: str, rows: slice) -> tuple[Array, Array]:
    """Give the bounds, from 0, and the values of some rows of a ragged column."""
    bounds = store.column(f"{stem}_offsets")[rows.start : rows.stop + 1].astype(np.int64)
    return bounds - bounds[0], store.column(f"{stem}_bytes")[bounds[0] : bounds[-1]]


def names_of(names: Sequence[str], codes: Array) -> pa.Array:
    """Look codes up in a table of names; a code without a name (-1: no label) is null."""
    clean = [name.encode("utf-8", "replace").decode("utf-8") for name in names]
    index = codes.astype(np.int64)
    unknown = (index < 0) | (index >= len(clean))
    return pa.array(clean, pa.string()).take(pa.array(index, mask=unknown))
