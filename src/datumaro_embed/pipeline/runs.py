"""One run at a place: what is taken from before, what is kept when it fails, how it finishes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..encoders import Encoder
from ..errors import (
    DatumaroEmbedError,
    RunInterruptedError,
    StoreExistsError,
    StoreNotFoundError,
    StoreWriteError,
)
from ..place import StorePlace
from ..records import Categories, ItemRecord
from ..store import (
    EmbeddingStore,
    SealedStore,
    ShardedStore,
    ShardRun,
    model_mismatch,
    open_store,
    row_is_sound,
)
from ..store.files import checked_free_bytes
from .reuse import Changes, KnownVectors

__all__ = ["StoreRun"]


class RunOptions(Protocol):
    """How rows are stored, and whether anything is taken from before."""

    @property
    def dtype(self) -> str: ...
    @property
    def shard_rows(self) -> int: ...
    @property
    def restart(self) -> bool: ...


class StoreRun:
    """A run of the pipeline at a place; a context manager that lets go of it.

    Parameters
    ----------
    place : StorePlace
    encoder : Encoder
    options : RunOptions
        Of `EmbedOptions`, what a run needs.
    n_items : int
        Rows that the store will have.
    open_run : callable
        `ShardRun`, or something that makes one.

    Attributes
    ----------
    known : KnownVectors
    changes : Changes

    Raises
    ------
    StoreLockedError, ModelMismatchError, StoreWriteError
    """

    def __init__(
        self,
        place: StorePlace,
        encoder: Encoder,
        options: RunOptions,
        n_items: int,
        open_run: Callable[..., ShardRun] = ShardRun,
    ) -> None:
        self._place = place
        self._run = open_run(
            place.directory,
            dim=encoder.dim,
            dtype=options.dtype,
            run_fingerprint=encoder.fingerprint,
            model=encoder.name,
            restart=options.restart,
            store=place.target,
            shard_rows=options.shard_rows,
        )
        try:
            self._identity = _identity(place)
            self._before = None if options.restart else self._open_before(encoder)
            self._check_room(n_items, encoder.dim * np.dtype(options.dtype).itemsize)
            self.changes = Changes(self._before)
            self.known = self._known(options.dtype)
        except BaseException:
            self._run.abort()
            raise

    def _open_before(self, encoder: Encoder) -> EmbeddingStore | None:
        """Open the finished store that this run will replace."""
        try:
            before = open_store(self._place.target)
        except StoreNotFoundError:
            return None
        except DatumaroEmbedError:
            if self._place.keeps_shards and not self._run.has_finished_store:
                return None
            raise
        if isinstance(before, ShardedStore) and not before.complete:
            return None
        if (before.run_fingerprint, before.dim) != (encoder.fingerprint, encoder.dim):
            name = str(before.provenance.get("model", {}).get("name", ""))
            raise model_mismatch(
                self._place.target,
                (name, before.run_fingerprint),
                (encoder.name, encoder.fingerprint),
            )
        return before

    def _known(self, dtype: str) -> KnownVectors:
        """Vectors of verified shards, and those rows of a finished file whose CRC is right."""
        before = self._before
        is_source = isinstance(before, SealedStore) and before.dtype.name == dtype
        return KnownVectors(
            self._run.sources,
            [before] if before is not None and is_source else [],
            is_sound=lambda store, row: store is not before or row_is_sound(store, row),
        )

    def _check_room(self, n_items: int, row_bytes: int) -> None:
        """Refuse to begin what cannot end: the vectors must fit, and twice for a file."""
        rows = max(n_items - self._run.n_committed, 0)
        rows += 0 if self._place.keeps_shards else n_items
        checked_free_bytes(self._place.directory / "shards", rows * row_bytes, self._run.files)

    def opening_lines(self) -> Iterator[str]:
        """Say what is there already."""
        if self._run.damaged:
            yield (
                f"{len(self._run.damaged)} damaged shards are left out, their items embedded "
                f"again: {', '.join(self._run.damaged[:5])}"
            )
        if self._run.n_committed:
            yield f"{self._run.n_committed:,} rows of an earlier run are kept; going on from there."
        elif self._before is not None:
            n_rows = self._before.n_rows
            yield f"'{self._place.target}' has {n_rows:,} rows; what is unchanged is kept."

    def append(
        self, record: ItemRecord, vector: npt.NDArray[np.float32] | None, *, reused: bool
    ) -> None:
        """Add the next row."""
        self._run.append(record, vector, fresh=not reused)
        self.changes.note(record.key, reused=reused)

    def set_categories(
        self, categories: Categories, embedding: npt.NDArray[np.float32] | None
    ) -> None:
        """Give the label names and their vectors."""
        self._run.set_categories(categories, embedding)

    def stop_if(self, received: int | None) -> None:
        """End the run where a signal asked for it.

        Raises
        ------
        RunInterruptedError
        """
        if received is not None:
            raise RunInterruptedError(
                f"Stopped by {signal.Signals(received).name}; nothing is lost.",
                exit_status=128 + received,
            )

    @contextmanager
    def keeping(self, notify: Callable[[str], None]) -> Iterator[None]:
        """Commit what was embedded where anything but a write goes wrong, and say how to go on."""
        try:
            yield
        except StoreWriteError:
            self._say_kept(notify, self._run.n_committed)
            raise
        except Exception:
            with suppress(StoreWriteError):
                self._say_kept(notify, self._run.suspend())
            raise

    def _say_kept(self, notify: Callable[[str], None], n_rows: int) -> None:
        if n_rows:
            notify(
                f"{n_rows:,} rows are kept in '{self._place.directory}'; the same command goes on "
                "from there."
            )

    def finish(self, provenance: Mapping[str, Any]) -> None:
        """Make the rows the store."""
        if self._place.keeps_shards:
            self._run.seal(provenance)
        else:
            self._run.publish(self._place.target, provenance, check=self._check_unchanged)

    def _check_unchanged(self) -> None:
        """Refuse to replace a file that came or changed while the run went on."""
        if _identity(self._place) != self._identity:
            raise StoreExistsError(
                f"'{self._place.target}' was written by another program meanwhile; move it away, "
                "and run the same command again.",
                path=str(self._place.target),
            )

    def __enter__(self) -> StoreRun:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._run.abort()
        if self._before is not None:
            self._before.close()


def _identity(place: StorePlace) -> tuple[int, int, int] | None:
    if place.keeps_shards or not os.path.lexists(place.target):
        return None
    found = place.target.lstat()
    return found.st_ino, found.st_size, found.st_mtime_ns
