"""Dataset → records and vectors → store: batching, order, failures, progress, resume.

    SourceItem ─threads: hash; known? else decode, resize─▶ ReadItem    preparing.py
               ─batches of pixels─▶ encoder ─▶ vectors                  inference.py
               ─in the items' order─▶ rows ─▶ store                     ordering.py, store/

Every stage is an iterator that the next one pulls, up to the loop in `embed_source` that appends
rows to the store: one thread of the caller drives everything. The pool decodes a bounded number of
items ahead, so memory does not grow with the dataset.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ..adapter import SourceDataset
from ..encoders import Encoder, ImageEncoder, TextEncoder, texts_of
from ..errors import (
    EmbedWarning,
    ItemFailedError,
    ModelMismatchError,
    StoreError,
    StoreExistsError,
    UsageError,
)
from ..interrupts import DeferredInterrupts
from ..logs import log
from ..objects import ObjectOptions
from ..parallel import single_threaded_opencv, usable_processors
from ..place import StorePlace, manifest_files, misdetection
from ..records import Status
from ..store import EmbeddingStore, Hdf5Stores, StoreBackend, StoreWriter, open_store
from ..tally import Tally, counted
from ..vectors import VectorKind
from ..versions import installed_versions
from .captions import with_captions
from .contents import Contents
from .keeping import keeping
from .options import EmbedOptions
from .ordering import MAX_WAITING_ROWS, Row, rows_in_order
from .preparing import prepare
from .progress import EmbedSummary, Progress, TableSummary, settings_line, talk
from .reuse import Changes, KnownVectors

if TYPE_CHECKING:
    from datumaro.components.dataset_base import IDataset

    from ..sharding import Shard

__all__ = ["check_place", "embed_dataset", "embed_source"]

_CONTENTS_KEPT = 4096
_BATCHES_AHEAD = 3
_OBJECTS = 8  # of an image, for as many images ahead as without them


def embed_dataset(
    dataset: IDataset | Any,
    store: str | os.PathLike[str],
    *,
    encoder: ImageEncoder | None = None,
    backend: StoreBackend | None = None,
    root: str | os.PathLike[str] | None = None,
    progress: bool = True,
    shard: str | None = None,
    on_summary: Callable[[EmbedSummary], None] | None = None,
    **options: Any,
) -> EmbeddingStore:
    """Embed every item of a Datumaro dataset now, and return the open store.

    Vectors of the same images and model in an existing store or unfinished run are reused. Items
    that fail get a row without a vector, and raise an `EmbedWarning`.

    Parameters
    ----------
    dataset : datumaro Dataset
        Legacy, or of `datumaro.experimental` (docs/experimental.md).
    store : path
        The HDF5 file to write, or a directory that keeps its segments (a path that ends with a
        separator or has no suffix ``.h5``); its folder is made where it is missing.
    encoder : Encoder, optional
        Used instead of loading the option `model`.
    backend : StoreBackend, optional
        Where stores are kept, instead of HDF5 files.
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
        dataset,
        root=Path(root) if root else None,
        follow_symlinks=chosen.follow_symlinks,
        every=chosen.every,
    )
    share = None
    if shard is not None:
        from ..sharding import Shard

        share = Shard.parse(shard)
    backend = backend or Hdf5Stores()
    say = talk(show=progress)
    summary = embed_source(
        source,
        store,
        chosen,
        losses=source.losses,
        encoder=encoder,
        backend=backend,
        progress=progress,
        shard=share,
        notify=say,
    )
    for line in summary.lines():
        say(line)
    if on_summary is not None:
        on_summary(summary)
    if summary.n_failed:
        warnings.warn(summary.failure_line(), EmbedWarning, stacklevel=2)
    return backend.open(summary.store)


def embed_source(
    source: SourceDataset,
    store: str | os.PathLike[str],
    options: EmbedOptions,
    *,
    losses: Tally | None = None,
    shard: Shard | None = None,
    progress: bool = True,
    notify: Callable[[str], None] = log.info,
    encoder: ImageEncoder | None = None,
    backend: StoreBackend | None = None,
    before_row: Callable[[], None] = lambda: None,
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
        Used instead of loading ``options.model``.
    backend : StoreBackend, optional
        `Hdf5Stores` unless given.
    before_row : callable
        Called before each row is written; what it raises ends the run.
    """
    started = time.monotonic()
    losses, backend = losses or Tally(), backend or Hdf5Stores()
    target = check_place(store, shard, backend=backend)
    folder = StorePlace.of(store).target.parent
    is_new_folder = not folder.exists()
    if (shard is None or shard.number == 1) and (line := misdetection(store, source.root)):
        notify(line)
    facts = {"shard": shard.describe(source.keys())} if shard else {}
    source = source.only(shard.holds) if shard else source
    encoder = encoder or options.load_encoder()
    if options.captions:
        texts_of(encoder)  # refused before anything is embedded
    encoder.confirm()
    kind = options.vector_kind(encoder)
    with (
        DeferredInterrupts() as interrupts,
        backend.begin(
            target,
            kind,
            restart=options.restart,
            n_expected=len(source),
            commit_rows=options.commit_rows,
        ) as run,
        ExitStack() as opened,
        tqdm(
            total=len(source),
            desc="Embedding",
            unit="img",
            disable=None if progress else True,  # None: only where stderr is a terminal
            dynamic_ncols=True,
        ) as bar,
    ):
        if options.verbose:
            notify(settings_line(encoder, options))
        found = _whole_stores(store, kind) if shard and not options.restart else ()
        whole = [opened.enter_context(earlier) for earlier in found]
        stores = [store for store in (run.before, *run.earlier, *whole) if store is not None]
        tables = _tables(options, stores, notify)
        crops = _crops(options, stores) if "objects" in tables else None
        texts = texts_of(encoder) if "captions" in tables else None
        done = Progress(
            bar,
            objects=TableSummary() if "objects" in tables else None,
            captions=TableSummary() if "captions" in tables else None,
        )
        fitting = [*run.earlier, *(w for w in whole if w.kind.fits(kind))]
        known = KnownVectors(fitting, captions=texts is not None)
        changes = Changes(run.before, whole, shard, source.categories.labels)
        if stores:
            _refuse_other_images(run, kind, known, source)
        if is_new_folder and folder.exists():  # perhaps a slip in the path
            notify(f"Created the folder '{folder}'.")
        for line in run.notes:
            notify(line)

        with keeping(run, notify):
            rows = _rows(source, encoder, known, options, crops, texts, interrupts)
            # Closed here, whatever happens: the garbage collector is no place to wait for threads.
            with closing(rows):
                for record, vector, item in rows:
                    before_row()
                    if record.status is not Status.OK and options.on_error == "fail":
                        raise ItemFailedError(
                            f"{record.key}: {record.error} ({record.status.name.lower()}). Fix or "
                            "remove the file, or run with ``on_error`` record.",
                            key=record.key,
                        )
                    reused = item.vector is not None
                    n_captions = sum(one.vector is None for one in item.record.captions or ())
                    run.append(record, vector, reused=reused and not item.crops and not n_captions)
                    changes.note(record, reused=reused)
                    done.note(record, new_objects=item.crops, n_new_captions=n_captions)
            interrupts.raise_received()
            if known.n_damaged:
                lost = counted(known.n_damaged, "damaged vectors")
                notify(f"Computed {lost} of '{run.target}' again.")
            facts |= {"objects": crops.to_json()} if crops else {}
            _seal(run, source, encoder, options, {"lost_on_import": losses.to_json()} | facts)
    return EmbedSummary(
        store=run.target,
        n_items=len(source),
        failures=done.failures,
        losses=losses,
        notes=done.notes,
        seconds=time.monotonic() - started,
        n_reused=changes.n_reused,
        n_relabelled=changes.n_relabelled,
        n_removed=changes.n_removed,
        outlook=_outlook(store, shard) if shard else "",
        objects=done.objects,
        captions=done.captions,
    )


def _outlook(store: str | os.PathLike[str], shard: Shard) -> str:
    """Say which shards are not finished, how to join all, or why that is not possible."""
    from ..maintenance import refuse_unlike
    from ..sharding import Parts, outlook

    finished = Parts.of(StorePlace.of(store).target).finished()
    paths = [path for other, path in finished.items() if other != shard][:1]
    with ExitStack() as opened:
        try:  # others were compared with each other when they were finished
            paths = [finished[shard], *paths] if shard in finished else []
            stores = [opened.enter_context(open_store(path)) for path in paths]
            if stores:
                refuse_unlike(stores)
        except (ModelMismatchError, UsageError) as error:
            return f"`merge` will refuse these shards. {error.message}"
        except StoreError:
            pass  # `merge` says it
    return outlook(store)


def check_place(
    store: str | os.PathLike[str],
    shard: Shard | None = None,
    *,
    backend: StoreBackend | None = None,
) -> str | os.PathLike[str]:
    """Refuse early a path where a store cannot be written; leaves nothing behind.

    Returns the path that the run writes: of a shard its part's, else the store's.

    Raises
    ------
    UsageError, StoreExistsError, StoreWriteError
    """
    backend = backend or Hdf5Stores()
    backend.check(store)
    if shard is None:
        return store
    from ..sharding import Parts, part_path

    Parts.of(StorePlace.of(store).target).check(shard.count)
    part = part_path(store, shard)
    backend.check(part)
    return part


def _tables(
    options: EmbedOptions, stores: Sequence[EmbeddingStore], notify: Callable[[str], None]
) -> frozenset[str]:
    """Return which tables the store will have: those asked for, and those that it has.

    Raises
    ------
    UsageError
        Settings of objects are given, but there are none.
    """
    wanted = {"objects": options.objects, "captions": options.captions}
    tables = {name for name, is_wanted in wanted.items() if is_wanted}
    for name, is_wanted in wanted.items():
        if is_wanted is None and any(store.has(f"items/{name}_offsets") for store in stores):
            how = f" ({_crops(options, stores)})" if name == "objects" else ""
            notify(f"The store has {name}, so they are embedded too{how}; --no-{name} drops them.")
            tables.add(name)
    for name in ("object_margin", "object_shape", "min_object_px"):
        if "objects" not in tables and getattr(options, name) is not None:
            raise UsageError(f"``{name}`` requires ``objects``: this run embeds no objects.")
    return frozenset(tables)


def _crops(options: EmbedOptions, stores: Sequence[EmbeddingStore]) -> ObjectOptions:
    """Return how objects are cut out: as chosen, else as in the store."""
    kept = (ObjectOptions.of(store.provenance) for store in stores if store.complete)
    return options.object_options(next(filter(None, kept), None))


def _whole_stores(store: str | os.PathLike[str], kind: VectorKind) -> Iterator[EmbeddingStore]:
    """Open what runs without a shard left where the parts will be joined, finished or not."""
    place = StorePlace.of(store)
    for path in dict.fromkeys((place.target, place.directory)):
        if path.is_file() or manifest_files(path):
            whole = open_store(path, partial=True)
            if not whole.kind.same_model(kind):
                raise whole.kind.mismatch(
                    path, kind, "Choose another path, or use ``restart`` to replace it."
                )
            yield whole


def _refuse_other_images(
    run: StoreWriter, kind: VectorKind, known: KnownVectors, source: SourceDataset
) -> None:
    """Refuse to replace a store, or an unfinished run, that has no image of the dataset.

    Raises
    ------
    StoreExistsError
    """
    groups = [known]
    if run.before is not None and not run.before.kind.fits(kind):
        groups.append(KnownVectors([run.before]))  # of another kind: not re-used, but replaced
    groups = [vectors for vectors in groups if len(vectors)]
    if groups and not any(vectors.has_any_of(source) for vectors in groups):
        raise StoreExistsError(
            f"'{run.target}' has vectors of {sum(map(len, groups)):,} images, but none of them is "
            "in this dataset. Choose another path, or use ``restart`` to replace it.",
            path=run.target,
        )


def _rows(
    source: SourceDataset,
    encoder: ImageEncoder,
    known: KnownVectors,
    options: EmbedOptions,
    crops: ObjectOptions | None,
    texts: Encoder | None,
    interrupts: DeferredInterrupts,
) -> Generator[Row, None, None]:
    """Yield every row in order: a vector for what could be read, none for what could not."""
    workers = options.workers or usable_processors()
    ahead = max(_BATCHES_AHEAD * encoder.batch_size, 2 * workers)
    ahead *= 1 if crops is None else _OBJECTS
    # All that may be under way at once, and as many as are cheap to keep.
    contents = Contents(MAX_WAITING_ROWS + ahead + _CONTENTS_KEPT, options.dtype)
    decoded = prepare(
        source,
        encoder,
        options,
        workers=workers,
        ahead=ahead,
        known=known,
        contents=contents,
        objects=crops,
        captions=texts is not None,
    )
    with (
        single_threaded_opencv(),
        closing(decoded) as items,
        closing(
            rows_in_order(items, encoder, contents, lambda: interrupts.received is not None)
        ) as rows,
    ):
        yield from rows if texts is None else with_captions(rows, texts)


def _seal(
    run: StoreWriter,
    source: SourceDataset,
    encoder: ImageEncoder,
    options: EmbedOptions,
    facts: Mapping[str, Any],
) -> None:
    """Finish the store: categories, and the provenance with some more facts."""
    labels = source.categories.labels
    vectors = encoder.embed_labels(labels) if labels and isinstance(encoder, TextEncoder) else None
    run.set_categories(source.categories, vectors)
    encoder.confirm()
    provenance = {
        **encoder.provenance(),
        "dtype": options.dtype,
        **options.decoding(),
        **({"every": options.every} if options.every > 1 else {}),
        "media_root": str(source.root.resolve()),
        "versions": installed_versions(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **facts,
    }
    run.seal(provenance)
