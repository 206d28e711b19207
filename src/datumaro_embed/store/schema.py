"""Everything a store holds, stated once: its tables, their columns and what each may be.

Writer, reader, guard, checks, Arrow tables and the specification read it from here. A new column is
one line in its table and a field of the same name in the record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ..records import (
    SIGNATURE_BYTES,
    STATISTICS,
    AnnotationRecord,
    CaptionRecord,
    CropShape,
    ItemRecord,
    ObjectRecord,
    ObjectStatus,
    Split,
    Status,
)

FORMAT = "datumaro-embed"
FORMAT_VERSION = 2
"""Readers refuse any other."""
FORMAT_MINOR = 0
"""Readers ignore, unopened, what a higher minor version added."""

BLOCK_ROWS = 1024
"""Rows that one checksum of each array covers."""
PAGE_BYTES = 4096
"""Arrays of at least this size begin at a multiple of it."""

RAGGED_KINDS = ("text", "json", "floats", "ints", "bytes")
"""Of columns whose values differ in length: offsets cut them out of one array."""
ROW_ROLES = ("rows", "offsets", "values")
"""Of arrays whose values belong to rows of their table."""

ATTRIBUTES: dict[str, type] = {
    "format": str,
    "format_version": int,
    "format_minor": int,
    "uuid": str,
    "run_fingerprint": str,
    "model": str,
    "vector_settings": str,
}
"""Attributes of the root group: strings of fixed length and single integers."""


@dataclass(frozen=True, slots=True, eq=False)  # hashed at each look-up of `array_specs`
class Column:
    """One column of a table, for records' attribute `field` (`name` unless given).

    `kind` is ``number`` or ``digest`` (values of fixed size: `size` numbers or bytes a row, where
    it has several), ``code`` (a text, kept as its number in a table of names), ``text``, ``json``,
    ``floats``, ``ints`` or ``bytes`` (values of any length), ``vector`` (the embedding), or
    ``rows`` (the rows of another table that belong to this one). `dtype` is the little-endian NumPy
    type of a value, or of a code. `values` are the only numbers allowed.

    A store may lack an `optional` column, and has it where every row has a value. One that is also
    `filled` is there where any row has a value; rows without one have zeros. Files of a lower minor
    version than `since` lack the column.
    """

    name: str
    kind: str
    meaning: str
    dtype: str = "|u1"
    size: int = 0
    field: str = ""
    values: type[IntEnum] | None = None
    optional: bool = False
    filled: bool = False
    since: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Rows of one kind; each decodes to a `record`.

    A store may lack an `optional` table, and has it where every item has a value for it.
    """

    name: str
    columns: tuple[Column, ...]
    record: type[Any] | None = None
    optional: bool = False


SCHEMA: dict[str, Table] = {
    table.name: table
    for table in (
        Table(
            "items",
            (
                Column("vector", "vector", "unit vector of the image; zero where status is not 0"),
                Column("subset", "code", "Datumaro's subset", dtype="<u2", field="key.subset"),
                Column("id", "text", "item id, UTF-8", field="key.id"),
                Column("split", "number", "role of the subset", values=Split),
                Column("path", "text", "image path relative to the dataset's root, UTF-8"),
                Column("width", "number", "in upright pixels; 0 if unknown", dtype="<u4"),
                Column("height", "number", "in upright pixels; 0 if unknown", dtype="<u4"),
                Column("status", "number", "status of the embedding", values=Status),
                Column("error", "text", "reason where status is not 0, UTF-8"),
                Column("content_sha256", "digest", "SHA-256 of the file; zeros if unread", size=32),
                Column("attributes", "json", "JSON object"),
                Column(
                    "signature",
                    "digest",
                    "the image squashed to 32 x 32 pixels, R, G, B; zeros if unknown",
                    size=SIGNATURE_BYTES,
                    optional=True,
                    filled=True,
                ),
                Column(
                    "statistics",
                    "number",
                    f"of the image: {', '.join(STATISTICS)}; zeros if unknown",
                    dtype="<f4",
                    size=len(STATISTICS),
                    optional=True,
                    filled=True,
                ),
                Column("annotations", "rows", "the item's rows of annotations/"),
                Column("objects", "rows", "the item's rows of objects/", optional=True),
                Column("captions", "rows", "the item's rows of captions/", optional=True),
            ),
            ItemRecord,
        ),
        Table(
            "annotations",
            (
                Column("type", "code", "Datumaro's type name"),
                Column("label", "number", "row in labels/; -1 if none", dtype="<i4"),
                Column("ann_id", "number", "Datumaro's annotation id", dtype="<i8"),
                Column(
                    "group", "number", "annotations of one object share it; 0 if none", dtype="<i8"
                ),
                Column("object_id", "number", "Datumaro's object id; -1 if none", dtype="<i8"),
                Column("z_order", "number", "drawing order: higher is in front", dtype="<i4"),
                Column("coords", "floats", "upright pixels, see below", dtype="<f8"),
                Column("rle", "text", "masks: COCO RLE as JSON"),
                Column("text", "text", "captions, UTF-8"),
                Column("visibility", "bytes", "points: 0 absent, 1 hidden, 2 visible"),
                Column("attributes", "json", "JSON object"),
                Column("extra", "text", "annotations of other types, as JSON"),
            ),
            AnnotationRecord,
        ),
        Table(
            "objects",
            (
                Column("vector", "vector", "unit vector of the crop; zero if the object has none"),
                Column("label", "number", "row in labels/; -1 if none", dtype="<i4"),
                Column("box", "number", "x, y, w, h in upright pixels", dtype="<f8", size=4),
                Column("area", "number", "square pixels", dtype="<f8"),
                Column("status", "number", "status of the crop", values=ObjectStatus),
                Column("crop", "number", "x1, y1, x2, y2 in pixels", dtype="<i4", size=4),
                Column("shape", "number", "shape of the crop", values=CropShape),
                Column("annotations", "ints", "indices among the item's annotations", dtype="<u4"),
            ),
            ObjectRecord,
            optional=True,
        ),
        Table(
            "captions",
            (
                Column("vector", "vector", "unit vector of the text"),
                Column("annotation", "number", "index among the item's annotations", dtype="<u4"),
            ),
            CaptionRecord,
            optional=True,
        ),
        Table(
            "labels",
            (
                Column("name", "text", "label name in the dataset's order, UTF-8"),
                Column("vector", "vector", "unit vector of the label's prompt", optional=True),
            ),
        ),
    )
}


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """One array of a file, at `path` inside it; `table` is empty for what belongs to no table.

    `role` is ``rows`` (one value a row), ``offsets`` or ``values`` (of a ragged column),
    ``names_offsets`` or ``names`` (of a code), or ``whole`` (no rows). In `shape` the name of a
    table is its number of rows (``items+1``: one more), ``dim`` the length of a vector, ``*`` any
    length. A file may lack an `optional` array: its column, or its whole table, is optional.
    """

    path: str
    table: str
    column: Column
    role: str
    dtypes: tuple[str, ...]
    shape: tuple[str | int, ...]
    meaning: str
    optional: bool = False

    @property
    def cuts(self) -> str:
        """Offsets only: path of the array that they cut, or the name of a table."""
        is_rows = self.column.kind == "rows"
        return self.column.name if is_rows else self.path.removesuffix("_offsets")


def child_tables() -> tuple[str, ...]:
    """Tables whose rows belong to items."""
    return tuple(column.name for column in SCHEMA["items"].columns if column.kind == "rows")


def optional_tables() -> tuple[str, ...]:
    """Tables whose rows belong to items, and that a store may lack."""
    return tuple(name for name in child_tables() if SCHEMA[name].optional)


def status_has_vector(table: str) -> npt.NDArray[np.bool_]:
    """For each status of a table whether its rows have a vector; one, true, where none has any."""
    statuses = [c.values for c in SCHEMA[table].columns if c.name == "status" and c.values]
    known: list[Any] = [status for values in statuses for status in values]
    return np.array([status.has_vector for status in known] or [True])


def array_specs() -> Mapping[str, ArraySpec]:
    """Every array that a file may have, by path, in the order in which files hold them."""
    return _array_specs(tuple(SCHEMA.values()))


@lru_cache
def _array_specs(tables: tuple[Table, ...]) -> Mapping[str, ArraySpec]:
    arrays: list[ArraySpec] = []
    for table, column in ((t, c) for t in tables for c in t.columns):
        stem, rows, meaning = f"{table.name}/{column.name}", table.name, column.meaning
        own, u8 = (column.dtype,), ("<u8",)
        found: list[tuple[str, str, tuple[str, ...], tuple[str | int, ...], str]]
        if column.kind == "vector":
            dtypes = ("<f4",) if column.optional else ("<f2", "<f4")
            found = [("", "rows", dtypes, (rows, "dim"), meaning)]
        elif column.kind == "rows":
            cuts = f"offsets into the rows of {column.name}/"
            found = [("_offsets", "offsets", u8, (f"{rows}+1",), cuts)]
        elif column.kind in RAGGED_KINDS:
            found = [
                ("_offsets", "offsets", u8, (f"{rows}+1",), f"offsets into {stem}"),
                ("", "values", own, ("*",), meaning),
            ]
        elif column.kind == "code":
            found = [
                ("", "rows", own, (rows,), f"row in {stem}_names"),
                ("_names_offsets", "names_offsets", u8, ("*",), f"offsets into {stem}_names"),
                ("_names", "names", ("|u1",), ("*",), f"{meaning}s, UTF-8"),
            ]
        else:
            named = ", ".join(f"{v.value} {v.name.lower()}" for v in column.values or ())
            shape = (rows, column.size) if column.size else (rows,)
            found = [("", "rows", own, shape, f"{meaning}: {named}" if named else meaning)]
        optional = table.optional or column.optional
        arrays += (
            ArraySpec(stem + suffix, rows, column, role, dtypes, shape, meaning, optional)
            for suffix, role, dtypes, shape, meaning in found
        )
    blocks = f"CRC-32 of each block of {BLOCK_ROWS:,} rows of each array"
    covered = "JSON object: the arrays that each of checksums/ covers, in order"
    for path, dtype, rank, meaning, optional in (  # those of no table
        ("meta/categories", "|u1", 1, "JSON object: category type → its content", False),
        ("meta/provenance", "|u1", 1, "JSON object: how the vectors were made", False),
        ("meta/arrays", "|u1", 1, covered, False),
        *((f"checksums/{t.name}", "<u4", 2, blocks, t.optional) for t in tables),
        ("checksums/whole", "<u4", 1, "CRC-32 of each array that has no rows", False),
    ):
        column = Column(path, "whole", meaning)
        sizes = ("*",) * rank
        arrays.append(ArraySpec(path, "", column, "whole", (dtype,), sizes, meaning, optional))
    return {array.path: array for array in arrays}
