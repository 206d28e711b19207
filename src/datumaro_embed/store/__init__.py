"""Embedding stores: write one with `create_store`, read it with `open_store`."""

from __future__ import annotations

from .base import EmbeddingStore, StoreWriter
from .files import FileSystem
from .memory import MemoryStores
from .sealed import create_store, open_store
from .views import StoreInfo
from .writer import ColumnWriter

__all__ = [
    "ColumnWriter",
    "EmbeddingStore",
    "FileSystem",
    "MemoryStores",
    "StoreInfo",
    "StoreWriter",
    "create_store",
    "open_store",
]
