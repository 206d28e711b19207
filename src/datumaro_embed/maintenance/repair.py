"""A damaged store → a sound one of the rows that verify; the rest is marked, and never made up."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import (
    StoreCorruptError,
    StoreError,
    StoreForeignError,
    StoreReplacedError,
    UsageError,
)
from ..records import Categories, ItemKey, ItemRecord, Status
from ..store import (
    EmbeddingStore,
    SealedStore,
    ShardedStore,
    ShardRun,
    categories_are_sound,
    fits,
    is_store_directory,
    key_is_sound,
    row_is_sound,
)
from ..tally import counted
from .output import checked_output, run_like

__all__ = ["RepairSummary", "repair_store"]

_DAMAGED = "the row was damaged and left out by `repair`; embed again"


@dataclass(frozen=True, slots=True)
class RepairSummary:
    """The end of a repair.

    Attributes
    ----------
    store : str
    n_kept : int
        Rows whose checksum is right, taken over bit for bit.
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
        As for `merge_stores`; must not exist, and no unfinished run towards it.
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
    A row is kept where its CRC-32 is that of its content, and its vector's norm is right. Of the
    files of a directory every one that opens is used, whether a manifest names it or not, unless
    its vectors were computed in another way than those of the store; where two have the same item,
    the one with the sound row, then the newer.
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
    head = _best_head(opened)
    settings = _settings_of(head)
    left_out += [
        f"'{other.path}' was computed with {_settings_of(other)}, and the store with {settings}"
        for other in opened
        if not fits(_settings_of(other), settings)
    ]
    found, n_lost = _best_rows([s for s in opened if fits(_settings_of(s), settings)])
    with run_like(head, place, "repair", vector_settings=settings) as run:
        n_kept = sum(_append(run, key, found[key]) for key in sorted(found))
        categories, labels = _categories_of(head)
        run.set_categories(categories, labels)
        provenance = _provenance_of(head) | {"repaired_from": Path(store).name}
        if place.keeps_shards:
            run.seal(provenance)
        else:
            run.publish(place.target, provenance)
    return RepairSummary(os.fspath(output), n_kept, len(found) - n_kept, n_lost, left_out)


def _refuse_unfinished(path: Path) -> None:
    """Refuse a run that can go on; of a directory whose manifests are damaged nobody knows."""
    with suppress(StoreCorruptError, StoreForeignError, StoreReplacedError):
        if is_store_directory(path):
            ShardedStore(path).close()


_Row = tuple[EmbeddingStore, int] | None


def _open_all(path: Path) -> tuple[list[EmbeddingStore], list[str]]:
    """Open every file of a store that can be opened, the newest first."""
    files = sorted((path / "shards").glob("*.h5"), reverse=True) if path.is_dir() else [path]
    opened: list[EmbeddingStore] = []
    unreadable = []
    for file in files:
        try:
            opened.append(SealedStore(file))
        except StoreError as error:
            unreadable.append(error.message)
    kinds = {(store.run_fingerprint, store.dim, store.dtype.name) for store in opened}
    if len(kinds) > 1:
        raise StoreCorruptError(
            f"'{path}' holds files of {len(kinds)} models; move those of others away.",
            path=str(path),
        )
    return opened, unreadable


def _best_rows(stores: Sequence[EmbeddingStore]) -> tuple[dict[ItemKey, _Row], int]:
    found: dict[ItemKey, _Row] = {}
    n_lost = 0
    for store in stores:
        for row in range(store.n_rows):
            if not key_is_sound(store, row):
                n_lost += 1
                continue
            key = store.key(row)
            if row_is_sound(store, row) and found.get(key) is None:
                found[key] = (store, row)
            else:
                found.setdefault(key, None)
    return found, n_lost


def _append(run: ShardRun, key: ItemKey, row: _Row) -> bool:
    """Append the row or its mark; return whether it was the row."""
    with suppress(StoreCorruptError, UsageError):  # a CRC that is right over a vector that is not
        if row is not None:
            record = row[0].item(row[1])
            vector = row[0].embeddings([row[1]])[0]
            run.append(record, vector if record.status is Status.OK else None)
            return True
    run.append(ItemRecord(key, status=Status.INFERENCE_FAILED, error=_DAMAGED), None)
    return False


def _best_head(stores: Sequence[EmbeddingStore]) -> EmbeddingStore:
    """Find the file with categories and provenance: the newest without rows, or the only one."""
    return next((store for store in stores if store.n_rows == 0), stores[0])


def _categories_of(head: EmbeddingStore) -> tuple[Categories, Any]:
    with suppress(StoreError):
        if categories_are_sound(head):
            return head.categories, head.label_embeddings
    return Categories(), None


def _settings_of(store: EmbeddingStore) -> str:
    """How the vectors of a file were computed; empty where its provenance cannot be read."""
    with suppress(StoreError):
        return store.vector_settings
    return ""


def _provenance_of(head: EmbeddingStore) -> dict[str, Any]:
    with suppress(StoreError):
        return head.provenance
    return {}
