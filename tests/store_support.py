"""Runs and stores for tests, by the facts of their vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datumaro_embed.files import FileSystem
from datumaro_embed.store import EmbeddingStore, Hdf5Stores
from datumaro_embed.store.run import Hdf5Run
from datumaro_embed.store.schema import array_specs, child_tables
from datumaro_embed.vectors import VectorKind

__all__ = ["begin", "create_store", "row_arrays", "row_content"]


def begin(
    path: Path | str,
    *,
    dim: int,
    dtype: str = "float16",
    run_fingerprint: str = "",
    vector_settings: str = "",
    model: str = "",
    files: FileSystem | None = None,
    **options: Any,
) -> Hdf5Run:
    """Begin a run."""
    kind = VectorKind(dim, dtype, run_fingerprint, vector_settings, model)
    return Hdf5Stores(files).begin(path, kind, **options)


def create_store(path: Path | str, **options: Any) -> Hdf5Run:
    """Begin a run that takes over nothing."""
    return begin(path, restart=True, **options)


def row_arrays(store: EmbeddingStore) -> list[str]:
    """Paths of every array of items, and of the tables of theirs, that a store has."""
    tables = ("items", *child_tables())
    return [path for path, s in array_specs().items() if s.table in tables and store.has(path)]


def row_content(store: EmbeddingStore) -> dict[str, bytes]:
    """Bytes of every array of items, and of the tables of theirs."""
    return {path: store.column(path).tobytes() for path in row_arrays(store)}
