"""Dataset → records and vectors → store: batching, order, failures, progress, resume.

    SourceItem ─threads: hash; known? else decode, resize─▶ ReadItem    preparing.py
               ─batches of pixels─▶ encoder ─▶ vectors                  batches.py, inference.py
               ─in the items' order─▶ rows ─▶ shards ─▶ store           ordering.py, runs.py

One thread of the caller drives everything; the pool decodes a bounded number of items ahead, so
memory does not grow with the dataset.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..adapter import SourceDataset
from ..depth import DepthRange
from ..encoders import Encoder
from ..errors import EmbedWarning, ItemFailedError
from ..interrupts import DeferredInterrupts
from ..logs import log
from ..place import StorePlace, misdetection
from ..records import ItemRecord, Status
from ..sharding import Shard
from ..store import EmbeddingStore, ShardRun, open_store
from ..tally import Tally
from ..versions import installed_versions
from .batches import MAX_WAITING_ROWS, PixelBatches
from .captions import captions_path, embed_captions
from .contents import Contents
from .inference import embed_batches
from .options import EmbedOptions
from .ordering import OrderedRows
from .preparing import items_ahead, prepare
from .progress import EmbedSummary, Progress, settings_line, talk
from .runs import StoreRun

if TYPE_CHECKING:
    from datumaro.components.dataset_base import IDataset

__all__ = ["EmbedOptions", "check_place", "embed_dataset", "embed_source"]

Vector = npt.NDArray[np.float32]
_CONTENTS_KEPT = 4096


def embed_dataset(
    dataset: IDataset,
    store: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    progress: bool = True,
    shard: str | None = None,
    on_summary: Callable[[EmbedSummary], None] | None = None,
    **options: Any,
) -> EmbeddingStore:
    """Embed every item of a Datumaro dataset now, and return the open store.

    What a store there, or an unfinished run, has of the same images by the same model is re-used.
    Items that fail are an `EmbedWarning`, and rows without a vector.

    Parameters
    ----------
    dataset : datumaro Dataset
    store : path
        The HDF5 file to write, or a directory that keeps its shards (a path that ends with a
        separator or has no suffix ``.h5``); its folder is made where it is missing.
    root : path, optional
        The dataset's folder, for paths and their checks (see SourceDataset).
    progress : bool
        Where stderr is a terminal, show a bar and print what the command prints; else the same
        lines go to the logger ``datumaro_embed``.
    shard : str, optional
        ``"I/N"``: embed only this share of the items, into a part of `store` that is returned
        instead; `merge_stores` joins the parts (docs/distributed.md).
    on_summary : callable, optional
        Takes the `EmbedSummary`: counts, failures by cause with examples, notes.
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

    Warns
    -----
    EmbedWarning
        Items failed; the store is whole.
    """
    chosen = EmbedOptions(**options)
    source = SourceDataset(
        dataset, root=Path(root) if root else None, follow_symlinks=chosen.follow_symlinks
    )
    share = None if shard is None else Shard.parse(shard)
    say = talk(show=progress)
    summary = embed_source(source, store, chosen, progress=progress, shard=share, notify=say)
    for line in summary.lines():
        say(line)
    if on_summary is not None:
        on_summary(summary)
    if summary.n_failed:
        warnings.warn(summary.failure_line(), EmbedWarning, stacklevel=2)
    return open_store(summary.store)


def embed_source(
    source: SourceDataset,
    store: str | os.PathLike[str],
    options: EmbedOptions,
    *,
    losses: Tally | None = None,
    shard: Shard | None = None,
    progress: bool = True,
    notify: Callable[[str], None] = log.info,
    encoder: Encoder | None = None,
    open_run: Callable[..., ShardRun] = ShardRun,
) -> EmbedSummary:
    """Embed a source dataset into a store; see `embed_dataset`.

    Parameters
    ----------
    losses : Tally, optional
        What the import lost, for the summary and the provenance.
    shard : Shard, optional
        Embed only its items, into its part of the store.
    notify : callable
        Takes one line on what is kept of earlier runs, at the beginning and when a run fails.
    encoder : Encoder, optional
        Instead of loading ``options.model``.
    open_run : callable
        Instead of `ShardRun`, for tests.
    """
    started = time.monotonic()
    losses = losses or Tally()
    check_place(store, shard, captions=options.captions)
    place = StorePlace.of(store, shard)
    is_first = shard is None or shard.number == 1
    if is_first and (warning := misdetection(store, source.root)):
        notify(warning)
    facts = {"shard": shard.describe(source.keys())} if shard else {}
    source = source.only(shard.holds) if shard else source
    encoder = encoder or options.load_encoder()
    with (
        DeferredInterrupts() as interrupts,
        StoreRun(
            place, encoder, options, len(source), open_run, labels=source.categories.labels
        ) as run,
        Progress(len(source), show=progress) as bar,
    ):
        if options.verbose:
            notify(settings_line(encoder, options))
        run.refuse_other_images(source)
        for line in run.opening_lines():
            notify(line)
        with run.keeping(notify):
            _write_rows(source, encoder, run, options, bar, interrupts)
            interrupts.raise_received()
            labels = source.categories.labels
            run.set_categories(source.categories, encoder.embed_labels(labels) if labels else None)
            provenance = _provenance(source, encoder, options, losses) | facts
            run.finish(provenance)
    captions, outlook = None, [place.outlook()]
    if options.captions:
        interrupts.raise_received()
        captions = embed_captions(
            source,
            store,
            encoder,
            options,
            provenance=provenance,
            shard=shard,
            progress=progress,
            open_run=open_run,
        )
        outlook.append(StorePlace.of(captions_path(store), shard).outlook())
    return EmbedSummary(
        store=os.fspath(place.target),
        n_items=len(source),
        failures=bar.failures,
        losses=losses,
        notes=bar.notes,
        seconds=time.monotonic() - started,
        n_reused=run.changes.n_reused,
        n_relabelled=run.changes.n_relabelled,
        n_removed=run.changes.n_removed,
        outlook="\n".join(filter(None, outlook)),
        captions=captions,
    )


def check_place(
    store: str | os.PathLike[str], shard: Shard | None = None, *, captions: bool = False
) -> None:
    """Refuse early a place where a store cannot be written; leaves nothing behind.

    Parameters
    ----------
    captions : bool
        Check the place of the captions' store too.

    Raises
    ------
    UsageError, StoreExistsError, StoreWriteError
    """
    for path in (store, captions_path(store)) if captions else (store,):
        StorePlace.of(path, shard).check()


def _write_rows(
    source: SourceDataset,
    encoder: Encoder,
    run: StoreRun,
    options: EmbedOptions,
    bar: Progress,
    interrupts: DeferredInterrupts,
) -> None:
    """Append every row in order: a vector for what could be read, none for what could not."""
    workers = options.decoding_threads()

    def write(record: ItemRecord, vector: Vector | None, reused: bool) -> None:
        if record.status is not Status.OK and options.on_error == "fail":
            raise _item_failed(record)
        run.append(record, vector, reused=reused)
        bar.note(record)

    # All that may be under way at once, and as many as are cheap to keep.
    n_under_way = MAX_WAITING_ROWS + items_ahead(encoder.batch_size, workers)
    contents = Contents(n_under_way + _CONTENTS_KEPT, options.dtype)
    rows = OrderedRows(write, contents)
    # Closed here, whatever happens: the garbage collector is no place to wait for threads.
    with closing(
        prepare(
            source,
            encoder,
            workers=workers,
            least_side_px=encoder.least_side_px if options.decode == "fast" else 0,
            depth_range=DepthRange.parse(options.depth_range),
            find=run.known.find,
            contents=contents,
        )
    ) as items:
        batches = PixelBatches(
            items,
            rows,
            batch_size=encoder.batch_size,
            first_size=encoder.first_batch_size,
            side_px=encoder.image_size_px,
            stop=lambda: interrupts.received is not None,
        )
        with closing(embed_batches(encoder, batches)) as answered:
            for answers in answered:
                rows.fill(answers)


def _item_failed(record: ItemRecord) -> ItemFailedError:
    return ItemFailedError(
        f"{record.key}: {record.error} ({record.status.name.lower()}). Fix or remove the file, "
        "or run with --on-error record.",
        key=record.key,
    )


def _provenance(
    source: SourceDataset, encoder: Encoder, options: EmbedOptions, losses: Tally
) -> dict[str, Any]:
    return {
        **encoder.provenance(),
        "dtype": options.dtype,
        **options.decoding(),
        "media_root": str(source.root.resolve()),
        "lost_on_import": losses.to_json(),
        "versions": installed_versions(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
