"""Every backend of ours keeps the public contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from datumaro_embed.errors import StoreReplacedError
from datumaro_embed.store import (
    EmbeddingStore,
    Hdf5Stores,
    StoreBackend,
    StoreWriter,
)
from datumaro_embed.testing import MemoryStores, StoreContract
from datumaro_embed.vectors import VectorKind


class TestSealedFile(StoreContract):
    @pytest.fixture
    def backend(self) -> StoreBackend:
        return Hdf5Stores()


class TestManyParts(StoreContract):
    """A directory whose segments have two rows each."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "made" / "store.h5" / "many"

    @pytest.fixture
    def backend(self) -> StoreBackend:
        return Hdf5Stores()

    def create(self, path: Path, *, restart: bool = False, **kind: Any) -> StoreWriter:
        return Hdf5Stores().begin(path, VectorKind(**kind), restart=restart, commit_rows=2)

    def test_nothing_is_left_behind(self, path: Path) -> None:  # what was committed is
        with self.create(path, dim=self.DIM) as run:
            for record, vector in zip(self.plain("a", "b", "c"), self.vectors(3), strict=True):
                run.append(record, vector)
        with self.open_partly(path) as store:
            assert [key.id for key in store.keys()] == ["a", "b"]

    def test_overwriting_on_purpose(self, path: Path) -> None:
        with self.sealed(path, self.plain("a")) as before:
            with self.sealed(path, self.plain("b", "c"), restart=True) as store:
                assert [store.key(row).id for row in range(2)] == ["b", "c"]
            with pytest.raises(StoreReplacedError):
                before.item(0)

    def open_partly(self, path: Path) -> EmbeddingStore:
        return Hdf5Stores().open(path, partial=True)


class TestMemory(StoreContract):
    @pytest.fixture
    def backend(self) -> StoreBackend:
        return MemoryStores()
