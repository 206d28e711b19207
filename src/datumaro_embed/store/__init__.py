"""Embedding stores: `open_store` reads one, a `StoreBackend` begins the run that writes one."""

from __future__ import annotations

from .backend import COMMIT_ROWS, StoreBackend, StoreWriter
from .rows import ArrayPart, Part
from .run import Hdf5Stores, open_store, using_store
from .table import EmbeddingStore
from .tables import VectorTable

__all__ = [
    "COMMIT_ROWS",
    "ArrayPart",
    "EmbeddingStore",
    "Hdf5Stores",
    "Part",
    "StoreBackend",
    "StoreWriter",
    "VectorTable",
    "open_store",
    "using_store",
]
