"""Near-duplicates and leakage: pairs of rows at or above a similarity, and the groups they form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from os import PathLike

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..flags import DEFAULT_KEEP_SPLIT, DEFAULT_THRESHOLD
from ..records import DuplicateGroup, DuplicatePair, Split
from ..retrieval import matching_rows
from ..similarity import PairBlock, likely_pairs, paired_cosines, similar_pairs
from ..store import EmbeddingStore, open_store
from ..tally import counted
from .describe import are_leaks, describe_groups, describe_pairs
from .grouping import Components, EqualRows, PairKeeper, equal_files

__all__ = [
    "DEFAULT_THRESHOLD",
    "DuplicateReport",
    "check_finding",
    "check_threshold",
    "find_duplicates",
]

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
    check_finding(threshold, keep_split)
    with nullcontext(store) if isinstance(store, EmbeddingStore) else open_store(store) as opened:
        rows = np.flatnonzero(matching_rows(opened))
        splits = opened.splits.astype(np.int64)
        every = len(rows) <= MAX_EXACT_ROWS if all_pairs is None else all_pairs
        components, keeper = Components(opened.n_rows), PairKeeper()
        for block in _blocks(opened, rows, splits, threshold - _ROUNDING, every, progress):
            across = are_leaks(splits[block.first], splits[block.second])
            if across_splits:
                block, across = block.where(across), across[across]
            components.join(block)
            keeper.add(block, across)
        pairs, n_pairs = keeper.best()
        return DuplicateReport(
            threshold=threshold,
            n_items=len(rows),
            all_pairs=every,
            groups=tuple(describe_groups(opened, components.groups(), _keep_order(keep_split))),
            pairs=tuple(describe_pairs(opened, pairs)),
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


def check_finding(threshold: float, keep_split: str) -> None:
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
        yield from equal.expand(block, are_leaks(splits[block.first], splits[block.second]))
