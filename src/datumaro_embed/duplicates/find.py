"""Near-duplicates and leakage: pairs of rows at or above a similarity, and the groups they form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..flags import DEFAULT_KEEP_SPLIT, DEFAULT_THRESHOLD
from ..records import DuplicateGroup, DuplicatePair, ItemKey, Split
from ..retrieval import matching_rows
from ..similarity import PairBlock, likely_pairs, paired_cosines, similar_pairs
from ..store import EmbeddingStore, open_store
from ..tally import counted
from .grouping import Components, EqualRows, PairKeeper, equal_files

IntArray = npt.NDArray[np.int64]

MAX_EXACT_ROWS = 200_000
_ROUNDING = 1e-12  # equal vectors may have a cosine of 1 less one unit in the last place


@dataclass(frozen=True, slots=True, repr=False)
class DuplicateReport:
    """What `find_duplicates` found.

    Attributes
    ----------
    threshold : float
    n_items : int
        Items compared: those with a vector.
    all_pairs : bool
        Every pair was compared; else only items of neighbouring cells (`similarity.cells`).
    groups : tuple of DuplicateGroup
        Those across splits first, then by descending similarity.
    pairs : tuple of DuplicatePair
        Those across splits first, then by descending similarity. Of items in one split whose
        vectors are equal, the first stands for the others in pairs with third items; where it
        leaks, each of them is paired too.
    n_pairs : int
        More than ``len(pairs)`` where there were too many to list: where nearly all items are near
        each other, the nearest of each are listed. About this many where `all_pairs` is false.
    """

    threshold: float
    n_items: int
    all_pairs: bool
    groups: tuple[DuplicateGroup, ...]
    pairs: tuple[DuplicatePair, ...]
    n_pairs: int

    def __repr__(self) -> str:
        return (
            f"<DuplicateReport: {counted(self.n_pairs, 'pairs')} ({len(self.leaks):,} across "
            f"splits) in {counted(len(self.groups), 'groups')} of "
            f"{counted(self.n_items, 'items')}, threshold {self.threshold:g}>"
        )

    @property
    def leaks(self) -> tuple[DuplicatePair, ...]:
        """The pairs across train, val and test."""
        return tuple(pair for pair in self.pairs if pair.across_splits)


def find_duplicates(
    store: EmbeddingStore | str | PathLike[str],
    *,
    threshold: float = DEFAULT_THRESHOLD,
    across_splits: bool = False,
    all_pairs: bool | None = None,
    keep_split: str = DEFAULT_KEEP_SPLIT,
    progress: bool = False,
) -> DuplicateReport:
    """Find items that show the same.

    Parameters
    ----------
    threshold : float
        Least cosine of a pair, in (0, 1].
    across_splits : bool
        Only pairs of items in different ones of train, val and test.
    all_pairs : bool, optional
        Compare every pair; by default up to 200,000 items. Above, only items of neighbouring cells
        are compared, which misses a pair now and then.
    keep_split : {"train", "val", "test"}
        Which copy of a group in several splits stays (see `DuplicateGroup.keep`).
    progress : bool
        Show a bar where stderr is a terminal.

    Raises
    ------
    UsageError
        The threshold is not in (0, 1], or there is no such split.

    Notes
    -----
    Some 15 s for 100,000 rows of length 512 on two cores, half a minute for a million, by cells.
    Failed items have no vector and are in no group.
    """
    check_finding(threshold=threshold, keep_split=keep_split)
    with nullcontext(store) if isinstance(store, EmbeddingStore) else open_store(store) as opened:
        rows = np.flatnonzero(matching_rows(opened))
        splits = opened.splits.astype(np.int64)
        every = len(rows) <= MAX_EXACT_ROWS if all_pairs is None else all_pairs
        components, keeper = Components(opened.n_rows), PairKeeper()
        for block in _blocks(opened, rows, splits, threshold - _ROUNDING, every, progress):
            across = _are_leaks(splits[block.first], splits[block.second])
            if across_splits:
                block, across = block.where(across), across[across]
            components.join(block)
            keeper.add(block, across)
        pairs, n_pairs = keeper.best()
        order = _keep_order(keep_split)
        groups = (_group(opened, *component, order) for component in components.groups())
        return DuplicateReport(
            threshold=threshold,
            n_items=len(rows),
            all_pairs=every,
            groups=tuple(
                sorted(groups, key=lambda g: (not g.across_splits, -g.max_similarity, g.keys))
            ),
            pairs=tuple(_pairs(opened, pairs)),
            n_pairs=n_pairs,
        )


def _keep_order(keep_split: str) -> tuple[Split, ...]:
    """Splits by which the copy that stays is chosen, the wanted one first."""
    try:
        wanted = Split[keep_split.upper()]
    except KeyError as error:
        raise UsageError(f"``keep_split`` is {keep_split!r}. Choose train, val or test.") from error
    others = (Split.TRAIN, Split.VAL, Split.TEST, Split.OTHER)
    return (wanted, *(split for split in others if split is not wanted))


def check_finding(
    *, threshold: float = DEFAULT_THRESHOLD, keep_split: str = DEFAULT_KEEP_SPLIT, **_: object
) -> None:
    """Refuse arguments of `find_duplicates` before anything is read; raises `UsageError`."""
    check_threshold(threshold)
    _keep_order(keep_split)


def check_threshold(threshold: float) -> None:
    """Refuse a threshold that no cosine, or every one, would reach; raises `UsageError`."""
    if not 0 < threshold <= 1:
        raise UsageError(
            f"``threshold`` must be above 0 and at most 1, not {threshold}. Try 0.95.",
            threshold=threshold,
        )


def _blocks(
    store: EmbeddingStore,
    rows: IntArray,
    splits: IntArray,
    limit: float,
    every: bool,
    progress: bool,
) -> Iterator[PairBlock]:
    vectors = store.embeddings()
    # Regions of interest of one image have equal files and different vectors. Items without a
    # vector are failures: two empty files, or two error pages of one server, are no duplicates.
    first, second = equal_files(store.content_sha256, rows, splits)
    similarities = paired_cosines(vectors, first, second)
    yield PairBlock(first, second, similarities).where(similarities >= limit)
    equal = EqualRows(vectors, rows, splits)
    yield equal.pairs()
    find = similar_pairs if every else likely_pairs
    found = find(vectors, equal.representatives, limit, classes=splits, progress=progress)
    for block in found:
        yield block
        # What stands for others has leaked for all of them.
        yield from equal.expand(block, _are_leaks(splits[block.first], splits[block.second]))


def _are_leaks(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Tell which splits of pairs are different ones of train, val and test."""
    leaks: npt.NDArray[np.bool_] = (one != other) & (one != Split.OTHER) & (other != Split.OTHER)
    return leaks


def _pairs(store: EmbeddingStore, block: PairBlock) -> Iterator[DuplicatePair]:
    """Yield the record of each pair, in their order."""
    across = _are_leaks(store.splits[block.first], store.splits[block.second])
    rows = zip(block.first.tolist(), block.second.tolist(), strict=True)
    key = lru_cache(maxsize=None)(store.key)  # a row is in many pairs
    facts = zip(rows, block.similarities.tolist(), across.tolist(), strict=True)
    for (first, second), similarity, is_across in facts:
        yield DuplicatePair(
            first=key(first),
            second=key(second),
            similarity=similarity,
            identical=_same_bytes(store, first, second),
            across_splits=is_across,
        )


def _group(
    store: EmbeddingStore, rows: IntArray, least: float, most: float, keep_order: Sequence[Split]
) -> DuplicateGroup:
    members = rows.tolist()
    splits = tuple(Split(int(split)) for split in store.splits[rows])
    labels = tuple(map(store.labels_of, members))
    return DuplicateGroup(
        keep=_keep(store, members, keep_order),
        keys=tuple(store.key(row) for row in members),
        splits=splits,
        labels=labels,
        min_similarity=least,
        max_similarity=most,
        identical=all(_same_bytes(store, members[0], row) for row in members[1:]),
        across_splits=len({*splits} - {Split.OTHER}) > 1,
        conflicting_labels=len({names for names in labels if names}) > 1,
    )


def _keep(store: EmbeddingStore, rows: list[int], keep_order: Sequence[Split]) -> ItemKey:
    """Choose the item that stays: docs/duplicates.md has the order."""

    def preference(row: int) -> tuple[Any, ...]:
        first, end = map(int, store.ann_offsets[row : row + 2])
        pixels = int(store.widths[row]) * int(store.heights[row])
        split = keep_order.index(Split(int(store.splits[row])))
        return split, first - end, -pixels, row

    return store.key(min(rows, key=preference))


def _same_bytes(store: EmbeddingStore, first: int, second: int) -> bool:
    hashes = store.content_sha256
    return bool(hashes[first].any()) and bool((hashes[first] == hashes[second]).all())
