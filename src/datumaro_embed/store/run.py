"""`ShardRun` writes a store shard by shard: what is committed stays, and the next run goes on.

One commit: build the arrays in memory → temporary file → fsync → rename → fsync of the directory →
the manifest in the same way. A run over what is there already keeps each shard whose rows all came
out the same, as it is.
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import StoreWriteError, UsageError
from ..records import Categories, ItemRecord
from .columns import Arrays, ColumnBuilder
from .directory import RunDirectory
from .files import FileSystem, write_errors
from .finish import publish_sealed
from .kept import earlier_runs, refuse_other_model, refuse_other_writers, same_rows
from .manifest import Manifest, Part
from .reader import SealedStore
from .settings import stated
from .shards import ShardFiles
from .union import Union, whole
from .writer import check_text
from .writing import StoreWriter

__all__ = ["SHARD_ROWS", "SHARD_SECONDS", "ShardRun"]

SHARD_ROWS = 8_192
SHARD_SECONDS = 60.0


class ShardRun(StoreWriter):
    """A run in a store directory; leaving it before it is finished keeps what was committed.

    Parameters
    ----------
    directory : Path
    dim, dtype, run_fingerprint
        As for `create_store`.
    vector_settings : str
        How vectors are computed (see settings.py), kept in the provenance; those of other settings
        are not taken over.
    model : str
        Name of the model, for messages.
    restart : bool
        Forget what an unfinished run committed, and keep nothing of a finished store; readers see
        the finished one until this run is finished.
    store : Path, optional
        What messages call it.
    files : FileSystem, optional
    writer : str
        Letters, digits and underscores: of several that fill one directory in turn.
    shard_rows : int
    shard_seconds : float
        A shard is committed when it is full, or so long after its first row.
    purpose, n_expected
        As in `Manifest`.

    Attributes
    ----------
    damaged : list of str
        Shards whose SHA-256 was wrong; their rows must be made again.

    Raises
    ------
    StoreLockedError
    ModelMismatchError
        What is there was made by another model; nothing was changed.
    UsageError
        The same of an unfinished run's type of vectors, or settings.
    StoreCorruptError, StoreForeignError, StoreWriteError
    """

    def __init__(
        self,
        directory: Path,
        *,
        dim: int,
        dtype: str = "float16",
        run_fingerprint: str = "",
        vector_settings: str = "",
        model: str = "",
        restart: bool = False,
        store: Path | None = None,
        files: FileSystem | None = None,
        writer: str = "0",
        shard_rows: int = SHARD_ROWS,
        shard_seconds: float = SHARD_SECONDS,
        purpose: str = "",
        n_expected: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_text("run_fingerprint", run_fingerprint)
        check_text("vector_settings", vector_settings)
        self._new = Manifest(
            *(uuid.uuid4().hex, model, run_fingerprint, dtype, dim),
            vector_settings=vector_settings,
            purpose=purpose,
            n_expected=n_expected,
        )
        self._builder = ColumnBuilder(dim, dtype)
        self._header: ColumnBuilder | None = ColumnBuilder(dim, dtype)
        self._place = store or directory
        self._shard_rows, self._shard_seconds, self._clock = shard_rows, shard_seconds, clock
        self._began: float | None = None
        self._sources: tuple[Part, ...] = ()
        self._keep: deque[Part] = deque()
        self.damaged: list[str] = []
        self._directory = RunDirectory(
            directory, files or FileSystem(), writer=writer, store=store, restart=restart
        )
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="datumaro-embed-commit")
        self._commit: Future[None] | None = None
        self._opened: dict[str, SealedStore] = {}
        try:
            self._begin(restart)
        except BaseException:
            self.abort()
            raise

    def _begin(self, restart: bool) -> None:
        directory = self._directory
        if restart or (directory.unfinished and directory.unfinished.purpose):
            directory.forget_unfinished()
        if not restart:
            refuse_other_model(self._place, self._new, directory.finished, directory.unfinished)
        refuse_other_writers(self._place, self._new, directory.others())
        directory.clean()
        earlier = earlier_runs(directory, self._new, restart=restart)
        self.damaged.extend(earlier.damaged)
        self._sources = earlier.sources
        self._keep.extend(part for part in earlier.rows if part.n_rows)
        if directory.unfinished:
            self._new = replace(
                directory.unfinished,
                head=None,
                shards=(),
                spare=earlier.spare,
                n_expected=self._new.n_expected,
            )

    @property
    def sources(self) -> ShardFiles:
        """Shards of earlier runs, verified, of the same model; there for as long as this one."""
        return self._files(self._sources)

    def _files(self, parts: Iterable[Part], **options: Any) -> ShardFiles:
        places = [(self._directory.path, part, self._new) for part in parts]
        return ShardFiles(places, self._opened, **options)

    @property
    def files(self) -> FileSystem:
        """The seam that every write goes through."""
        return self._directory.files

    @property
    def has_finished_store(self) -> bool:
        """Whether an earlier run was sealed in the directory."""
        return self._directory.finished is not None

    @property
    def n_committed(self) -> int:
        """Rows that an interruption would not lose, those not yet compared with the dataset too."""
        return self._new.n_rows + sum(part.n_rows for part in self._keep)

    def append(
        self,
        record: ItemRecord,
        vector: npt.NDArray[np.floating[Any]] | None,
        *,
        fresh: bool = True,
    ) -> None:
        """See `StoreWriter.append`.

        Parameters
        ----------
        fresh : bool
            False where the vector was taken from `sources`.
        """
        self._raise_failed_commit()
        self._builder.append(record, vector)
        self._began = self._clock() if self._began is None else self._began
        if self._keep and fresh and vector is not None:
            self._demote()
        if self._keep:
            if self._builder.n_rows == self._keep[0].n_rows:
                self._keep_or_demote()
        elif (
            self._builder.n_rows >= self._shard_rows
            or self._clock() - self._began >= self._shard_seconds
        ):
            self._commit_in_background()

    def _keep_or_demote(self) -> None:
        """At the last row of an old shard: keep it if the rows came out the same."""
        arrays = self._builder.finish({})
        old = self._files([self._keep[0]])[0]
        if not same_rows(arrays, old):
            self._demote()
            return
        self._new = replace(self._new, shards=(*self._new.shards, self._keep.popleft()))
        self._next_builder()

    def _demote(self) -> None:
        """Shards from here on differ from the dataset: they stay as sources of vectors only."""
        spare = (*self._new.spare, *(part for part in self._keep))
        self._new = replace(self._new, spare=spare)
        self._keep.clear()

    def _next_builder(self) -> None:
        self._builder = self._builder.successor()
        self._began = None

    def _commit_in_background(self) -> None:
        """Hand the rows over; waits for the commit before it, so at most two shards are held."""
        self._wait()
        arrays = self._builder.finish(stated(self._new.vector_settings))
        self._next_builder()
        self._commit = self._pool.submit(self._commit_shard, arrays)

    def _commit_shard(self, arrays: Arrays) -> None:
        part = self._directory.commit_file(arrays, self._new.run_fingerprint)
        new = replace(self._new, shards=(*self._new.shards, part))
        self._directory.save(new)
        self._new = new

    def _wait(self) -> None:
        commit, self._commit = self._commit, None
        if commit is not None:
            commit.result()

    def _raise_failed_commit(self) -> None:
        if self._header is None:
            raise UsageError(f"The run in '{self._place}' has ended; make a new one.")
        if self._commit is not None and self._commit.done():
            self._wait()

    def set_categories(
        self, categories: Categories, embedding: npt.NDArray[np.floating[Any]] | None = None
    ) -> None:
        """See `StoreWriter.set_categories`."""
        if self._header is not None:
            self._header.set_categories(categories, embedding)

    def suspend(self) -> int:
        """Commit every row that was appended; the next run goes on from there.

        Returns
        -------
        int
            Rows that are committed.

        Raises
        ------
        StoreWriteError
        """
        self._wait()
        # While rows still repeat an old shard, that shard has them already.
        if self._builder.n_rows and not self._keep:
            self._commit_in_background()
            self._wait()
        return self.n_committed

    def _flush(self) -> None:
        """Commit the last rows; old shards beyond them are of items that are gone."""
        self._raise_failed_commit()
        if self._keep:
            self._demote()
        self.suspend()

    def seal(self, provenance: Mapping[str, Any]) -> None:
        """Make these rows the store of the directory: readers see all of them from now on.

        Raises
        ------
        StoreWriteError
            What was committed stays; the same run again goes on from it.
        """
        self._flush()
        head = self._directory.commit_file(self._head_arrays(provenance), self._new.run_fingerprint)
        self._directory.save(replace(self._new, head=head, spare=(), n_expected=0))
        self._directory.finish()
        self._end()

    def publish(
        self,
        target: Path,
        provenance: Mapping[str, Any],
        *,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Write all rows as one sealed file at `target`, and remove the directory.

        Parameters
        ----------
        check : callable
            Called just before; raises where the target may not be replaced.

        Raises
        ------
        StoreWriteError
            Everything committed is still there; the same run again publishes it.
        """
        self._flush()
        if not self._new.shards:  # a shard of the dataset without items: a file without rows
            self._commit_in_background()
            self._wait()
        check()
        directory = self._directory.path
        shards = self._files(self._new.shards, max_mapped=1)
        union = Union(shards, whole([part.n_rows for part in self._new.shards]))
        head = self._head_arrays(provenance)
        publish_sealed(
            *(target, union, head, self._new.run_fingerprint, self.files),
            store_uuid=self._new.uuid,
            workspace=directory,
        )
        # A process killed from here on leaves a manifest by which the file is known as its own.
        self._directory.save(replace(self._new, shards=(), spare=(), n_expected=0))
        with write_errors(directory):
            self._directory.clean()
        self._directory.forget_unfinished()
        self._end()

    def _head_arrays(self, provenance: Mapping[str, Any]) -> Arrays:
        assert self._header is not None
        return self._header.finish({**provenance, **stated(self._new.vector_settings)})

    def discard(self) -> None:
        """Drop what this run committed too; a finished store in the directory stays.

        Raises
        ------
        StoreWriteError
        """
        with suppress(StoreWriteError):
            self._wait()
        self._directory.forget_unfinished()

    def abort(self) -> None:
        """Drop rows that are not committed and let go of the directory; does nothing twice."""
        if self._header is not None:
            self._end()

    def _end(self) -> None:
        self._header = None
        for store in self._opened.values():
            store.close()
        self._opened.clear()
        self._pool.shutdown(wait=True)
        self._directory.leave()
