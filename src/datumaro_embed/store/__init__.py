"""Embedding stores: `open_store` reads one, a `StoreBackend` begins the run that writes one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names
from .codec import ArrayPart, Part
from .journal import open_store, using_store
from .table import EmbeddingStore

if TYPE_CHECKING:
    from .backend import COMMIT_ROWS, StoreBackend, StoreWriter
    from .run import Hdf5Stores
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

__getattr__ = lazy_names(
    __name__,
    {
        "COMMIT_ROWS": "backend",
        "Hdf5Stores": "run",
        "StoreBackend": "backend",
        "StoreWriter": "backend",
        "VectorTable": "tables",
    },
)
