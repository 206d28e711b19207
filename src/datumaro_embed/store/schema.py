"""The one table of everything a store holds: path, type, shape and meaning of each array.

The writer, the guard, the verifier and the table in docs/store-format.md all read it from here.

Shapes are written in symbols: ``N`` items, ``A`` annotations, ``D`` vector length, ``L`` labels,
``S`` subsets, ``T`` annotation types; ``*`` is any length. ``N+1`` is an offsets column: the values
of row i are ``[offsets[i], offsets[i + 1])`` of the array named in ``indexes``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..records import Split, Status

__all__ = [
    "ATTRIBUTES",
    "COLUMNS",
    "EMBEDDING_DTYPES",
    "FORMAT",
    "FORMAT_MINOR",
    "FORMAT_VERSION",
    "GROUPS",
    "MAX_ATTRIBUTE_BYTES",
    "MAX_DIM",
    "MAX_JSON_BYTES",
    "PAGE_BYTES",
    "SCHEMA",
    "Column",
    "markdown_table",
]

FORMAT = "datumaro-embed"
FORMAT_VERSION = 1
"""Major version; readers refuse any other."""
FORMAT_MINOR = 0
"""Readers ignore, unopened, whatever a higher minor version added."""

EMBEDDING_DTYPES = ("float16", "float32")
PAGE_BYTES = 4096
"""Arrays of at least this size begin at a multiple of it."""
MAX_DIM = 65_536
MAX_JSON_BYTES = 64 * 2**20
"""Of one JSON value: an item's or annotation's attributes, the categories, the provenance."""
MAX_ATTRIBUTE_BYTES = 4096

ATTRIBUTES = {
    "format": "string",
    "format_version": "int",
    "format_minor": "int",
    "complete": "int",
    "uuid": "string",
    "run_fingerprint": "string",
    "n_rows": "int",
    "n_annotations": "int",
    "categories_crc32": "int",
    "provenance_crc32": "int",
}
"""Attributes of the root group: name → ``"int"`` (one integer) or ``"string"`` (fixed length)."""


@dataclass(frozen=True, slots=True)
class Column:
    """One array of a store.

    Attributes
    ----------
    path : str
        Inside the file, without the leading slash.
    dtypes : tuple of str
        Little-endian NumPy type strings; more than one only where a store may choose.
    shape : tuple of (str or int)
        Symbols as in the module's docstring.
    meaning : str
        One line for the specification.
    required : bool
    indexes : str
        Offsets only: the path of the array they cut (``"annotations"``: every column there).
    below : int or str or None
        Exclusive upper bound of the values, or the symbol that gives it.
    """

    path: str
    dtypes: tuple[str, ...]
    shape: tuple[str | int, ...]
    meaning: str
    required: bool = True
    indexes: str = ""
    below: int | str | None = None

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The type, where there is one only (any column but the item embedding)."""
        (only,) = self.dtypes
        return np.dtype(only)


def _ragged(
    stem: str, shape: str, meaning: str, *, values: str = "", dtype: str = "|u1"
) -> tuple[Column, Column]:
    """Offsets and values of a column whose rows differ in length."""
    values = values or f"{stem}_bytes"
    return (
        Column(f"{stem}_offsets", ("<u8",), (f"{shape}+1",), f"cuts {values}", indexes=values),
        Column(values, (dtype,), ("*",), meaning),
    )


SCHEMA: tuple[Column, ...] = (
    Column(
        "items/embedding",
        ("<f2", "<f4"),
        ("N", "D"),
        "unit vectors; zero where status is not 0",
    ),
    Column("items/key_hash", ("<u8",), ("N",), "hash of (subset, id)"),
    *_ragged("items/id", "N", "UTF-8 item ids"),
    *_ragged("items/path", "N", "UTF-8 image paths, relative to the dataset's root"),
    *_ragged("items/error", "N", "UTF-8 reasons where status is not 0"),
    *_ragged("items/attributes", "N", "JSON objects"),
    Column("items/subset_code", ("<u2",), ("N",), "row of subsets/names", below="S"),
    Column(
        "items/split",
        ("|u1",),
        ("N",),
        ", ".join(f"{split.value} {split.name.lower()}" for split in Split),
        below=len(Split),
    ),
    Column(
        "items/status",
        ("|u1",),
        ("N",),
        ", ".join(f"{status.value} {status.name.lower()}" for status in Status),
        below=len(Status),
    ),
    Column("items/width", ("<u4",), ("N",), "upright pixels; 0 unknown"),
    Column("items/height", ("<u4",), ("N",), "upright pixels; 0 unknown"),
    Column("items/content_sha256", ("|u1",), ("N", 32), "of the image file; zeros if unread"),
    Column("items/row_crc32", ("<u4",), ("N",), "CRC-32 of the whole row, see below"),
    Column(
        "items/ann_offsets",
        ("<u8",),
        ("N+1",),
        "cuts the rows of annotations/",
        indexes="annotations",
    ),
    Column("annotations/type", ("|u1",), ("A",), "row of annotation_types/names", below="T"),
    Column("annotations/label", ("<i4",), ("A",), "row of categories/names; -1 none"),
    Column("annotations/ann_id", ("<i8",), ("A",), "as in Datumaro"),
    Column("annotations/group", ("<i8",), ("A",), "as in Datumaro; 0 none"),
    Column("annotations/object_id", ("<i8",), ("A",), "as in Datumaro; -1 none"),
    Column("annotations/z_order", ("<i4",), ("A",), "as in Datumaro"),
    *_ragged(
        "annotations/coords",
        "A",
        "upright pixels, see below",
        values="annotations/coords",
        dtype="<f8",
    ),
    *_ragged("annotations/rle", "A", "masks: COCO RLE as JSON"),
    *_ragged("annotations/text", "A", "captions, UTF-8"),
    *_ragged("annotations/visibility", "A", "points: 0 absent, 1 hidden, 2 visible"),
    *_ragged("annotations/attributes", "A", "JSON objects"),
    *_ragged("annotations/extra", "A", "any other type, as JSON"),
    *_ragged("subsets/names", "S", "UTF-8, in ascending order"),
    *_ragged("annotation_types/names", "T", "UTF-8 Datumaro type names, by first use"),
    *_ragged("categories/names", "L", "UTF-8 label names, in the dataset's order"),
    Column("categories/full", ("|u1",), ("*",), "JSON object: category type → its content"),
    Column(
        "categories/embedding",
        ("<f4",),
        ("L", "D"),
        "unit vectors of the label prompts",
        required=False,
    ),
    Column("provenance", ("|u1",), ("*",), "JSON object: how the vectors were made"),
)

COLUMNS: dict[str, Column] = {column.path: column for column in SCHEMA}
GROUPS: frozenset[str] = frozenset(
    column.path.split("/")[0] for column in SCHEMA if "/" in column.path
)


def markdown_table() -> str:
    """Render the schema as the table of docs/store-format.md (a test keeps the two equal)."""
    lines = ["| path | type | shape | holds |", "|---|---|---|---|"]
    for column in SCHEMA:
        types = " or ".join(np.dtype(name).name for name in column.dtypes)
        shape = ", ".join(str(size) for size in column.shape)
        meaning = column.meaning if column.required else f"{column.meaning}; optional"
        lines.append(f"| `/{column.path}` | {types} | ({shape}) | {meaning} |")
    return "\n".join(lines)
