"""A damaged store → a sound one of the rows that verify; the rest is marked, and never made up."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from ..errors import StoreCorruptError, StoreError, StoreForeignError, StoreReplacedError
from ..place import SEGMENT_FOLDER, is_store_directory
from ..records import Categories, ItemKey, ItemRecord, Status
from ..store import EmbeddingStore, open_store
from ..store.check import head_is_sound, sound_rows
from ..store.hdf5 import Hdf5Part
from ..tally import counted
from .merge import copy_rows
from .output import checked_output, run_like

__all__ = ["RepairSummary", "repair_store"]

_DAMAGED = "the row is damaged in the store that was repaired"
_Row = tuple[int, int] | None
"""Store and row; None where only the key is right."""


@dataclass(frozen=True, slots=True)
class RepairSummary:
    """The end of a repair.

    Attributes
    ----------
    n_kept : int
        Rows in sound blocks, taken over bit for bit.
    n_marked : int
        Rows of which only the key is right: they have status INFERENCE_FAILED and no content.
    n_lost : int
        Rows whose key is wrong too.
    left_out : sequence of str
        Files that could not be opened, or whose vectors do not fit, with the reason.
    """

    store: str
    n_kept: int
    n_marked: int
    n_lost: int
    left_out: Sequence[str]

    def lines(self) -> list[str]:
        """Say it in plain text."""
        lost = f", {self.n_lost} lost with their names" if self.n_lost else ""
        if self.n_marked or self.n_lost or self.left_out:
            outlook = f"`datumaro-embed embed DATASET --store {self.store}` embeds what is missing."
        else:
            outlook = "Every row was sound."
        return [
            f"{counted(self.n_kept, 'rows')} kept in {self.store}, {self.n_marked:,} damaged and "
            f"marked{lost}",
            *(f"  left out: {reason}" for reason in self.left_out),
            outlook,
        ]


def repair_store(
    store: str | os.PathLike[str], output: str | os.PathLike[str], *, partial: bool = False
) -> RepairSummary:
    """Write a sound store of what verifies; the damaged one is not touched.

    Parameters
    ----------
    store : path of a file or directory
    output : path
        As for `merge_stores`.
    partial : bool
        Make a store of the rows that an unfinished run has committed.

    Raises
    ------
    StoreUnfinishedError
        The run that writes the store has not ended, and `partial` is false.
    StoreCorruptError
        Nothing of it can be opened.
    StoreExistsError, StoreWriteError

    Notes
    -----
    Rows are kept by blocks of 1,024 (see docs/store-format.md). Of the files of a directory every
    one that opens is used, whether a manifest names it or not, unless its vectors are of another
    kind than those of the store; where two have the same item, the one with the sound row, then the
    newer.
    """
    place = checked_output(output)
    if not partial:
        _refuse_unfinished(Path(store))
    opened, left_out = _open_all(Path(store))
    if not opened:
        raise StoreCorruptError(
            f"Nothing of '{store}' can be opened: {left_out[0] if left_out else 'no file.'}",
            path=os.fspath(store),
        )
    head = next((part for part in opened if part.n_rows("items") == 0), opened[0])
    left_out += [
        f"'{part.path}' holds {part.kind}, and the store {head.kind}"
        for part in opened
        if not part.kind.fits(head.kind)
    ]
    parts = [part for part in opened if part.kind.fits(head.kind)]
    stores = [_store_of(part) for part in parts]
    found, n_lost = _best_rows(parts, stores)
    with run_like(_store_of(head), place, "repair") as run:
        for is_row, keys in groupby(sorted(found), key=lambda key: found[key] is not None):
            if is_row:
                places = (row for key in keys if (row := found[key]) is not None)
                copy_rows(stores, places, run, [None] * len(stores))
                continue
            for key in keys:
                lost = ItemRecord(key, status=Status.INFERENCE_FAILED, error=_DAMAGED)
                run.append(lost, None)
        categories: tuple[Categories, Any] = (Categories(), None)
        provenance: dict[str, Any] = {}
        with suppress(StoreError):
            if head_is_sound(head):
                sound = _store_of(head)
                categories = sound.categories, sound.label_embeddings
        with suppress(StoreError):
            provenance = _store_of(head).provenance
        run.set_categories(*categories)
        run.seal(provenance | {"repaired_from": Path(store).name})
    n_kept = sum(row is not None for row in found.values())
    return RepairSummary(os.fspath(output), n_kept, len(found) - n_kept, n_lost, left_out)


def _store_of(part: Hdf5Part) -> EmbeddingStore:
    return EmbeddingStore([part], path=part.path, kind=part.kind, uuid=part.uuid)


def _refuse_unfinished(path: Path) -> None:
    """Refuse a run that can go on; of a directory whose manifests are damaged nobody knows."""
    with suppress(StoreCorruptError, StoreForeignError, StoreReplacedError):
        if is_store_directory(path):
            open_store(path).close()


def _open_all(path: Path) -> tuple[list[Hdf5Part], list[str]]:
    """Open every file of a store that can be opened, the newest first."""
    files = sorted((path / SEGMENT_FOLDER).glob("*.h5"), reverse=True) if path.is_dir() else [path]
    opened: list[Hdf5Part] = []
    unreadable = []
    for file in files:
        try:
            opened.append(Hdf5Part(file))
        except StoreError as error:
            unreadable.append(error.message)
    if len({(part.kind.fingerprint, part.kind.dim, part.kind.dtype) for part in opened}) > 1:
        raise StoreCorruptError(
            f"'{path}' holds files of several models. Move those of others away.", path=str(path)
        )
    return opened, unreadable


def _best_rows(
    parts: Sequence[Hdf5Part], stores: Sequence[EmbeddingStore]
) -> tuple[dict[ItemKey, _Row], int]:
    found: dict[ItemKey, _Row] = {}
    n_lost = 0
    for source, (part, store) in enumerate(zip(parts, stores, strict=True)):
        try:
            rows, keys = sound_rows(part)
        except StoreCorruptError:
            n_lost += part.n_rows("items")
            continue
        for row in range(store.n_rows):
            if not keys[row]:
                n_lost += 1
            elif rows[row] and found.get(key := store.key(row)) is None:
                found[key] = (source, row)
            else:
                found.setdefault(store.key(row), None)
    return found, n_lost
