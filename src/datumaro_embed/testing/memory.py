"""`MemoryStores`: a backend whose stores are gone with the process."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from typing import Any

from ..errors import StoreExistsError, StoreNotFoundError, UsageError
from ..records import Categories, ItemRecord
from ..store import COMMIT_ROWS, ArrayPart, EmbeddingStore, StoreBackend, StoreWriter
from ..store.codec import Arrays, ColumnBuilder, Vector, head_arrays
from ..vectors import VectorKind


class MemoryStores(StoreBackend):
    """Stores by name, gone with the process."""

    def __init__(self) -> None:
        self._sealed: dict[str, ArrayPart] = {}

    def open(self, path: str | os.PathLike[str], *, partial: bool = False) -> EmbeddingStore:  # noqa: ARG002
        part = self._sealed.get(os.fspath(path))
        if part is None:
            raise StoreNotFoundError(f"No store '{path}'. Check the name.", path=str(path))
        return EmbeddingStore.of(part)

    def begin(
        self,
        path: str | os.PathLike[str],
        kind: VectorKind,
        *,
        restart: bool = False,
        n_expected: int = 0,  # noqa: ARG002
        commit_rows: int = COMMIT_ROWS,  # noqa: ARG002
    ) -> StoreWriter:
        before = None
        if not restart and os.fspath(path) in self._sealed:
            before = self.open(path)
            if not before.kind.same_model(kind):
                raise before.kind.mismatch(path, kind, "Choose another name.")
        return _MemoryWriter(self._sealed, os.fspath(path), kind, before)


class _MemoryWriter(StoreWriter):
    def __init__(
        self,
        sealed: dict[str, ArrayPart],
        path: str,
        kind: VectorKind,
        before: EmbeddingStore | None,
    ) -> None:
        self._sealed, self.target, self._kind, self.before = sealed, path, kind, before
        self.earlier = [before] if before is not None and before.kind.fits(kind) else []
        self._was = sealed.get(path)
        self._builder: ColumnBuilder | None = ColumnBuilder(kind)
        self._categories: tuple[Categories, Vector | None] = Categories(), None

    def append(self, record: ItemRecord, vector: Vector | None, *, reused: bool = False) -> None:  # noqa: ARG002
        self._open_builder().append(record, vector)

    def set_categories(self, categories: Categories, embedding: Vector | None = None) -> None:
        self._open_builder()
        head_arrays(categories, embedding, {}, self._kind.dim)
        self._categories = categories, embedding

    def seal(self, provenance: Mapping[str, Any]) -> None:
        arrays: Arrays = self._open_builder().arrays()
        if self._sealed.get(self.target) is not self._was:
            raise StoreExistsError(
                f"Another run has made the store '{self.target}'. Choose another name.",
                path=self.target,
            )
        arrays |= head_arrays(*self._categories, provenance, self._kind.dim)
        self._sealed[self.target] = ArrayPart(arrays, self._kind, uuid.uuid4().hex, self.target)
        self._builder = None

    def abort(self) -> None:
        self._builder = None

    def _open_builder(self) -> ColumnBuilder:
        if self._builder is None:
            raise UsageError(f"The writer of '{self.target}' has ended. Start a new run.")
        return self._builder
