"""Several stores of one model → one store."""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ModelMismatchError, StoreCorruptError, UsageError
from ..records import Categories, ItemKey, ItemRecord, Status
from ..store import EmbeddingStore, ShardRun, open_store, row_is_sound
from ..tally import counted
from .output import checked_output, run_like
from .parts import expand, merged_provenance, refuse_incomplete

__all__ = ["MergeSummary", "merge_stores"]

_ON_DUPLICATE = ("error", "first", "last")


@dataclass(frozen=True, slots=True)
class MergeSummary:
    """The end of a merge.

    Attributes
    ----------
    store : str
    n_items : int
        Rows written.
    n_dropped : int
        Rows left out, as another store had the item too.
    """

    store: str
    n_items: int
    n_dropped: int

    def lines(self) -> list[str]:
        """Say it in plain text."""
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

    Parameters
    ----------
    stores : sequence of paths
        In order of rank, for `on_duplicate`. A folder that runs with a shard filled
        (``X.h5.parts``) stands for its parts.
    output : path
        A file, or a directory that keeps its shards (see `StorePlace`); must not exist, and no
        unfinished run towards it.
    on_duplicate : {"error", "first", "last"}
        Which store wins where several have the same (subset, id).
    replace : bool
        A store may be at `output`: it is replaced once all rows are written.

    Raises
    ------
    ModelMismatchError
        Models, lengths or types of the vectors differ, or the settings that computed them.
    UsageError
        An item is in two stores, and neither is to win; parts that do not belong together.
    StoreUnfinishedError
        A run that did not end.
    StoreNotFoundError
        Also where parts of a dataset are missing; the message names them.
    StoreCorruptError
        Also where the checksum of a row is wrong.
    StoreExistsError, StoreWriteError

    Notes
    -----
    Labels go by their names: the result has those of all stores, in order of first appearance.
    Vectors, and rows whose label numbers stay, come out bit for bit. Some 0.1 ms for each row;
    memory for one shard. Category types other than labels are those of the first store with any.
    """
    if on_duplicate not in _ON_DUPLICATE:
        raise UsageError(f"--on-duplicate must be one of {', '.join(_ON_DUPLICATE)}.")
    place = checked_output(output, replace=replace)
    with ExitStack() as stack:
        opened = [stack.enter_context(open_store(path)) for path in expand(stores)]
        _refuse_other_models(opened)
        settings = _common_settings(opened)
        refuse_incomplete(opened)
        first = opened[0]
        with run_like(
            *(first, place, "merge"), model=first.model_fact("name"), vector_settings=settings
        ) as run:
            n_items, n_dropped = _write(opened, run, on_duplicate)
            run.set_categories(*_categories(opened))
            provenance = _provenance(opened)
            if place.keeps_shards:
                run.seal(provenance)
            else:
                run.publish(place.target, provenance)
    return MergeSummary(os.fspath(output), n_items, n_dropped)


def _common_settings(stores: Sequence[EmbeddingStore]) -> str:
    """Find how the vectors of all were computed; empty where no store says."""
    stated = {store.vector_settings: store for store in stores if store.vector_settings}
    first, *others = stated or [""]
    for other in others:
        raise ModelMismatchError(
            f"'{stated[first].path}' has vectors computed with {first}, and "
            f"'{stated[other].path}' with {other}; embed one of them again with the options of "
            "the other.",
            path=stated[other].path,
        )
    return first


def _refuse_other_models(stores: Sequence[EmbeddingStore]) -> None:
    if not stores:
        raise UsageError("There is nothing to merge; name at least one store.")
    first, *others = stores
    for other in others:
        if (other.run_fingerprint, other.dim, other.dtype) != (
            first.run_fingerprint,
            first.dim,
            first.dtype,
        ):
            raise ModelMismatchError(
                f"'{first.path}' has {_vectors_of(first)}, and '{other.path}' has "
                f"{_vectors_of(other)}; embed one of them again.",
                path=other.path,
            )


def _vectors_of(store: EmbeddingStore) -> str:
    model = store.model_fact("name") or "unknown"
    return f"{store.dim} x {store.dtype} of the model {model} ({store.run_fingerprint[:12]})"


def _write(stores: Sequence[EmbeddingStore], run: ShardRun, on_duplicate: str) -> tuple[int, int]:
    maps = _label_maps(stores)
    n_items = n_dropped = 0
    for key, places in _by_key(stores):
        if len(places) > 1 and on_duplicate == "error":
            one, two = (stores[source].path for source, _ in places[:2])
            raise UsageError(
                f"'{key}' is in '{one}' and in '{two}'; say --on-duplicate first or last.", key=key
            )
        source, row = places[-1] if on_duplicate == "last" else places[0]
        _refuse_damage(stores[source], row)
        record = _relabelled(stores[source].item(row), maps[source])
        vector = stores[source].embeddings([row])[0]
        run.append(record, vector if record.status is Status.OK else None)
        n_items, n_dropped = n_items + 1, n_dropped + len(places) - 1
    return n_items, n_dropped


def _refuse_damage(store: EmbeddingStore, row: int) -> None:
    """Refuse a row whose checksum is wrong: it would get a new one, and be sound to all."""
    if not row_is_sound(store, row):
        raise StoreCorruptError(
            f"Row {row} of '{store.path}' is damaged; save the others with `datumaro-embed repair` "
            "and merge what it makes.",
            path=store.path,
            place=f"row {row}",
        )


def _by_key(
    stores: Sequence[EmbeddingStore],
) -> Iterator[tuple[ItemKey, list[tuple[int, int]]]]:
    """Yield each key in order, with the stores and rows that have it."""
    entries = heapq.merge(*(_entries(source, store) for source, store in enumerate(stores)))
    current: ItemKey | None = None
    places: list[tuple[int, int]] = []
    for key, source, row in entries:
        if current is not None and key != current:
            yield current, places
            places = []
        current = key
        places.append((source, row))
    if current is not None:
        yield current, places


def _entries(source: int, store: EmbeddingStore) -> Iterator[tuple[ItemKey, int, int]]:
    return ((store.key(row), source, row) for row in range(store.n_rows))


def _all_labels(stores: Sequence[EmbeddingStore]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for store in stores for name in store.categories.labels))


def _label_maps(stores: Sequence[EmbeddingStore]) -> list[dict[int, int]]:
    """For each store its label numbers that change."""
    places = {name: number for number, name in enumerate(_all_labels(stores))}
    return [
        {
            old: places[name]
            for old, name in enumerate(store.categories.labels)
            if places[name] != old
        }
        for store in stores
    ]


def _relabelled(record: ItemRecord, numbers: Mapping[int, int]) -> ItemRecord:
    if not any(annotation.label in numbers for annotation in record.annotations):
        return record
    annotations = tuple(
        replace(annotation, label=numbers.get(annotation.label, annotation.label))
        for annotation in record.annotations
    )
    return replace(record, annotations=annotations)


def _categories(
    stores: Sequence[EmbeddingStore],
) -> tuple[Categories, npt.NDArray[np.float32] | None]:
    labels = _all_labels(stores)
    full: dict[str, Any] = {}
    for store in reversed(stores):
        full |= store.categories.full
    full |= _full_labels(stores, labels, full)
    vectors: dict[str, npt.NDArray[np.float32]] = {}
    for store in stores:
        if store.label_embeddings is not None:
            vectors |= dict(zip(store.categories.labels, store.label_embeddings, strict=True))
    known = labels and all(name in vectors for name in labels)
    embedding = np.stack([vectors[name] for name in labels]) if known else None
    return Categories(labels, full), embedding


def _full_labels(
    stores: Sequence[EmbeddingStore], labels: Sequence[str], full: Mapping[str, Any]
) -> dict[str, Any]:
    """Return Datumaro's own words on the labels of all stores, in the order of the merged one."""
    named: dict[str, Any] = {}
    for store in stores:
        found = store.categories.full.get("label")
        for entry in found.get("items", ()) if isinstance(found, dict) else ():
            if isinstance(entry, dict):
                named.setdefault(str(entry.get("name")), entry)
    if not isinstance(full.get("label"), dict) or not named:
        return {}
    return {"label": {**full["label"], "items": [named.get(n, {"name": n}) for n in labels]}}


def _provenance(stores: Sequence[EmbeddingStore]) -> dict[str, Any]:
    return {
        **merged_provenance(stores),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
