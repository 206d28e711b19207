"""`Hdf5Stores`: stores as files and directories, and the run that writes one segment by segment.

One commit: build the arrays in memory → temporary file → fsync → rename → fsync of the directory →
the manifest in the same way. What is committed stays, and the next run goes on from there: it keeps
each segment whose rows all came out the same, as it is.
"""

from __future__ import annotations

import os
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from msgspec.structs import replace

from ..errors import (
    StoreCorruptError,
    StoreExistsError,
    StoreForeignError,
    StoreNotFoundError,
    StoreUnfinishedError,
    StoreWriteError,
    UsageError,
)
from ..files import FileSystem, checked_free_bytes, identity_at, publish, write_errors
from ..place import SEGMENT_FOLDER, StorePlace
from ..records import Categories, ItemRecord
from ..tally import counted
from ..vectors import VectorKind
from .backend import COMMIT_ROWS, StoreBackend, StoreWriter
from .codec import Array, ArrayPart, ColumnBuilder, Part, Vector, head_arrays
from .hdf5 import file_image
from .journal import (
    MAX_PASSED_BYTES,
    Journal,
    Manifest,
    Segment,
    SegmentFolder,
    open_store,
    segment_is_sound,
)
from .schema import array_specs, child_tables
from .table import EmbeddingStore

COMMIT_SECONDS = 60.0
_MAX_NAMED = 5


class Hdf5Stores(StoreBackend):
    """One HDF5 file for each store, or a directory of them; see docs/store-format.md.

    Every write goes through `files`.
    """

    def __init__(self, files: FileSystem | None = None) -> None:
        self.files = files or FileSystem()

    def check(self, path: str | os.PathLike[str]) -> None:
        StorePlace.of(path).check()

    def open(self, path: str | os.PathLike[str], *, partial: bool = False) -> EmbeddingStore:
        return open_store(path, partial=partial)

    def begin(self, path: str | os.PathLike[str], kind: VectorKind, **options: Any) -> Hdf5Run:
        """See `StoreBackend.begin`, and `Hdf5Run` for more options."""
        place = StorePlace.of(path)
        place.check()
        return Hdf5Run(place, kind, files=self.files, **options)


class Hdf5Run(StoreWriter):
    """A run in a store directory; leaving it before it is sealed keeps what was committed.

    `restart`, `n_expected` and `commit_rows` are those of `StoreBackend.begin`, `purpose` that of
    `Manifest`. A segment is committed when it is full, or a minute after its first row.

    Raises `StoreLockedError`; `ModelMismatchError`: what is there was made by another model, or an
    unfinished run computes vectors otherwise, and nothing was changed; `StoreCorruptError`,
    `StoreForeignError`, `StoreWriteError`.
    """

    def __init__(
        self,
        place: StorePlace,
        kind: VectorKind,
        *,
        files: FileSystem,
        restart: bool = False,
        n_expected: int = 0,
        commit_rows: int = COMMIT_ROWS,
        purpose: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.target = os.fspath(place.target)
        self._place, self._kind, self.files = place, kind, files
        self._commit_rows, self._clock = commit_rows, clock
        facts = kind.model, kind.fingerprint, kind.dtype, kind.dim, kind.settings
        self._new = Manifest(uuid.uuid4().hex, *facts, purpose=purpose, n_expected=n_expected)
        self._builder = ColumnBuilder(kind)
        self._began: float | None = None
        self._categories: tuple[Categories, Vector | None] = Categories(), None
        self._keep: deque[Segment] = deque()
        self._opened: list[EmbeddingStore] = []
        self._ended = False
        self._journal = Journal(place.directory, files, store=place.target, restart=restart)
        try:
            self._identity = identity_at(self.target)
            self._take_over(restart=restart)
            # Refuse to begin what cannot end: the vectors must fit, and twice for a file.
            n_rows = max(n_expected - self.n_committed, 0)
            n_rows += 0 if place.keeps_segments else n_expected
            n_bytes = n_rows * kind.dim * np.dtype(kind.dtype).itemsize
            checked_free_bytes(place.directory / SEGMENT_FOLDER, n_bytes, files)
        except BaseException:
            self.abort()
            raise

    # What is there already -------------------------------------------------------------------

    def _take_over(self, *, restart: bool) -> None:
        """Keep what an earlier run left, and find the vectors that may be re-used."""
        journal, keeps_segments = self._journal, self._place.keeps_segments
        old = journal.unfinished
        # Copies of rows are made again; a run that took nothing over goes on with its like alone.
        if old and (old.purpose or (restart and not (old.restarted and old.kind.fits(self._kind)))):
            journal.forget_unfinished()
            old = None
        if not restart:
            if old and not old.kind.fits(self._kind):
                raise old.kind.mismatch(
                    f"{self.target} (an unfinished run)",
                    self._kind,
                    "Finish that run with its own options first, or use ``restart`` to replace it.",
                )
            restart = old is not None and old.restarted
            self.before = None if restart or self._identity is None else self._open_before()
            for found in (journal.finished, self.before):
                if found is not None and not found.kind.same_model(self._kind):
                    remedy = "Choose another path, or use ``restart`` to replace it."
                    raise found.kind.mismatch(self.target, self._kind, remedy)
        journal.clean()
        finished = journal.finished if keeps_segments and not restart else None
        manifests = [m for m in (old, finished) if m and m.kind.fits(self._kind)]
        named = dict.fromkeys(s for m in manifests for s in (*m.segments, *m.spare))
        damaged = [s for s in named if not segment_is_sound(journal.path, s)]
        sound = [s for s in named if s not in damaged]
        self._keep.extend(s for m in manifests[:1] for s in m.segments if s in sound and s.n_rows)
        n_expected = self._new.n_expected
        self._new = replace(self._new, restarted=restart)
        if old:
            spare = tuple(s for s in old.spare if s in sound)
            self._new = replace(old, segments=(), spare=spare, head=None, n_expected=n_expected)
        self.earlier = [self._own_store(sound)] if sound else []
        if self.before is not None and not keeps_segments and self.before.kind.fits(self._kind):
            self.earlier.append(self.before)
        self.notes = list(self._opening_notes(damaged))

    def _open_before(self) -> EmbeddingStore | None:
        """Open the finished store that this run will replace."""
        try:
            before = open_store(self.target)
        except (StoreNotFoundError, StoreUnfinishedError):
            return None
        except (StoreCorruptError, StoreForeignError) as error:
            is_damaged = isinstance(error, StoreCorruptError)
            # Of a directory the run takes what is sound; a new one has no manifest yet.
            if self._place.keeps_segments and (is_damaged or self._journal.finished is None):
                return None
            raise
        self._opened.append(before)
        return before

    def _opening_notes(self, damaged: Sequence[Segment]) -> Iterator[str]:
        if damaged:
            names = ", ".join(segment.name for segment in damaged[:_MAX_NAMED])
            yield (
                f"{counted(len(damaged), 'damaged segments are')} left out and embedded again: "
                f"{names}"
            )
        if self.n_committed:
            kept = counted(self.n_committed, "rows are")
            yield f"{kept} kept from an earlier run, which continues now."
        elif self.before is not None:
            same = self.before.kind.fits(self._kind)
            kept = (
                "unchanged images are not embedded again"
                if same
                else f"they are {self.before.kind}, but this run makes {self._kind}, so every "
                "image is embedded again"
            )
            yield f"'{self.target}' has {counted(self.before.n_rows, 'rows')}; {kept}."

    def _own_store(self, segments: Sequence[Segment], **options: Any) -> EmbeddingStore:
        """Open segments whose SHA-256 this run has compared, or has made."""
        folder = SegmentFolder(self._journal.path, self._kind, **options)
        store = folder.store(segments, path=self.target, trusted=True)
        self._opened.append(store)
        return store

    @property
    def n_committed(self) -> int:  # type: ignore[override]
        """Rows that an interruption would not lose, those not yet compared with the dataset too."""
        return sum(segment.n_rows for segment in (*self._new.segments, *self._keep))

    # Rows ------------------------------------------------------------------------------------

    def append(self, record: ItemRecord, vector: Vector | None, *, reused: bool = False) -> None:
        self._refuse_ended()
        self._builder.append(record, vector)
        if self._keep and not reused and vector is not None:
            self._demote()  # a new vector: this segment differs, and must be committed in its time
        if not self._keep:
            self._commit_if_due()
        elif self._builder.n_rows == self._keep[0].n_rows:
            # The last row of an old segment, which is kept if all its rows came out the same. Every
            # value is compared, so that no chance of a checksum is taken.
            new: Any = self._builder.arrays()
            old: Any = SegmentFolder(self._journal.path, self._kind).open(self._keep[0])
            tables = ("items", *child_tables())
            paths = [path for path, spec in array_specs().items() if spec.table in tables]
            same = all(np.array_equal(new.get(path), old.array(path)) for path in paths)
            old.close()
            if same:
                self._go_on_after(self._keep.popleft())
            else:
                self._demote()

    def extend(
        self, store: EmbeddingStore, first: int, stop: int, *, labels: Array | None = None
    ) -> None:
        """Add rows of another store as they are; see `ColumnBuilder.extend`."""
        while first < stop:
            self._refuse_ended()
            end = min(stop, first + self._commit_rows - self._builder.n_rows)
            self._builder.extend(store, first, end, labels=labels)
            self._commit_if_due()
            first = end

    def _commit_if_due(self) -> None:
        now = self._clock()
        self._began = now if self._began is None else self._began
        if self._builder.n_rows >= self._commit_rows or now - self._began >= COMMIT_SECONDS:
            self._commit()

    def _demote(self) -> None:
        """Segments from here on differ from the dataset: they stay as sources of vectors only."""
        self._new = replace(self._new, spare=(*self._new.spare, *self._keep))
        self._keep.clear()

    def _go_on_after(self, segment: Segment, *, save: bool = False) -> None:
        new = replace(self._new, segments=(*self._new.segments, segment))
        if save:
            self._journal.save(new)
        self._new, self._began = new, None
        self._builder = ColumnBuilder(self._kind, after=self._builder)

    def _commit(self) -> None:
        """Commit the rows so far as a segment; where that fails, they can be committed again."""
        self._go_on_after(self._journal.commit_file(self._built()), save=True)

    def _built(self) -> EmbeddingStore:
        """Return the rows of no segment yet."""
        arrays = self._builder.arrays()
        return EmbeddingStore.of(ArrayPart(arrays, self._kind, self._new.uuid, self.target))

    def _refuse_ended(self) -> None:
        if self._ended:
            raise UsageError(f"The run that writes '{self.target}' has ended. Start a new one.")

    def set_categories(self, categories: Categories, embedding: Vector | None = None) -> None:
        self._refuse_ended()
        head_arrays(categories, embedding, {}, self._kind.dim)
        self._categories = categories, embedding

    # The end ---------------------------------------------------------------------------------

    def suspend(self) -> int:
        # While rows still repeat an old segment, that segment has them already.
        if self._builder.n_rows and not self._keep:
            self._commit()
        return self.n_committed

    def seal(self, provenance: Mapping[str, Any]) -> None:
        self._refuse_ended()
        head = head_arrays(*self._categories, provenance, self._kind.dim)
        if self._keep:
            self._demote()  # segments beyond the last row are of items that are gone
        if self._place.keeps_segments:
            self.suspend()
            segment = self._journal.commit_file(self._built(), head)
            self._journal.save(replace(self._new, head=segment, spare=(), n_expected=0))
            self._journal.finish()
            self.abort()  # there is nothing more to do
            return

        # Write all rows as one file, also those of no segment yet, and remove the directory.
        if identity_at(self.target) != self._identity:
            raise StoreExistsError(
                f"Another program has written '{self.target}' during this run. Move that "
                "store away, and run the same command again.",
                path=self.target,
            )
        if self._journal.unfinished != self._new:
            # A process killed from here on leaves a manifest by which the file is known as its own.
            self._journal.save(self._new)
        parts: list[Part] = []
        if segments := self._new.segments:
            parts += self._own_store(segments, max_mapped_bytes=MAX_PASSED_BYTES).parts
        if self._builder.n_rows or not parts:
            parts += self._built().parts
        rows = EmbeddingStore(parts, path=self.target, kind=self._kind, uuid=self._new.uuid)
        size_bytes, blocks = file_image(rows, head, self._new.uuid)
        try:
            publish(self._place.target, blocks, size_bytes, self.files, work=self._journal.path)
        except StoreWriteError:
            with suppress(StoreWriteError):
                self.suspend()  # there may be room for these rows, where there is none for all
            raise
        self._journal.save(replace(self._new, segments=(), spare=(), n_expected=0))
        with write_errors(self._journal.path):
            self._journal.clean()
        self._journal.forget_unfinished()
        self.abort()

    def discard(self) -> None:
        """Drop what this run committed too; a finished store in the directory stays.

        Raises `StoreWriteError`.
        """
        self._journal.forget_unfinished()

    def abort(self) -> None:
        if self._ended:
            return
        self._ended = True
        for store in self._opened:
            store.close()
        self._journal.leave()
