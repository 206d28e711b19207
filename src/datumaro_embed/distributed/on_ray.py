"""`embed_on_ray`: split a dataset into shards, embed them on a cluster, join the parts."""

from __future__ import annotations

import os
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..logs import log
from ..maintenance import merge_stores
from ..models import resolve_model
from ..pipeline import EmbedOptions, EmbedSummary, TableSummary, check_place
from ..place import StorePlace
from ..records import Status
from ..sharding import Parts, Shard, part_path
from ..tally import Tally
from .cluster import connect
from .crew import Crew
from .worker import Task

if TYPE_CHECKING:
    from datumaro.components.dataset_base import IDataset

_SHARDS_PER_WORKER = 4


def embed_on_ray(
    dataset: str | os.PathLike[str] | Callable[[], IDataset],
    store: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    shards: int | None = None,
    address: str | None = None,
    workers_per_node: int = 1,
    progress: bool = True,
    notify: Callable[[str], None] = log.info,
    **options: Any,
) -> EmbedSummary:
    """Embed a dataset on every node of a Ray cluster, into one store.

    Raises `MissingExtraError`, `ClusterError`, `RunInterruptedError` (a KeyboardInterrupt), or any
    other `DatumaroEmbedError`. Finished rows are kept, and the same call continues.

    Parameters
    ----------
    dataset : path, or callable without arguments
        ``PATH[:FORMAT]``, or a function that returns a Datumaro dataset; each worker reads it.
    store : path
        As in `embed_dataset`. Dataset and store must have the same path on every node, on a shared
        file system.
    root : path, optional
        As in `embed_dataset`, if `dataset` is a callable.
    shards : int, optional
        Number of shards; by default four per worker, or the number of an unfinished run.
    address : str, optional
        As in ``ray.init``. The default is ``$RAY_ADDRESS``, else the cluster that runs on this
        machine, else a new one on this machine only. An existing connection of this process is
        used.
    workers_per_node : int
        One worker uses a whole node.
    progress : bool
        Show one progress bar if stderr is a terminal.
    notify : callable
        Called with a line about a lost worker or an earlier run of a shard.
    **options
        Fields of `EmbedOptions`.

    Returns
    -------
    EmbedSummary
        Summary of the whole run; the store is byte-identical to that of one machine.
    """
    started = time.monotonic()
    # Check the arguments early, and make all paths absolute, as workers run elsewhere.
    chosen = EmbedOptions(**options)
    if Path(chosen.model).exists():
        chosen = replace(chosen, model=os.path.abspath(chosen.model))
    resolve_model(chosen.model)
    spec = os.path.abspath(dataset) if isinstance(dataset, str | os.PathLike) else dataset
    target = os.path.abspath(store) + (os.sep if os.fspath(store).endswith(os.sep) else "")
    check_place(target)
    plain = {field.name: getattr(chosen, field.name) for field in fields(chosen)}
    task = Task(spec, os.path.abspath(root) if root else None, target, plain)
    if workers_per_node < 1:
        raise UsageError("``workers_per_node`` must be at least 1. Leave it out for one.")
    with connect(address) as cluster:
        if shards is not None and shards < 1:
            raise UsageError(
                f"``shards`` must be at least 1, not {shards}. Leave it out for the default."
            )
        parts = Parts.of(StorePlace.of(target).target)
        if shards is None and not parts.found():  # else existing parts decide
            n_workers = len(cluster.nodes()) * workers_per_node
            shards = max(1, n_workers) * _SHARDS_PER_WORKER
        every = Shard.all_of(parts.check(shards))
        crew = Crew(cluster, task, workers_per_node=workers_per_node, notify=notify)
        results = crew.embed(every, progress=progress)
    summary = _total(store, [results[shard].summary for shard in every])
    paths = [part_path(target, shard) for shard in every]
    merge_stores(paths, target, replace=True)
    with suppress(OSError):
        for path in paths:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        Parts.of(Path(target)).folder.rmdir()
    return replace(summary, seconds=time.monotonic() - started)


def _total(store: str | os.PathLike[str], summaries: Sequence[EmbedSummary]) -> EmbedSummary:
    notes, failures = Tally(), defaultdict[Status, Tally](Tally)
    for part in summaries:
        notes.update(part.notes)
        for status, tally in part.failures.items():
            failures[status].update(tally)
    return EmbedSummary(
        store=os.fspath(store),
        n_items=sum(part.n_items for part in summaries),
        failures=dict(sorted(failures.items())),
        losses=summaries[0].losses,
        notes=notes,
        seconds=0.0,
        n_reused=sum(part.n_reused for part in summaries),
        n_relabelled=sum(part.n_relabelled for part in summaries),
        n_removed=sum(part.n_removed for part in summaries),
        objects=TableSummary.total([part.objects for part in summaries]),
        captions=TableSummary.total([part.captions for part in summaries]),
    )
