"""Dataset → records and vectors → store: batching, order, failures, progress, resume.

    SourceItem ─threads: hash; known? else decode, resize─▶ (record, vector or pixels)
               ─batches of pixels─▶ encoder ─▶ run of shards ─▶ store

One thread of the caller drives everything; the pool decodes a bounded number of items ahead, so
memory does not grow with the dataset.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..adapter import SourceDataset, SourceItem
from ..encoders import Encoder
from ..errors import ItemFailedError
from ..interrupts import DeferredInterrupts
from ..parallel import map_ahead, usable_processors
from ..place import StorePlace
from ..records import ItemRecord
from ..store import EmbeddingStore, ShardRun, open_store
from ..versions import installed_versions
from .options import EmbedOptions
from .ordering import OrderedRows, ReadItem
from .progress import EmbedSummary, Progress
from .reading import read_item
from .reuse import KnownVectors
from .runs import StoreRun

if TYPE_CHECKING:
    from datumaro.components.dataset_base import IDataset

__all__ = ["EmbedOptions", "check_place", "embed_dataset", "embed_source", "run_fingerprint"]

Pixels = npt.NDArray[np.uint8]
_BATCHES_AHEAD = 3
_MAX_WAITING_ROWS = 4096

_log = logging.getLogger("datumaro_embed")


def embed_dataset(
    dataset: IDataset,
    store: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    progress: bool = True,
    **options: Any,
) -> EmbeddingStore:
    """Embed every item of a Datumaro dataset now, and return the open store.

    What a store there, or an unfinished run, has of the same images by the same model is re-used.

    Parameters
    ----------
    dataset : datumaro Dataset
    store : path
        The HDF5 file to write, or a directory that keeps its shards (a path that ends with a
        separator or has no suffix ``.h5``); its folder is made where it is missing.
    root : path, optional
        The dataset's folder, for paths and their checks (see SourceDataset).
    progress : bool
        Show a bar where stderr is a terminal.
    **options
        Fields of `EmbedOptions`.

    Returns
    -------
    EmbeddingStore
        Row i is the i-th item sorted by (subset, id); failed items have a status and a zero vector.

    Raises
    ------
    DatumaroEmbedError
        Any of `datumaro_embed.errors`; what was embedded is kept for the next run.
    RunInterruptedError
        Also a KeyboardInterrupt; the same.
    """
    chosen = EmbedOptions(**options)
    source = SourceDataset(
        dataset, root=Path(root) if root else None, follow_symlinks=chosen.follow_symlinks
    )
    embed_source(source, store, chosen, progress=progress)
    return open_store(store)


def embed_source(
    source: SourceDataset,
    store: str | os.PathLike[str],
    options: EmbedOptions,
    *,
    dropped: Sequence[str] = (),
    progress: bool = True,
    notify: Callable[[str], None] = _log.info,
    encoder: Encoder | None = None,
    open_run: Callable[..., ShardRun] = ShardRun,
) -> EmbedSummary:
    """Embed a source dataset into a store; see `embed_dataset`.

    Parameters
    ----------
    dropped : sequence of str
        What the importer dropped, for the summary and the provenance.
    notify : callable
        Takes one line on what is kept of earlier runs, at the beginning and when a run fails.
    encoder : Encoder, optional
        Instead of loading ``options.model``.
    open_run : callable
        Instead of `ShardRun`, for tests.
    """
    started = time.monotonic()
    place = StorePlace.of(store)
    place.check()
    encoder = encoder or options.load_encoder()
    with (
        DeferredInterrupts() as interrupts,
        StoreRun(place, encoder, options, len(source), open_run) as run,
        Progress(len(source), show=progress) as bar,
    ):
        for line in run.opening_lines():
            notify(line)
        with run.keeping(notify):
            _write_rows(source, encoder, run, options, bar, interrupts)
            run.stop_if(interrupts.received)
            labels = source.categories.labels
            run.set_categories(source.categories, encoder.embed_labels(labels) if labels else None)
            run.finish(_provenance(source, encoder, options, dropped))
    return EmbedSummary(
        store=os.fspath(store),
        n_items=len(source),
        failures=dict(bar.failures),
        dropped=dropped,
        seconds=time.monotonic() - started,
        n_added=run.changes.n_added,
        n_reused=run.changes.n_reused,
        n_reembedded=run.changes.n_reembedded,
        n_removed=run.changes.n_removed,
    )


def check_place(store: str | os.PathLike[str]) -> None:
    """Refuse early a place where the store cannot be written; leaves nothing behind.

    Raises
    ------
    UsageError, StoreExistsError, StoreWriteError
    """
    StorePlace.of(store).check()


def run_fingerprint(encoder: Encoder) -> str:
    """Identity of what makes a vector, the model's files: equal means comparable."""
    return encoder.fingerprint


def _write_rows(
    source: SourceDataset,
    encoder: Encoder,
    run: StoreRun,
    options: EmbedOptions,
    bar: Progress,
    interrupts: DeferredInterrupts,
) -> None:
    """Append every row in order: a vector for what could be read, none for what could not."""

    def write(record: ItemRecord, vector: Any, reused: bool) -> None:
        run.append(record, vector, reused=reused)
        bar.note(record)

    rows = OrderedRows(write)
    items = _read_ahead(source, encoder, options, run.known)
    batches = _batches(items, encoder.batch_size, rows, interrupts)
    for vectors in encoder.embed_pixels(batches):
        rows.fill(vectors)


def _batches(
    items: Iterator[ReadItem], batch_size: int, rows: OrderedRows, interrupts: DeferredInterrupts
) -> Iterator[Pixels]:
    """Stack the pixels of readable items; every item goes to ``rows`` on the way."""
    batch: list[Pixels] = []
    for item in items:
        rows.expect(item)
        if item.pixels is not None:
            batch.append(item.pixels)
        if len(batch) == batch_size or (batch and len(rows) >= _MAX_WAITING_ROWS):
            yield np.stack(batch)
            batch.clear()
        if interrupts.received is not None:
            break
    if batch:
        yield np.stack(batch)


def _read_ahead(
    source: SourceDataset, encoder: Encoder, options: EmbedOptions, known: KnownVectors
) -> Iterator[ReadItem]:
    """Read, decode and resize in threads, a bounded number ahead, in the source's order."""
    workers = options.workers or usable_processors()
    ahead = max(_BATCHES_AHEAD * encoder.batch_size, 2 * workers)

    def read(item: SourceItem) -> ReadItem:
        found = known.read(item)
        if found is not None:
            return ReadItem(found[0], vector=found[1])
        record, image = read_item(item)
        if image is None and options.on_error == "fail":
            raise ItemFailedError(
                f"{record.key}: {record.error} ({record.status.name.lower()}). Mend or remove it, "
                "or run with --on-error record.",
                key=record.key,
            )
        return ReadItem(record, pixels=None if image is None else encoder.preprocess(image))

    return map_ahead(read, source, workers=workers, ahead=ahead)


def _provenance(
    source: SourceDataset, encoder: Encoder, options: EmbedOptions, dropped: Sequence[str]
) -> dict[str, Any]:
    return {
        **encoder.provenance(),
        "dtype": options.dtype,
        "media_root": str(source.root.resolve()),
        "dropped_by_importer": list(dropped),
        "versions": installed_versions(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
