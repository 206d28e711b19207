"""A FAISS index with its metadata (extra `faiss`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import MissingExtraError
from ..store import EmbeddingStore
from .arrays import write_metadata

__all__ = ["write_faiss"]


def write_faiss(store: EmbeddingStore, folder: Path, *, embedded_only: bool) -> None:
    """Write ``image.index`` (exact, inner product: cosine) and the metadata of its rows.

    Raises
    ------
    MissingExtraError
        faiss is not installed.

    Notes
    -----
    FAISS keeps its own float32 copy in memory: 4 · n_rows · dim bytes.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError(
            "FAISS is not installed. Run: pip install 'datumaro-embed[faiss]'", extra="faiss"
        ) from error
    index = faiss.IndexFlatIP(store.dim)
    for batch in store.iter_batches(65_536, embedded_only=embedded_only):
        index.add(np.ascontiguousarray(batch.vectors))
    faiss.write_index(index, str(folder / "image.index"))
    write_metadata(store, folder, embedded_only=embedded_only)
