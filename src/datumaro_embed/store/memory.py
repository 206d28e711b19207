"""Stores in memory: for tests, and as the shortest example of a backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt

from ..errors import StoreExistsError, StoreNotFoundError
from .base import EmbeddingStore
from .views import StoreInfo
from .writer import ColumnWriter
from .writing import StoreWriter

__all__ = ["MemoryStores"]

Arrays = dict[str, npt.NDArray[Any]]


class MemoryStores:
    """A place for stores, by name, that ends with the process."""

    def __init__(self) -> None:
        self._sealed: dict[str, tuple[Arrays, StoreInfo]] = {}

    def create(
        self,
        path: str | Path,
        *,
        dim: int,
        dtype: str = "float16",
        run_fingerprint: str = "",
        overwrite: bool = False,
    ) -> StoreWriter:
        """As `create_store`."""
        return _MemoryWriter(self, str(path), dim, dtype, run_fingerprint, overwrite)

    def open(self, path: str | Path) -> EmbeddingStore:
        """As `open_store`."""
        if str(path) not in self._sealed:
            raise StoreNotFoundError(f"No store '{path}'; check the name.", path=str(path))
        return _MemoryStore(*self._sealed[str(path)])


class _MemoryWriter(ColumnWriter):
    def __init__(
        self,
        stores: MemoryStores,
        path: str,
        dim: int,
        dtype: str,
        run_fingerprint: str,
        overwrite: bool,
    ) -> None:
        super().__init__(path, dim=dim, dtype=dtype, run_fingerprint=run_fingerprint)
        self._sealed = stores._sealed
        self._overwrite = overwrite
        self._refuse_existing()

    def _refuse_existing(self) -> None:
        if not self._overwrite and self._path in self._sealed:
            raise StoreExistsError(
                f"There is a store '{self._path}'; choose another name or overwrite.",
                path=self._path,
            )

    def _publish(self, arrays: Arrays, info: StoreInfo) -> None:
        self._refuse_existing()
        self._sealed[self._path] = arrays, info


class _MemoryStore(EmbeddingStore):
    def __init__(self, arrays: Arrays, info: StoreInfo) -> None:
        super().__init__()
        self._arrays = arrays
        self._info = info

    @property
    def info(self) -> StoreInfo:
        return self._info

    def _load(self, path: str) -> npt.NDArray[Any] | None:
        return self._arrays.get(path)

    def _close(self) -> None:
        self._arrays = {}
