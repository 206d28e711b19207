"""Both backends of ours keep the public contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from datumaro_embed.store import (
    EmbeddingStore,
    MemoryStores,
    StoreWriter,
    create_store,
    open_store,
)
from datumaro_embed.testing import StoreContract


class TestSealedFile(StoreContract):
    def create(self, path: Path, **options: Any) -> StoreWriter:
        return create_store(path, **options)

    def open(self, path: Path) -> EmbeddingStore:
        return open_store(path)


class TestMemory(StoreContract):
    @pytest.fixture(autouse=True)
    def place(self) -> None:
        self.stores = MemoryStores()

    def create(self, path: Path, **options: Any) -> StoreWriter:
        return self.stores.create(path, **options)

    def open(self, path: Path) -> EmbeddingStore:
        return self.stores.open(path)
