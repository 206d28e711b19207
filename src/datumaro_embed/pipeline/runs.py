"""One run at a place: what is taken from before, what is kept when it fails, how it finishes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..adapter import SourceDataset
from ..encoders import Encoder
from ..errors import (
    DatumaroEmbedError,
    StoreCorruptError,
    StoreExistsError,
    StoreNotFoundError,
    StoreUnfinishedError,
    StoreWriteError,
    StreamDisagreementError,
)
from ..place import StorePlace
from ..records import Categories, ItemRecord
from ..store import (
    EmbeddingStore,
    SealedStore,
    ShardedStore,
    ShardRun,
    fits,
    is_store_directory,
    model_mismatch,
    open_store,
    row_is_sound,
    vector_settings,
)
from ..store.files import checked_free_bytes
from ..tally import counted
from .options import EmbedOptions
from .reuse import Changes, KnownVectors

__all__ = ["StoreRun"]


class StoreRun:
    """A run of the pipeline at a place; a context manager that lets go of it.

    Parameters
    ----------
    place : StorePlace
    encoder : Encoder
    options : EmbedOptions
    n_items : int
        Rows that the store will have.
    open_run : callable
        `ShardRun`, or something that makes one.
    labels : sequence of str
        Names of the dataset's labels.

    Attributes
    ----------
    known : KnownVectors
    changes : Changes

    Raises
    ------
    StoreLockedError, ModelMismatchError, StoreWriteError, and those of `Encoder.confirm`
    """

    def __init__(
        self,
        place: StorePlace,
        encoder: Encoder,
        options: EmbedOptions,
        n_items: int,
        open_run: Callable[..., ShardRun] = ShardRun,
        *,
        labels: Sequence[str] = (),
    ) -> None:
        encoder.confirm()
        self._place = place
        self._encoder = encoder
        self._opened = ExitStack()
        self._dtype = options.dtype
        self._settings = vector_settings({**encoder.provenance(), **options.decoding()})
        self._run = open_run(
            place.directory,
            dim=encoder.dim,
            dtype=options.dtype,
            run_fingerprint=encoder.fingerprint,
            vector_settings=self._settings,
            model=encoder.name,
            restart=options.restart,
            store=place.target,
            shard_rows=options.shard_rows,
            n_expected=n_items,
        )
        try:
            self._identity = _identity(place)
            self._before = None if options.restart else self._open_before(encoder)
            self._whole = [] if options.restart else list(self._open_whole(encoder))
            self._check_room(n_items, encoder.dim * np.dtype(options.dtype).itemsize)
            self.changes = self._changes(labels)
            self.known = self._known()
        except BaseException:
            self._let_go()
            raise

    def _open_before(self, encoder: Encoder) -> EmbeddingStore | None:
        """Open the finished store that this run will replace."""
        try:
            before = self._opened.enter_context(open_store(self._place.target))
        except (StoreNotFoundError, StoreUnfinishedError):
            return None
        except DatumaroEmbedError as error:
            # Of a directory the run itself takes what is sound.
            is_damaged = isinstance(error, StoreCorruptError) or not self._run.has_finished_store
            if self._place.keeps_shards and is_damaged:
                return None
            raise
        _refuse_other_model(before, self._place.target, encoder)
        return before

    def _open_whole(self, encoder: Encoder) -> Iterator[EmbeddingStore]:
        """Open what runs without a shard left where the parts will be joined, finished or not."""
        whole = self._place.whole
        if whole is None:
            return
        directory = StorePlace(whole, self._place.keeps_shards).directory
        for path in dict.fromkeys((whole, directory)):
            if path.is_file() or is_store_directory(path):
                store = self._opened.enter_context(open_store(path, partial=True))
                _refuse_other_model(store, path, encoder)
                yield store

    def _changes(self, labels: Sequence[str]) -> Changes:
        """Compare with the part that is replaced, or with this shard's share of the whole."""
        shard, finished = self._place.shard, [*filter(_is_complete, self._whole)]
        if self._before is not None or shard is None or not finished:
            return Changes(self._before, labels)
        hashes = finished[0].column("items/key_hash")
        return Changes(finished[0], labels, int(np.count_nonzero(shard.among(hashes))))

    def _known(self) -> KnownVectors:
        """Vectors of verified shards, and those rows of a finished file whose CRC is right."""
        before = [self._before] if isinstance(self._before, SealedStore) else []
        unverified = [store for store in (*before, *self._whole) if self._may_give(store)]
        return KnownVectors(
            self._run.sources,
            unverified,
            is_sound=lambda store, row: store not in unverified or row_is_sound(store, row),
        )

    def refuse_other_images(self, source: SourceDataset) -> None:
        """Refuse to replace a store, or an unfinished run, that has no image of the dataset.

        Raises
        ------
        StoreExistsError
        """
        known = [self.known]
        if self._before is not None and not self._may_give(self._before):
            known.append(KnownVectors([self._before]))
        known = [vectors for vectors in known if len(vectors)]
        if known and not any(vectors.has_any_of(source) for vectors in known):
            raise StoreExistsError(
                f"'{self._place.target}' has vectors of {sum(map(len, known)):,} images, and none "
                "of them is in this dataset. Choose another path, or add --restart to replace it.",
                path=str(self._place.target),
            )

    def _may_give(self, store: EmbeddingStore) -> bool:
        """Tell whether the vectors of a store are of this run's type, and computed alike."""
        with suppress(StoreCorruptError):
            return store.dtype.name == self._dtype and fits(store.vector_settings, self._settings)
        return False

    def _check_room(self, n_items: int, row_bytes: int) -> None:
        """Refuse to begin what cannot end: the vectors must fit, and twice for a file."""
        rows = max(n_items - self._run.n_committed, 0)
        rows += 0 if self._place.keeps_shards else n_items
        checked_free_bytes(self._place.directory / "shards", rows * row_bytes, self._run.files)

    def opening_lines(self) -> Iterator[str]:
        """Say what is there already."""
        if self._run.damaged:
            yield (
                f"{counted(len(self._run.damaged), 'damaged shards are')} left out and embedded "
                f"again: {', '.join(self._run.damaged[:5])}"
            )
        if self._run.n_committed:
            kept = counted(self._run.n_committed, "rows")
            yield f"{kept} of an earlier run kept; going on from there."
        else:
            for store in [self._before] if self._before else self._whole:
                now = f"this run makes {self._dtype} vectors, {self._settings}"
                kept = f"those vectors were made otherwise ({now}), so all are embedded again"
                if self._may_give(store):
                    kept = "what is unchanged is kept"
                yield f"'{store.path}' has {counted(store.n_rows, 'rows')}; {kept}."

    def append(
        self, record: ItemRecord, vector: npt.NDArray[np.float32] | None, *, reused: bool
    ) -> None:
        """Add the next row."""
        self._run.append(record, vector, fresh=not reused)
        self.changes.note(record, reused=reused)

    def set_categories(
        self, categories: Categories, embedding: npt.NDArray[np.float32] | None
    ) -> None:
        """Give the label names and their vectors."""
        self._run.set_categories(categories, embedding)

    @contextmanager
    def keeping(self, notify: Callable[[str], None]) -> Iterator[None]:
        """Commit what was embedded where something goes wrong, and say how to go on.

        Vectors that contradict each other are not committed, and what is committed stays.
        """
        try:
            yield
        except StreamDisagreementError:  # it says itself how to go on
            raise
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
                f"{counted(n_rows, 'rows are')} kept in '{self._place.directory}'; the same "
                "command goes on from there."
            )

    def finish(self, provenance: Mapping[str, Any]) -> None:
        """Make the rows the store, if the encoder is still what it was."""
        self._encoder.confirm()
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

    def __exit__(self, *_: object) -> None:
        self._let_go()

    def _let_go(self) -> None:
        self._run.abort()
        self._opened.close()


def _is_complete(store: EmbeddingStore) -> bool:
    return not isinstance(store, ShardedStore) or store.complete


def _refuse_other_model(store: EmbeddingStore, place: Path, encoder: Encoder) -> None:
    if (store.run_fingerprint, store.dim) != (encoder.fingerprint, encoder.dim):
        name = store.model_fact("name")
        raise model_mismatch(
            place, (name, store.run_fingerprint), (encoder.name, encoder.fingerprint)
        )


def _identity(place: StorePlace) -> tuple[int, int, int] | None:
    if place.keeps_shards or not os.path.lexists(place.target):
        return None
    found = place.target.lstat()
    return found.st_ino, found.st_size, found.st_mtime_ns
