"""Recompute everything in a store that can be recomputed, and list what differs."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import StoreCorruptError, UsageError
from ..records import Status
from .encoding import (
    ANNOTATION_FIXED,
    ITEM_FIXED,
    annotation_frame,
    encode_text,
    key_hash,
    row_crc32,
)
from .packing import STORED_NORM_TOLERANCE, PackedAnnotation, pack_item
from .schema import SCHEMA, Column

if TYPE_CHECKING:
    from .base import EmbeddingStore

__all__ = [
    "MAX_PROBLEMS",
    "categories_are_sound",
    "categories_crc32",
    "key_is_sound",
    "problems",
    "row_is_sound",
]

MAX_PROBLEMS = 100
_BLOCK_ROWS = 16_384
_ITEM_STRINGS = ("items/id", "items/path", "items/error", "items/attributes")
_ANNOTATION_BYTES = ("rle", "text", "visibility", "attributes", "extra")

Array = npt.NDArray[Any]


def categories_crc32(array: Callable[[str], Array | None]) -> int:
    """CRC-32 of the arrays under ``categories/``, end to end, in the order of the schema."""
    crc = 0
    for column in SCHEMA:
        if column.path.startswith("categories/"):
            values = array(column.path)
            crc = crc if values is None else zlib.crc32(np.ascontiguousarray(values).data, crc)
    return crc


def problems(store: EmbeddingStore) -> list[str]:
    """At most `MAX_PROBLEMS` lines; empty where the store is sound."""
    found = list(islice(_problems(store), MAX_PROBLEMS + 1))
    if len(found) > MAX_PROBLEMS:
        found[-1] = f"… and more: only the first {MAX_PROBLEMS} problems are listed"
    return found


def categories_are_sound(store: EmbeddingStore) -> bool:
    """Compare everything under ``categories/`` with its checksum."""
    return categories_crc32(store._optional) == store.info.categories_crc32


def key_is_sound(store: EmbeddingStore, row: int) -> bool:
    """Compare the key of one row with its hash."""
    try:
        key = store.key(row)
    except StoreCorruptError:
        return False
    found = key_hash(encode_text(key.subset), encode_text(key.id))
    return found == int(store.column("items/key_hash")[row])


def row_is_sound(store: EmbeddingStore, row: int) -> bool:
    """Recompute the CRC of one row; some 30 microseconds, and 10 for each annotation."""
    try:
        record = store.item(row)
        strings = [store._row_reader.raw(stem, row) for stem in _ITEM_STRINGS]
        frames = [PackedAnnotation(annotation).frame() for annotation in record.annotations]
    except (StoreCorruptError, UsageError):
        return False
    crc = row_crc32(
        (encode_text(record.key.subset), *strings),
        pack_item(record),
        store.embeddings([row]).tobytes(),
        frames,
    )
    return crc == int(store.row_crc32[row])


def _problems(store: EmbeddingStore) -> Iterator[str]:
    unreadable = [line for column in SCHEMA for line in _caught(_column, store, column)]
    yield from unreadable
    if not unreadable:
        for check in (_tables, _vectors, _rows):
            yield from _caught(check, store)


def _caught(check: Callable[..., Iterator[str]], *arguments: Any) -> Iterator[str]:
    """Run one check; damage that stops it is its last line."""
    try:
        yield from check(*arguments)
    except StoreCorruptError as error:
        yield error.message


def _column(store: EmbeddingStore, column: Column) -> Iterator[str]:
    found = store._optional(column.path)
    if column.required and found is None:
        yield f"{column.path}: is missing"


def _tables(store: EmbeddingStore) -> Iterator[str]:
    if not categories_are_sound(store):
        yield "categories: the checksum differs from the stored one"
    if zlib.crc32(store.column("provenance").tobytes()) != store.info.provenance_crc32:
        yield "provenance: the checksum differs from the stored one"
    if list(store.subset_names) != sorted(set(store.subset_names)):
        yield "subsets: the names are not in ascending order"
    _ = store.categories, store.provenance  # that they decode


def _vectors(store: EmbeddingStore) -> Iterator[str]:
    vectors, statuses = store.embeddings(), store.statuses
    tolerance = STORED_NORM_TOLERANCE[store.dtype.itemsize]
    for start in range(0, len(vectors), _BLOCK_ROWS):
        block = np.asarray(vectors[start : start + _BLOCK_ROWS], dtype=np.float32)
        norms = np.sqrt(np.einsum("ij,ij->i", block, block, dtype=np.float64))
        wanted = (statuses[start : start + _BLOCK_ROWS] == Status.OK).astype(np.float64)
        allowed = np.where(wanted > 0, tolerance, 0.0)
        for offset in np.flatnonzero(~(np.abs(norms - wanted) <= allowed)):
            row = start + int(offset)
            yield (
                f"row {row} ({store.key(row)}): the vector's norm is {norms[offset]:.6g} "
                f"and should be {wanted[offset]:.0f}"
            )


def _rows(store: EmbeddingStore) -> Iterator[str]:
    hashes, stored_crcs, vectors = (
        store.column("items/key_hash"),
        store.row_crc32,
        store.embeddings(),
    )
    ann_offsets = store.ann_offsets
    frames = _annotation_frames(store)
    previous = None
    for row, packed in enumerate(_packed_items(store)):
        key = store.key(row)
        if previous is not None and not previous < key:
            yield f"row {row} ({key}): not above the row before it ({previous})"
        previous = key
        subset = encode_text(key.subset)
        strings = [store._row_reader.raw(stem, row) for stem in _ITEM_STRINGS]
        if key_hash(subset, strings[0]) != hashes[row]:
            yield f"row {row} ({key}): key_hash differs from the key"
        count = int(ann_offsets[row + 1]) - int(ann_offsets[row])
        crc = row_crc32(
            (subset, *strings), packed, vectors[row].tobytes(), list(islice(frames, count))
        )
        if crc != stored_crcs[row]:
            yield f"row {row} ({key}): row_crc32 differs from the row's content"


def _packed_items(store: EmbeddingStore) -> Iterator[bytes]:
    """Pack the fixed part of each row, as the CRC takes it."""
    columns = (store.splits, store.statuses, store.widths, store.heights)
    for start in range(0, store.n_rows, _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        numbers = zip(*(column[block].tolist() for column in columns), strict=True)
        for fixed, digest in zip(numbers, store.content_sha256[block], strict=True):
            yield ITEM_FIXED.pack(*fixed, digest.tobytes())


def _annotation_frames(store: EmbeddingStore) -> Iterator[bytes]:
    """Each annotation as the CRC takes it, in stored order."""
    columns = (
        store.ann_types,
        store.ann_labels,
        store.ann_ids,
        store.ann_groups,
        store.ann_object_ids,
        store.ann_z_orders,
    )
    names = [encode_text(name) for name in store.ann_type_names]
    coords, offsets = store.ann_coords, store.ann_coords_offsets
    raw = store._row_reader.raw
    for start in range(0, store.n_annotations, _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        numbers = zip(*(column[block].tolist() for column in columns), strict=True)
        for index, (code, *fixed) in enumerate(numbers, start):
            xy = coords[int(offsets[index]) : int(offsets[index + 1])].tobytes()
            values = [raw(f"annotations/{name}", index) for name in _ANNOTATION_BYTES]
            yield annotation_frame(names[code], ANNOTATION_FIXED.pack(*fixed), (xy, *values))
