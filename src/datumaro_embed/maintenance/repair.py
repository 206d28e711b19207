"""A damaged store → a sound one of the rows that verify; the rest is marked, and never made up."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import StoreCorruptError, StoreError, StoreForeignError, StoreReadError
from ..objects import ObjectOptions, objects_of
from ..place import SEGMENT_FOLDER, WORK_SUFFIX, manifest_files
from ..records import (
    Categories,
    ItemKey,
    ItemRecord,
    ObjectStatus,
    Split,
    Status,
    split_of,
)
from ..store import EmbeddingStore, open_store
from ..store.check import bad_blocks, sound_rows
from ..store.hdf5 import Hdf5Part
from ..store.journal import read_manifest
from ..store.schema import optional_tables
from ..tally import counted
from ..vectors import VectorKind
from .merge import copy_rows
from .output import checked_output, refuse_newer, run_for

_DAMAGED = "its vector or another value was damaged in the store; `embed` computes it again"
_Row = tuple[int, int, bool] | None
"""Store, row and whether all of it is right; None where only the key is."""


@dataclass(frozen=True, slots=True)
class RepairSummary:
    """The end of a repair.

    Attributes
    ----------
    n_kept : int
        Rows in sound blocks, taken over bit for bit.
    n_partly : int
        Of them, rows without the vectors of their objects, or without their captions: those were
        damaged, and the next run computes them again.
    n_marked : int
        Rows of which only the key is right: they have status INFERENCE_FAILED and no content.
    n_lost : int
        Rows whose key is wrong too.
    left_out : sequence of str
        What is lost beside rows, and files that could not be opened, with the reason.
    """

    store: str
    n_kept: int
    n_marked: int
    n_lost: int
    left_out: Sequence[str]
    n_partly: int = 0

    def lines(self) -> list[str]:
        lost = f", {self.n_lost} lost with their ids" if self.n_lost else ""
        if self.n_marked or self.n_lost or self.left_out or self.n_partly:
            outlook = f"`datumaro-embed embed DATASET --store {self.store}` embeds what is missing."
        else:
            outlook = "Every row was intact."
        return [
            f"{counted(self.n_kept, 'rows')} kept in {self.store}, {self.n_marked:,} damaged and "
            f"marked{lost}",
            *(f"  left out: {reason}" for reason in self.left_out),
            *(
                [f"  {counted(self.n_partly, 'rows')} kept without damaged objects or captions"]
                if self.n_partly
                else []
            ),
            outlook,
        ]


def repair_store(
    store: str | os.PathLike[str], output: str | os.PathLike[str], *, partial: bool = False
) -> RepairSummary:
    """Write a sound store of what verifies; the damaged one is not touched.

    Raises `StoreUnfinishedError`: the run that writes the store has not ended, and `partial` is
    false; `StoreNotFoundError`; `StoreForeignError`: also another format; `StoreCorruptError`:
    nothing of it can be opened; `StoreExistsError`, `StoreWriteError`.

    Rows are kept by blocks of 1,024 (see docs/store-format.md). Of a directory the segments that
    its manifest names are used; only where no manifest can be read, every file that opens: then,
    where two have the same item, the one with the sound row, then the newer.

    Parameters
    ----------
    store : path of a file or directory
    output : path
        As for `merge_stores`; must not exist, and no unfinished run towards it.
    partial : bool
        Make a store of the rows that an unfinished run has committed.
    """
    place = checked_output(output)
    path = Path(store)
    work = Path(f"{path}{WORK_SUFFIX}")
    if not os.path.lexists(path) and manifest_files(work):  # of a file that is not published
        path = work
    segments, head, lost = _segments(path, partial=partial)
    if head is None and not segments:
        why = lost[0][1] if lost else "it has no file with rows."
        raise StoreCorruptError(f"No rows can be recovered from '{store}': {why}", path=str(path))
    kind = (head or segments[0]).kind
    stores, found, n_lost = _best_rows(segments, kind, lost)
    categories, label_vectors, provenance, problems = _head_of(head)
    # Numbers of labels whose names are lost must not take other names.
    has_labels = head is not None and not any(p.startswith("label names") for p in problems)
    labels = None if has_labels else np.full(0, -1, np.int32)
    for source in stores:
        refuse_newer(source)
    there = [name for name in optional_tables() if any(s.has_table(name) for s in stores)]
    tables: dict[str, Any] = dict.fromkeys(there, ())
    crops = ObjectOptions.of(provenance) or ObjectOptions()
    splits = {  # of subsets, as an import may have chosen them
        key.subset: Split(stores[row[0]].splits[row[1]])
        for key, row in found.items()
        if row is not None
    }
    with run_for("repair", place, kind) as run:
        for is_whole, some in groupby(sorted(found.items()), lambda e: bool(e[1] and e[1][2])):
            rows = [*some]
            if is_whole:
                places = (row[:2] for _, row in rows if row is not None)
                copy_rows(stores, places, run, [labels] * len(stores))
                continue
            for key, row in rows:
                if row is not None:
                    run.append(*_without_children(stores[row[0]], row[1], crops, has_labels))
                    continue
                split = splits.get(key.subset, split_of(key.subset))
                damaged = ItemRecord(key, split, status=Status.INFERENCE_FAILED, error=_DAMAGED)
                run.append(replace(damaged, **tables), None)
        run.set_categories(categories, label_vectors)
        run.seal(provenance | {"repaired_from": path.name})
    n_kept = sum(row is not None for row in found.values())
    return RepairSummary(
        os.fspath(output),
        n_kept,
        len(found) - n_kept,
        n_lost + sum(n_rows for n_rows, _ in lost),
        [reason for _, reason in lost] + problems,
        n_partly=sum(row is not None and not row[2] for row in found.values()),
    )


def _without_children(
    store: EmbeddingStore, row: int, crops: ObjectOptions, has_labels: bool
) -> tuple[ItemRecord, npt.NDArray[Any] | None]:
    """Return an item and its vector, with objects as its annotations say, and no captions."""
    record = store.item(row, without=optional_tables())
    if not has_labels:
        unnamed = (replace(annotation, label=-1) for annotation in record.annotations)
        record = replace(record, annotations=tuple(unnamed))
    if store.has_table("objects"):
        gone: dict[str, Any] = {"status": ObjectStatus.INFERENCE_FAILED, "crop": (0, 0, 0, 0)}
        made = objects_of(record, crops)
        objects = tuple(replace(o, **gone) if o.has_vector else o for o in made)
        record = replace(record, objects=objects)
    if store.has_table("captions"):
        record = replace(record, captions=())
    return record, store.embeddings([row])[0] if record.has_vector else None


_Lost = tuple[int, str]
"""Rows of a file that is left out, and why."""


def _segments(path: Path, *, partial: bool) -> tuple[list[Hdf5Part], Hdf5Part | None, list[_Lost]]:
    """Open the files of a store: those with rows, the newest first, and the one of the labels."""
    if not path.is_dir():
        try:
            part = Hdf5Part(path, checks=False)
        except StoreCorruptError as error:  # others: there is none, or of another format
            return [], None, [(0, error.with_flags())]
        return [part], part, []
    folder = path / SEGMENT_FOLDER
    with suppress(StoreCorruptError, StoreForeignError, FileNotFoundError, IndexError):
        manifest = read_manifest(manifest_files(path)[0])
        if manifest.head is None and not partial:
            open_store(path).close()  # raises what a run that can go on is refused with
        named = [(folder / s.name, s.n_rows) for s in reversed(manifest.segments)]
        parts, lost = _opened(named)
        head, lost_head = _opened([(folder / manifest.head.name, 0)] if manifest.head else [])
        return parts, head[0] if head else None, lost + lost_head
    parts, lost = _opened([(file, 0) for file in sorted(folder.glob("*.h5"), reverse=True)])
    if len({(part.kind.fingerprint, part.kind.dim, part.kind.dtype) for part in parts}) > 1:
        raise StoreCorruptError(
            f"'{path}' has no readable manifest, and files of several models. Keep the files of "
            "one model.",
            path=str(path),
        )
    head = [part for part in parts if part.n_rows("items") == 0]
    return [p for p in parts if p not in head], head[0] if head else None, lost


def _opened(files: Sequence[tuple[Path, int]]) -> tuple[list[Hdf5Part], list[_Lost]]:
    parts: list[Hdf5Part] = []
    lost: list[_Lost] = []
    for file, n_rows in files:
        try:
            parts.append(Hdf5Part(file, checks=False))
        except StoreReadError:  # nobody knows whether it is damaged
            raise
        except StoreError as error:
            lost.append((n_rows, error.with_flags()))
    return parts, lost


def _best_rows(
    parts: Sequence[Hdf5Part], kind: VectorKind, lost: list[_Lost]
) -> tuple[list[EmbeddingStore], dict[ItemKey, _Row], int]:
    """Find the rows of each key that verify, the whole ones first; those of other kinds are lost.

    Returns the stores of the kind, for each key the row to take, and how many rows have no key.
    """
    stores: list[EmbeddingStore] = []
    found: dict[ItemKey, _Row] = {}
    n_lost = 0
    for part in parts:
        if not part.kind.fits(kind):
            why = f"'{part.path}' holds {part.kind}, but the store {kind}"
            lost.append((part.n_rows("items"), why))
            continue
        store = EmbeddingStore.of(part)
        rows, bodies, keys = sound_rows(part)
        for row in range(store.n_rows):
            if not keys[row]:
                n_lost += 1
                continue
            key = store.key(row)
            new = (len(stores), row, bool(rows[row])) if bodies[row] else None
            known = found.setdefault(key, new)
            if new is not None and (known is None or (new[2] and not known[2])):
                found[key] = new
        stores.append(store)
    return stores, found, n_lost


def _head_of(
    head: Hdf5Part | None,
) -> tuple[Categories, npt.NDArray[np.float32] | None, dict[str, Any], list[str]]:
    """Return labels and provenance where they are as they were written, and what is lost."""
    if head is None:
        lost = "labels, categories and provenance: not written yet, or their file is lost"
        return Categories(), None, {}, [lost]
    bad = {path for path, *_ in bad_blocks(head)}
    store = EmbeddingStore.of(head)
    problems: list[str] = []
    categories, vectors, provenance = Categories(), None, {}
    if bad.isdisjoint(("labels/name", "labels/name_offsets", "meta/categories")):
        categories = store.categories
        vectors = None if "labels/vector" in bad else store.label_embeddings
    else:
        problems.append("label names and categories: damaged, so annotations have no labels")
    if "labels/vector" in bad:
        problems.append("the labels' vectors: damaged")
    if "meta/provenance" in bad:
        problems.append("provenance: damaged")
    else:
        provenance = store.provenance
    return categories, vectors, provenance, problems
