"""CSV: one line for each item."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from ..escaping import CSV_ESCAPED_START
from ..store import EmbeddingStore
from ..store.arrow import iter_tables

__all__ = ["write_csv"]

_LABEL_SEPARATOR = ";"


def write_csv(store: EmbeddingStore, path: Path, *, embedded_only: bool, vectors: bool) -> None:
    """Write the flat columns; with `vectors` one more, ``e0``, ``e1`` …, for each dimension."""
    writer: pa_csv.CSVWriter | None = None
    try:
        for table in iter_tables(store, vectors=vectors, embedded_only=embedded_only):
            flat = _flat(table, store.dim if vectors else 0)
            writer = writer or pa_csv.CSVWriter(path, flat.schema)
            writer.write_table(flat)
    finally:
        if writer is not None:
            writer.close()


def _flat(table: pa.Table, dim: int) -> pa.Table:
    counts = pc.list_value_length(table["annotations"])
    joined = pc.binary_join(table["labels"], _LABEL_SEPARATOR)
    flat = table.drop_columns(["annotations", "labels", *(["embedding"] if dim else [])])
    flat = flat.append_column("n_annotations", counts).append_column("labels", joined)
    for name in (field.name for field in flat.schema if _is_text(field.type)):
        flat = flat.set_column(flat.schema.get_field_index(name), name, _escaped(flat[name]))
    for index in range(dim):
        flat = flat.append_column(f"e{index}", pc.list_element(table["embedding"], index))
    return flat.replace_schema_metadata()


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _escaped(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Do what `escaping.csv_cell` does; numbers stay as they are, negative ones too."""
    return pc.replace_substring_regex(texts, f"^({CSV_ESCAPED_START})", r"'\1")
