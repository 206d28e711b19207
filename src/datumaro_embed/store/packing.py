"""One record to bytes, with every check of its fields; refused records raise and change nothing."""

from __future__ import annotations

import math
import struct
from array import array
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..records import AnnotationRecord, ItemRecord
from .encoding import ANNOTATION_FIXED, ITEM_FIXED, annotation_frame, encode_json, encode_text

__all__ = [
    "NORM_TOLERANCE",
    "STORED_NORM_TOLERANCE",
    "PackedAnnotation",
    "pack_item",
    "unit_vectors",
]

NORM_TOLERANCE = 1e-3
STORED_NORM_TOLERANCE = {2: 4e-3, 4: 2e-3}
"""By item size in bytes: what a writer may accept, plus rounding."""


class PackedAnnotation:
    """One annotation as bytes."""

    def __init__(self, record: AnnotationRecord) -> None:
        self.type_name = encode_text(record.type)
        self.fixed = _pack_annotation(record)
        self.values = (
            array("d", record.coords).tobytes(),
            encode_text(record.rle),
            encode_text(record.text),
            _visibility_bytes(record),
            encode_json(record.attributes),
            encode_text(record.extra),
        )

    def frame(self) -> bytes:
        """Frame it as its row's CRC takes it."""
        return annotation_frame(self.type_name, self.fixed, self.values)


def pack_item(record: ItemRecord) -> bytes:
    """Pack the numbers and the content hash of an item, as its row's CRC takes them."""
    if len(record.content_sha256) != 32:
        raise UsageError(
            f"content_sha256 has {len(record.content_sha256)} bytes; it must have 32.",
            key=record.key,
        )
    try:
        return ITEM_FIXED.pack(
            record.split, record.status, record.width, record.height, record.content_sha256
        )
    except struct.error as error:
        raise UsageError(
            f"width or height is no 32-bit size ({record.width} x {record.height}); "
            "use 0 where it is unknown.",
            key=record.key,
        ) from error


def _pack_annotation(record: AnnotationRecord) -> bytes:
    try:
        return ANNOTATION_FIXED.pack(
            record.label, record.ann_id, record.group, record.object_id, record.z_order
        )
    except struct.error as error:
        raise UsageError(
            f"An annotation's label, id, group, object or z-order is out of range ({error}); "
            "renumber it.",
            annotation=record,
        ) from error


def _visibility_bytes(record: AnnotationRecord) -> bytes:
    try:
        return bytes(record.visibility)
    except (TypeError, ValueError) as error:
        raise UsageError(
            "An annotation's visibility holds a value outside 0 to 255; use 0, 1 and 2.",
            annotation=record,
        ) from error


def unit_vectors(
    rows: npt.NDArray[Any], dim: int, n_rows: int, *, tolerance: float = NORM_TOLERANCE
) -> npt.NDArray[np.float32]:
    """Check vectors of shape (n_rows, dim), and give them as float32."""
    if rows.shape != (n_rows, dim):
        raise UsageError(
            f"Vectors have shape {rows.shape} and the store needs {(n_rows, dim)}; "
            "use one model for one store.",
            shape=rows.shape,
        )
    vectors = rows.astype(np.float32, copy=False)
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    if not np.all(np.abs(norms - 1.0) <= tolerance):
        worst = norms[np.argmax(np.where(np.isfinite(norms), np.abs(norms - 1.0), math.inf))]
        raise UsageError(f"A vector has norm {worst:.6g}; scale vectors to norm 1 first.")
    return vectors
