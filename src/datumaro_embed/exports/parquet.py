"""One Parquet file: what pandas, Arrow, DuckDB and embedding-atlas open."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..store import EmbeddingStore
from ..store.arrow import iter_tables

__all__ = ["write_parquet", "write_tables"]


def write_parquet(store: EmbeddingStore, path: Path, *, embedded_only: bool) -> None:
    """Write every column of `EmbeddingStore.to_arrow`, with float32 vectors.

    Notes
    -----
    float32 holds float16 exactly and every reader knows it; about half its size more than needed.
    """
    write_tables(iter_tables(store, embedded_only=embedded_only), path)


def write_tables(tables: Iterable[pa.Table], path: Path) -> None:
    """Write tables of one schema as the row groups of one file."""
    writer: pq.ParquetWriter | None = None
    try:
        for table in tables:
            writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()
