"""Every backend of ours keeps the public contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt
import pytest

from datumaro_embed.errors import StoreExistsError, StoreReplacedError
from datumaro_embed.records import Status
from datumaro_embed.store import (
    ColumnWriter,
    EmbeddingStore,
    MemoryStores,
    ShardRun,
    StoreInfo,
    StoreWriter,
    create_store,
    is_store_directory,
    open_store,
)
from datumaro_embed.store.memory import _MemoryStore
from datumaro_embed.testing import StoreContract


class TestSealedFile(StoreContract):
    def create(self, path: Path, **options: Any) -> StoreWriter:
        return create_store(path, **options)

    def open(self, path: Path) -> EmbeddingStore:
        return open_store(path)


class _Split(ColumnWriter):
    """Writes a directory whose shards have two rows each."""

    def __init__(self, path: Path, *, overwrite: bool = False, **options: Any) -> None:
        super().__init__(str(path), **options)
        self._overwrite = overwrite
        self._refuse_existing()

    def _refuse_existing(self) -> None:
        if is_store_directory(Path(self._path)) and not self._overwrite:
            raise StoreExistsError(f"'{self._path}' exists.", path=self._path)

    def _publish(self, arrays: dict[str, npt.NDArray[Any]], info: StoreInfo) -> None:
        self._refuse_existing()
        run = ShardRun(
            Path(self._path),
            dim=info.dim,
            dtype=info.dtype.name,
            run_fingerprint=info.run_fingerprint,
            shard_rows=2,
        )
        with run, _MemoryStore(arrays, info) as rows:
            for row in range(len(rows)):
                record = rows.item(row)
                vector = rows.embeddings([row])[0] if record.status == Status.OK else None
                run.append(record, vector)
            run.set_categories(rows.categories, rows.label_embeddings)
            run.seal(rows.provenance)


class TestDirectory(StoreContract):
    def create(self, path: Path, **options: Any) -> StoreWriter:
        return _Split(path, **options)

    def open(self, path: Path) -> EmbeddingStore:
        return open_store(path)

    def test_overwriting_on_purpose(self, path: Path) -> None:
        """Shards that are replaced are removed: who has the store open must open it again."""
        with self.sealed(path, self.plain("a")) as before:
            with self.sealed(path, self.plain("b", "c"), overwrite=True) as store:
                assert [store.key(row).id for row in range(2)] == ["b", "c"]
            with pytest.raises(StoreReplacedError, match="Open it again"):
                before.item(0)


class TestMemory(StoreContract):
    @pytest.fixture(autouse=True)
    def place(self) -> None:
        self.stores = MemoryStores()

    def create(self, path: Path, **options: Any) -> StoreWriter:
        return self.stores.create(path, **options)

    def open(self, path: Path) -> EmbeddingStore:
        return self.stores.open(path)
