"""Vectors as .npy and items as Parquet, side by side.

Source: the folders that `img2dataset` + `clip-retrieval inference` write and `embedding-reader`
reads: ``img_emb/img_emb_0.npy`` and ``metadata/metadata_0.parquet``, row for row.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from ..records import Status
from ..store import EmbeddingStore
from ..store.arrow import iter_tables
from .parquet import write_tables

__all__ = ["write_arrays", "write_metadata"]

_BLOCK_ROWS = 65_536


def write_arrays(store: EmbeddingStore, folder: Path, *, embedded_only: bool) -> None:
    """Fill `folder`; vectors keep the stored type."""
    rows = np.arange(store.n_rows)
    if embedded_only:
        rows = rows[store.statuses == Status.OK]
    shape = (len(rows), store.dim)
    (folder / "img_emb").mkdir()
    with (folder / "img_emb" / "img_emb_0.npy").open("xb") as file:
        header = {"descr": store.dtype.str, "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(file, header)
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = store.embeddings(rows[start : start + _BLOCK_ROWS])
            file.write(np.ascontiguousarray(block).tobytes())
    write_metadata(store, folder, embedded_only=embedded_only)


def write_metadata(store: EmbeddingStore, folder: Path, *, embedded_only: bool) -> None:
    """Write every column but the vectors; ``image_path`` is what clip-retrieval shows."""
    (folder / "metadata").mkdir()
    tables = (
        table.append_column("image_path", table["path"])
        for table in iter_tables(store, vectors=False, embedded_only=embedded_only)
    )
    write_tables(tables, folder / "metadata" / "metadata_0.parquet")
