"""Parquet, CSV, and folders of vectors with a Parquet file of their items (NumPy, FAISS).

Source of the folders: what `img2dataset` + `clip-retrieval inference` write and `embedding-reader`
reads, ``img_emb/img_emb_0.npy`` and ``metadata/metadata_0.parquet``, row for row.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.lib import format as npy

from ..errors import MissingExtraError
from ..escaping import CSV_ESCAPED_START
from ..store import EmbeddingStore
from ..store.tables import VectorTable

_PIECE_BYTES = 2**20
_BLOCK_ROWS = 65_536
_LABEL_SEPARATOR = ";"


def write_parquet(table: VectorTable, path: Path, *, embedded_only: bool) -> None:
    """Write every column of `VectorTable.to_arrow`, with float32 vectors.

    float32 holds float16 exactly and every reader knows it; about half its size more than needed.
    """
    tables = table.iter_arrow(embedded_only=embedded_only)
    _write_tables(tables, path, pq.ParquetWriter, compression="zstd")


def write_npy(table: VectorTable, folder: Path, *, embedded_only: bool) -> None:
    """Fill a folder; vectors keep the stored type."""
    rows = _rows(table, embedded_only=embedded_only)
    vectors = table.embeddings([])
    (folder / "img_emb").mkdir()
    with (folder / "img_emb" / "img_emb_0.npy").open("xb") as file:
        shape = (len(rows), vectors.shape[1])
        header = {"descr": vectors.dtype.str, "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(file, header)
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = table.embeddings(rows[start : start + _BLOCK_ROWS])
            file.write(np.ascontiguousarray(block).tobytes())
    _write_metadata(table, folder, embedded_only=embedded_only)


def write_faiss(table: VectorTable, folder: Path, *, embedded_only: bool) -> None:
    """Write ``image.index`` (exact, inner product: cosine) and the metadata of its rows.

    FAISS keeps its own float32 copy in memory: 4 · n_rows · dim bytes.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError(
            "FAISS is not installed. Run: pip install 'datumaro-embed[faiss]'", extra="faiss"
        ) from error
    index = faiss.IndexFlatIP(table.embeddings([]).shape[1])
    rows = _rows(table, embedded_only=embedded_only)
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = table.embeddings(rows[start : start + _BLOCK_ROWS])
        index.add(np.ascontiguousarray(block, np.float32))
    with (folder / "image.index").open("xb") as file:  # FAISS's own file hides a full disk
        writer = faiss.PyCallbackIOWriter  # type: ignore[attr-defined]  # made by SWIG
        faiss.write_index(index, writer(file.write, _PIECE_BYTES))
    _write_metadata(table, folder, embedded_only=embedded_only)


def write_csv(store: EmbeddingStore, path: Path, *, embedded_only: bool, vectors: bool) -> None:
    """Write one line per item; with `vectors` a column ``e0``, ``e1`` … for each dimension."""
    tables = store.items.iter_arrow(vectors=vectors, embedded_only=embedded_only)
    flat = (_flat(table, store.dim if vectors else 0) for table in tables)
    _write_tables(flat, path, pa_csv.CSVWriter)


def _rows(table: VectorTable, *, embedded_only: bool) -> npt.NDArray[np.int64]:
    return np.flatnonzero(table.has_vector) if embedded_only else np.arange(len(table))


def _write_metadata(table: VectorTable, folder: Path, *, embedded_only: bool) -> None:
    """Write every column but the vectors; ``image_path`` is what clip-retrieval shows."""
    (folder / "metadata").mkdir()
    tables = (
        rows.append_column("image_path", rows["path"])
        for rows in table.iter_arrow(vectors=False, embedded_only=embedded_only)
    )
    path = folder / "metadata" / "metadata_0.parquet"
    _write_tables(tables, path, pq.ParquetWriter, compression="zstd")


def _write_tables(tables: Iterable[pa.Table], path: Path, make: type, **options: Any) -> None:
    """Write tables of one schema as one file, of Parquet with a row group each."""
    writer: Any = None
    try:
        for table in tables:
            writer = writer or make(path, table.schema, **options)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _flat(table: pa.Table, dim: int) -> pa.Table:
    counts = pc.list_value_length(table["annotations"])
    joined = pc.binary_join(table["labels"], _LABEL_SEPARATOR)
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    left_out = [each.name for each in table.schema if any(kind(each.type) for kind in kinds)]
    flat = table.drop_columns([*left_out, *{"signature"} & set(table.column_names)])
    flat = flat.append_column("n_annotations", counts).append_column("labels", joined)
    for at, field in enumerate(flat.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            # As `escaping.csv_cell` does; numbers stay as they are, negative ones too.
            escaped = pc.replace_substring_regex(flat[at], f"^({CSV_ESCAPED_START})", r"'\1")
            flat = flat.set_column(at, field.name, escaped)
    for index in range(dim):
        flat = flat.append_column(f"e{index}", pc.list_element(table["embedding"], index))
    return flat.replace_schema_metadata()
