"""The contract of a backend: `StoreBackend` opens stores and begins runs, `StoreWriter` is a run.

A reader is an `EmbeddingStore` over parts that the backend makes (`ArrayPart` holds arrays in
memory). `datumaro_embed.testing` has the shortest example, `MemoryStores`, and `StoreContract`,
which tests any backend.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ..records import Categories, ItemRecord
from ..vectors import VectorKind
from .codec import Vector
from .table import EmbeddingStore

COMMIT_ROWS = 8_192

Path = str | os.PathLike[str]
Self = TypeVar("Self", bound="StoreWriter")


class StoreWriter(ABC):
    """Takes rows in ascending key order, and makes them a store all at once.

    A context manager: leaving it before `seal` lets go of the place; what was committed stays.
    """

    target: str
    """Path of the store to be."""
    before: EmbeddingStore | None = None
    """The finished store that `seal` replaces."""
    earlier: Sequence[EmbeddingStore] = ()
    """Vectors of the same kind that may be taken over: of `before`, and of a run that did not end.
    The order of their rows means nothing. Open for as long as the writer."""
    n_committed: int = 0
    """Rows that are safe from a crash, those of an earlier run included."""
    notes: Sequence[str] = ()
    """What the user should know about what is there, a line each."""

    @abstractmethod
    def append(self, record: ItemRecord, vector: Vector | None, *, reused: bool = False) -> None:
        """Add one row, whose key is above that of every row before.

        Strings compare by code point. Either all rows have `objects` (`captions`) or none has; each
        brings its vector, under the same rules.

        `vector` has shape (dim,), float32, norm 1 within 1e-3 (of float16 for a float16 store, as
        read from another: within 4e-3); it is None exactly where the status is not OK: a zero
        vector is stored. A row is `reused` if all its vectors are of `earlier`.

        Raises `UsageError`, with `key`, where order, shape, norm or a field's range is wrong; the
        writer is as before the call and takes further rows.
        """

    @abstractmethod
    def set_categories(self, categories: Categories, embedding: Vector | None = None) -> None:
        """Give the label names, and one vector for each; once, at any time before `seal`.

        `embedding` has shape (n_labels, dim), float32, rows of norm 1; other shapes and norms are a
        `UsageError`.
        """

    def suspend(self) -> int:
        """Commit every row that was appended, if the backend can; the next run goes on from there.

        Returns `n_committed`; raises `StoreWriteError`.
        """
        return self.n_committed

    @abstractmethod
    def seal(self, provenance: Mapping[str, Any]) -> None:
        """Make all rows the store; the writer takes no more.

        `provenance` tells in JSON values how the vectors were made.

        Raises `StoreWriteError`: the operating system refuses; what was there before is untouched,
        and the rows are kept: make room and call `seal` again; `StoreExistsError`: something came
        into the way since the writer was made.
        """

    @abstractmethod
    def abort(self) -> None:
        """Let go of the place; rows that are not committed are lost. Does nothing twice."""

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()


class StoreBackend(ABC):
    """Where stores are kept."""

    def check(self, path: Path) -> None:  # noqa: B027 - most backends take any name
        """Refuse a path that cannot become a store; leaves nothing behind.

        Raises `UsageError`, `StoreExistsError`, `StoreWriteError`.
        """

    @abstractmethod
    def open(self, path: Path, *, partial: bool = False) -> EmbeddingStore:
        """Open a store for reading; an unfinished one only if `partial`: the rows committed so far.

        Raises `StoreNotFoundError`, `StoreUnfinishedError`.
        """

    @abstractmethod
    def begin(
        self,
        path: Path,
        kind: VectorKind,
        *,
        restart: bool = False,
        n_expected: int = 0,
        commit_rows: int = COMMIT_ROWS,
    ) -> StoreWriter:
        """Begin or go on with a run that makes a store, or replaces one.

        To `restart` takes over nothing that is there. `n_expected` rows are to come, 0 where nobody
        knows. A crash loses at most `commit_rows` rows, or those of one minute.

        Raises `ModelMismatchError`: what is there has vectors of another model.
        """
