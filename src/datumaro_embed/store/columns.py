"""Records in, columns out: what a writer gathers row by row, and hands over as arrays."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..records import Categories, ItemKey, ItemRecord, Status
from .encoding import ITEM_FIXED, encode_json, encode_text, key_hash, row_crc32
from .packing import (
    NORM_TOLERANCE,
    STORED_NORM_TOLERANCE,
    PackedAnnotation,
    pack_item,
    unit_vectors,
)
from .schema import EMBEDDING_DTYPES, MAX_DIM

__all__ = ["Arrays", "ColumnBuilder", "category_arrays", "name_arrays"]

Arrays = dict[str, npt.NDArray[Any]]
"""Schema path → array."""

_MAX_SUBSETS = 2**16
_MAX_TYPES = 2**8

_ITEM_ROW = struct.Struct("<QHBBII32sI")
_ITEM_DTYPE = np.dtype(
    [
        ("key_hash", "<u8"),
        ("subset_code", "<u2"),
        ("split", "u1"),
        ("status", "u1"),
        ("width", "<u4"),
        ("height", "<u4"),
        ("content_sha256", "u1", (32,)),
        ("row_crc32", "<u4"),
    ]
)
_ANNOTATION_DTYPE = np.dtype(
    [
        ("label", "<i4"),
        ("ann_id", "<i8"),
        ("group", "<i8"),
        ("object_id", "<i8"),
        ("z_order", "<i4"),
    ]
)
_ITEM_STRINGS = ("id", "path", "error", "attributes")
_ANNOTATION_VALUES = ("coords", "rle", "text", "visibility", "attributes", "extra")


class _Ragged:
    """Values of differing length, end to end, and where each ends."""

    def __init__(self, itemsize: int = 1) -> None:
        self._itemsize = itemsize
        self._offsets = array("Q", [0])
        self._data = bytearray()

    def append(self, value: bytes) -> None:
        self._data += value
        self._offsets.append(len(self._data) // self._itemsize)

    def arrays(self, stem: str, values: str, dtype: str = "u1") -> Arrays:
        return {
            f"{stem}_offsets": np.frombuffer(self._offsets, dtype=np.uint64).astype(
                "<u8", copy=False
            ),
            values: np.frombuffer(self._data, dtype=dtype),
        }


class ColumnBuilder:
    """Gathers rows as columns; memory is that of the data itself, not of a list of records.

    Parameters
    ----------
    dim : int
        Length of every vector.
    dtype : {"float16", "float32"}
        In which vectors are stored; float16 is rounded to nearest, ties to even.

    Raises
    ------
    UsageError
        Where dim or dtype cannot be stored.

    Notes
    -----
    A refused row leaves the builder as it was.
    """

    def __init__(self, dim: int, dtype: str = "float16") -> None:
        if not 1 <= dim <= MAX_DIM:
            raise UsageError(f"dim is {dim}; it must lie in 1 to {MAX_DIM:,}.", dim=dim)
        if str(dtype) not in EMBEDDING_DTYPES:
            raise UsageError(
                f"dtype is {dtype!r}; choose one of {', '.join(EMBEDDING_DTYPES)}.", dtype=dtype
            )
        self.dim = dim
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.n_rows = 0
        self.n_annotations = 0
        self._last_key: ItemKey | None = None
        self._vectors = bytearray()
        self._items = bytearray()
        self._item_strings = {name: _Ragged() for name in _ITEM_STRINGS}
        self._ann_offsets = array("Q", [0])
        self._annotations = bytearray()
        self._types = bytearray()
        self._values = {name: _Ragged(8 if name == "coords" else 1) for name in _ANNOTATION_VALUES}
        self._subset_codes: dict[str, int] = {}
        self._type_codes: dict[str, int] = {}
        self._categories: Arrays = category_arrays(Categories())

    def successor(self) -> ColumnBuilder:
        """Return an empty builder for the rows that follow these."""
        follower = ColumnBuilder(self.dim, self.dtype.name)
        follower._last_key = self._last_key
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
        last = self._last_key
        if last is None or last < key:
            return
        what = "appears twice" if key == last else f"comes after '{last}'"
        raise UsageError(
            f"Item '{key}' {what}; append each item once, sorted by subset and id.",
            key=key,
            previous=last,
        )

    def _append(self, record: ItemRecord, vector: npt.NDArray[np.floating[Any]] | None) -> None:
        # Everything that can fail is done before anything is kept.
        vector_bytes = self._vector_bytes(record, vector)
        strings = (
            encode_text(record.key.id),
            encode_text(record.path),
            encode_text(record.error),
            encode_json(record.attributes),
        )
        fixed = pack_item(record)
        annotations = [PackedAnnotation(annotation) for annotation in record.annotations]
        subset = encode_text(record.key.subset)
        frames = [annotation.frame() for annotation in annotations]
        crc = row_crc32((subset, *strings), fixed, vector_bytes, frames)
        types = _codes(self._type_codes, [a.type for a in record.annotations], _MAX_TYPES)
        (subset_code,) = _codes(self._subset_codes, [record.key.subset], _MAX_SUBSETS)

        row = (key_hash(subset, strings[0]), subset_code, *ITEM_FIXED.unpack(fixed), crc)
        self._keep(_ITEM_ROW.pack(*row), strings, vector_bytes, bytes(types), annotations)

    def _keep(
        self,
        row: bytes,
        strings: Sequence[bytes],
        vector: bytes,
        types: bytes,
        annotations: Sequence[PackedAnnotation],
    ) -> None:
        self._items += row
        self._vectors += vector
        for name, value in zip(_ITEM_STRINGS, strings, strict=True):
            self._item_strings[name].append(value)
        self._types += types
        for annotation in annotations:
            self._annotations += annotation.fixed
            for name, value in zip(_ANNOTATION_VALUES, annotation.values, strict=True):
                self._values[name].append(value)
        self.n_rows += 1
        self.n_annotations += len(annotations)
        self._ann_offsets.append(self.n_annotations)

    def _vector_bytes(
        self, record: ItemRecord, vector: npt.NDArray[np.floating[Any]] | None
    ) -> bytes:
        failed = record.status != Status.OK
        if failed != (vector is None):
            raise UsageError(
                f"Status {record.status.name} {'takes no' if failed else 'needs a'} vector; "
                "pass None exactly where the status is not OK.",
                key=record.key,
            )
        if vector is None:
            return bytes(self.dim * self.dtype.itemsize)
        rows = np.asarray(vector)[None]
        is_of_a_store = rows.dtype == self.dtype == np.float16  # rounded already, and its norm too
        tolerance = STORED_NORM_TOLERANCE[2] if is_of_a_store else NORM_TOLERANCE
        unit = unit_vectors(rows, self.dim, 1, tolerance=tolerance)
        return unit.astype(self.dtype).tobytes()

    def set_categories(
        self, categories: Categories, embedding: npt.NDArray[np.floating[Any]] | None = None
    ) -> None:
        """Keep the label names; see `StoreWriter.set_categories`."""
        arrays = category_arrays(categories)
        if embedding is not None:
            rows = np.array(embedding)  # a copy: the caller's may change before the store is sealed
            arrays["categories/embedding"] = unit_vectors(rows, self.dim, len(categories.labels))
        self._categories = arrays

    def finish(self, provenance: Mapping[str, Any]) -> Arrays:
        """Every array of the schema; they share the builder's memory, so append no more.

        Returns
        -------
        dict of schema path → array
        """
        items = np.frombuffer(self._items, dtype=_ITEM_DTYPE)
        fixed = np.frombuffer(self._annotations, dtype=_ANNOTATION_DTYPE)
        vectors = np.frombuffer(self._vectors, dtype=self.dtype)
        arrays: Arrays = {"items/embedding": vectors.reshape(self.n_rows, self.dim)}
        arrays |= {f"items/{name}": items[name] for name in _ITEM_DTYPE.names or ()}
        for name, ragged in self._item_strings.items():
            arrays |= ragged.arrays(f"items/{name}", f"items/{name}_bytes")
        arrays["items/ann_offsets"] = np.frombuffer(self._ann_offsets, dtype=np.uint64)
        arrays["annotations/type"] = np.frombuffer(self._types, dtype=np.uint8)
        arrays |= {f"annotations/{name}": fixed[name] for name in _ANNOTATION_DTYPE.names or ()}
        for name, ragged in self._values.items():
            stem = f"annotations/{name}"
            is_coords = name == "coords"
            arrays |= ragged.arrays(
                stem, stem if is_coords else f"{stem}_bytes", "<f8" if is_coords else "u1"
            )
        arrays |= name_arrays("subsets", self._subset_codes)
        arrays |= name_arrays("annotation_types", self._type_codes)
        arrays |= self._categories
        arrays["provenance"] = np.frombuffer(encode_json(provenance), dtype=np.uint8)
        return arrays


def _codes(table: dict[str, int], names: list[str], limit: int) -> list[int]:
    """Give each name its number, by first use; nothing is kept where the table would overflow."""
    new = [name for name in dict.fromkeys(names) if name not in table]
    if len(table) + len(new) > limit:
        raise UsageError(f"More than {limit:,} names of subsets or types; merge some of them.")
    table.update({name: len(table) + i for i, name in enumerate(new)})
    return [table[name] for name in names]


def name_arrays(group: str, names: Iterable[str]) -> Arrays:
    """Offsets and bytes of a table of names."""
    ragged = _Ragged()
    for name in names:
        ragged.append(encode_text(name))
    return ragged.arrays(f"{group}/names", f"{group}/names_bytes")


def category_arrays(categories: Categories) -> Arrays:
    """Everything under ``categories/`` but the vectors."""
    arrays = name_arrays("categories", categories.labels)
    arrays["categories/full"] = np.frombuffer(encode_json(categories.full), dtype=np.uint8)
    return arrays
