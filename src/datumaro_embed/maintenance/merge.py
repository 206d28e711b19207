"""Several stores of one model → one store, column by column."""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import StoreNotFoundError, UsageError
from ..objects import ObjectOptions
from ..records import Categories, ItemKey
from ..sharding import Parts, Shard, named
from ..store import EmbeddingStore, open_store
from ..store.check import refuse_damage
from ..store.run import Hdf5Run
from ..store.schema import optional_tables
from ..tally import counted
from .output import checked_output, refuse_newer, run_for

_ON_DUPLICATE = ("error", "first", "last")
_PART_KEYS = {"number", "count", "dataset_n_items", "dataset_keys_sha256"}
Place = tuple[int, int]
"""Store and row."""


@dataclass(frozen=True, slots=True)
class MergeSummary:
    """Rows written, and rows left out because another store has the item too."""

    store: str
    n_items: int
    n_dropped: int

    def lines(self) -> list[str]:
        dropped = f", {counted(self.n_dropped, 'duplicates')} left out" if self.n_dropped else ""
        return [f"{counted(self.n_items, 'rows')} in {self.store}{dropped}"]


def merge_stores(
    stores: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    on_duplicate: str = "error",
    replace: bool = False,
) -> MergeSummary:
    """Join stores of the same model.

    Raises `ModelMismatchError`: models, lengths or types of the vectors differ, or the settings
    that computed them; `UsageError`: an item is in two stores, and neither is to win; parts that do
    not belong together; `StoreUnfinishedError`: a run that did not end; `StoreNotFoundError`: also
    where parts of a dataset are missing; the message names them; `StoreCorruptError`: also where a
    checksum is wrong: the rows would get a right one; `StoreExistsError`, `StoreWriteError`.

    Labels go by their names: the result has those of all stores, in order of first appearance, and
    a number that names no label becomes -1. Everything else of a row comes out bit for bit. Memory
    for one segment. Category types other than labels are those of the first store with any.

    Parameters
    ----------
    stores : sequence of paths
        In order of rank, for `on_duplicate`. A folder that runs with a shard filled
        (``X.h5.parts``) stands for its parts.
    output : path
        A file, or a directory that keeps its segments (see `StorePlace`); neither it nor a run
        towards it may exist.
    on_duplicate : {"error", "first", "last"}
        Which store wins if several have the same (subset, id).
    replace : bool
        Replace a store at `output` once all rows are written.
    """
    if on_duplicate not in _ON_DUPLICATE:
        raise UsageError(f"``on_duplicate`` must be one of {', '.join(_ON_DUPLICATE)}.")
    place = checked_output(output, replace=replace)
    with ExitStack() as stack:
        opened: list[EmbeddingStore] = []
        for path in map(Path, stores):
            parts = Parts.at(path)
            if parts is not None and (missing := parts.missing()):
                raise _incomplete(str(path), missing)
            paths = [path] if parts is None else parts.finished().values()
            opened += [stack.enter_context(open_store(each)) for each in paths]
        refuse_unlike(opened)
        _refuse_incomplete(opened)
        for store in opened:
            refuse_newer(store)
            refuse_damage(
                store, "Save its intact rows with `datumaro-embed repair`, and merge the result."
            )
        with run_for("merge", place, opened[0].kind) as run:
            categories, label_vectors, maps = _joined_labels(opened)
            n_items = copy_rows(opened, _chosen(opened, on_duplicate), run, maps)
            run.set_categories(categories, label_vectors)

            # What the first store says of itself, and of each in what else it differs. A merged
            # store is no part any more, so `shard` is only told of each store.
            crops = next(filter(None, (ObjectOptions.of(s.provenance) for s in opened)), None)
            first = opened[0].provenance | ({"objects": crops.to_json()} if crops else {})
            own = ("created", "shard")
            merged = [
                {"uuid": store.uuid, "n_rows": store.n_rows}
                | {k: v for k, v in store.provenance.items() if k in own or first.get(k) != v}
                for store in opened
            ]
            shared = {key: value for key, value in first.items() if key != "shard"}
            created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            run.seal(shared | {"merged": merged, "created": created})
        n_dropped = sum(store.n_rows for store in opened) - n_items
    return MergeSummary(os.fspath(output), n_items, n_dropped)


def refuse_unlike(stores: Sequence[EmbeddingStore]) -> None:
    """Refuse stores that are not made alike: `ModelMismatchError`, `UsageError`."""
    if not stores:
        raise UsageError("There is nothing to merge. Name at least one store.")
    known = sorted(stores, key=lambda store: not store.kind.settings)  # unknown settings fit any
    for other in known[1:]:
        if not known[0].kind.fits(other.kind):
            raise other.kind.mismatch(
                other.path,
                known[0].kind,
                f"'{known[0].path}' has the second kind. Embed one of them again with the model "
                "and options of the other.",
            )

    tables: dict[tuple[str, ...], str] = {}
    objects: dict[ObjectOptions, str] = {}
    for store in stores:
        if store.n_rows:  # a store without items has no table of theirs, and fits any
            tables.setdefault(tuple(filter(store.has_table, optional_tables())), store.path)
            if crops := ObjectOptions.of(store.provenance):  # None: unknown, fits any
                objects.setdefault(crops, store.path)
    if len(tables) > 1:
        neither = f"no {' and no '.join(optional_tables())}"
        each = (f"'{path}' has {' and '.join(t) or neither}" for t, path in tables.items())
        raise UsageError(
            f"The stores do not have the same tables: {', '.join(each)}. Embed the datasets with "
            "the same of --objects and --captions."
        )
    if len(objects) > 1:
        each = (f"'{path}' has {crops}" for crops, path in objects.items())
        raise UsageError(
            f"The objects of the stores are cut out differently: {', '.join(each)}. Embed the "
            "datasets with the same --object-margin, --object-shape and --min-object-px."
        )


def _chosen(stores: Sequence[EmbeddingStore], on_duplicate: str) -> Iterator[Place]:
    """Yield for each key in order the store and row to take."""

    def entries(source: int, store: EmbeddingStore) -> Iterator[tuple[ItemKey, int, int]]:
        return ((store.key(row), source, row) for row in range(store.n_rows))

    merged = heapq.merge(*(entries(source, store) for source, store in enumerate(stores)))
    for key, found in groupby(merged, key=itemgetter(0)):
        places = [(source, row) for _, source, row in found]
        if len(places) > 1 and on_duplicate == "error":
            one, two = (stores[source].path for source, _ in places[:2])
            raise UsageError(
                f"'{key}' is in both '{one}' and '{two}'. Choose which one wins with "
                "``on_duplicate`` first or last.",
                key=key,
            )
        yield places[-1] if on_duplicate == "last" else places[0]


def copy_rows(
    stores: Sequence[EmbeddingStore],
    places: Iterator[Place],
    run: Hdf5Run,
    labels: Sequence[npt.NDArray[np.int32] | None],
) -> int:
    """Copy rows in order of their keys, those that follow each other at once; return how many.

    `labels` has for each store the new number of each label, None where they stay.
    """
    n_rows, source, first, stop = 0, -1, -1, -1
    for new_source, row in chain(places, [(-1, -1)]):
        if (new_source, row) == (source, stop):
            stop += 1
            continue
        if stop > first:
            run.extend(stores[source], first, stop, labels=labels[source])
        n_rows += stop - first
        source, first, stop = new_source, row, row + 1
    return n_rows


def _joined_labels(
    stores: Sequence[EmbeddingStore],
) -> tuple[Categories, npt.NDArray[np.float32] | None, list[npt.NDArray[np.int32] | None]]:
    """Join labels by name, in order of first appearance.

    Returns the categories, the labels' vectors if all have one, and for each store the new number
    of each of its labels; None where none changes.
    """
    names = tuple(dict.fromkeys(name for store in stores for name in store.categories.labels))
    full: dict[str, Any] = {}
    for store in reversed(stores):
        full |= store.categories.full

    # Datumaro's own words on the labels of all stores.
    words: dict[str, Any] = {}
    vectors: dict[str, npt.NDArray[np.float32]] = {}
    for store in stores:
        found = store.categories.full.get("label")
        for entry in found.get("items", ()) if isinstance(found, dict) else ():
            if isinstance(entry, dict):
                words.setdefault(str(entry.get("name")), entry)
        if store.label_embeddings is not None:
            vectors |= dict(zip(store.categories.labels, store.label_embeddings, strict=True))
    if words and isinstance(full.get("label"), dict):
        items = [words.get(name, {"name": name}) for name in names]
        full["label"] = {**full["label"], "items": items}
    is_known = names and all(name in vectors for name in names)
    embedding = np.stack([vectors[name] for name in names]) if is_known else None

    # A number that names no label of its own store must not name one of another.
    places = {name: number for number, name in enumerate(names)}
    maps = [
        None
        if store.categories.labels == names
        else np.array([places[name] for name in store.categories.labels], np.int32)
        for store in stores
    ]
    return Categories(names, full), embedding, maps


def _refuse_incomplete(stores: Sequence[EmbeddingStore]) -> None:
    """Check stores that runs with a shard wrote against each other; others are no parts.

    Raises `UsageError`: of several divisions, or of a dataset that had other items at another time;
    `StoreNotFoundError`: parts are missing; the message names them.
    """
    told = {store.path: store.provenance.get("shard") for store in stores}
    parts = {
        path: part
        for path, part in told.items()
        if isinstance(part, dict) and part.keys() >= _PART_KEYS
    }
    if not parts:
        return
    first_path, first = next(iter(parts.items()))
    for path, other in parts.items():
        if other["count"] != first["count"]:
            raise UsageError(
                f"'{first_path}' is one of {first['count']} shards, but '{path}' is one of "
                f"{other['count']}, so they have items in common. Merge shards of one run."
            )
        if other["dataset_keys_sha256"] != first["dataset_keys_sha256"]:
            raise UsageError(
                f"The dataset changed between '{first_path}' "
                f"({counted(first['dataset_n_items'], 'items')}) and '{path}' "
                f"({other['dataset_n_items']:,}). Run the shards again; they reuse the vectors of "
                "unchanged images."
            )
    numbers = {part["number"] for part in parts.values()}
    missing = [shard for shard in Shard.all_of(first["count"]) if shard.number not in numbers]
    if missing:
        raise _incomplete("The merge", missing)


def _incomplete(what: str, missing: Sequence[Shard]) -> StoreNotFoundError:
    return StoreNotFoundError(
        f"{what} lacks the shards {named(missing)}. Run `datumaro-embed embed` with --shard "
        f"{missing[0]}{' and so on' if len(missing) > 1 else ''}; runs that have begun continue.",
        missing=[str(shard) for shard in missing],
    )
