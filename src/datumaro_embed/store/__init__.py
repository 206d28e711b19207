"""Embedding stores: write one with `create_store`, read it with `open_store`."""

from __future__ import annotations

from .base import EmbeddingStore
from .compact import CompactSummary, compact_store
from .files import FileSystem
from .kept import model_mismatch
from .memory import MemoryStores
from .reader import SealedStore
from .run import ShardRun
from .sealed import create_store, is_hdf5_file, open_store
from .settings import fits, vector_settings
from .sharded import ShardedStore, is_store_directory
from .verify import categories_are_sound, key_is_sound, row_is_sound
from .views import StoreInfo
from .writer import ColumnWriter
from .writing import StoreWriter

__all__ = [
    "ColumnWriter",
    "CompactSummary",
    "EmbeddingStore",
    "FileSystem",
    "MemoryStores",
    "SealedStore",
    "ShardRun",
    "ShardedStore",
    "StoreInfo",
    "StoreWriter",
    "categories_are_sound",
    "compact_store",
    "create_store",
    "fits",
    "is_hdf5_file",
    "is_store_directory",
    "key_is_sound",
    "model_mismatch",
    "open_store",
    "row_is_sound",
    "vector_settings",
]
