"""Near-duplicates and leakage: pairs of rows at or above a similarity, and the groups they form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import UsageError
from ..flags import DEFAULT_THRESHOLD
from ..records import DuplicateGroup, DuplicatePair, ItemKey, Split, Status
from ..retrieval import labels_of_rows, matching_rows
from ..similarity import (
    PairBlock,
    RowGraph,
    build_graph,
    collapse_equal,
    graph_path,
    open_graph,
    paired_cosines,
    similar_pairs,
)
from ..store import EmbeddingStore, open_store
from .grouping import Components, PairKeeper, stars

__all__ = ["DEFAULT_THRESHOLD", "DuplicateReport", "check_threshold", "find_duplicates"]

IntArray = npt.NDArray[np.int64]

MAX_EXACT_ROWS = 200_000
_ROUNDING = 1e-12  # equal vectors may have a cosine of 1 less one unit in the last place
_KEEP_ORDER = (Split.TRAIN, Split.VAL, Split.TEST, Split.OTHER)


@dataclass(frozen=True, slots=True)
class DuplicateReport:
    """What `find_duplicates` found.

    Attributes
    ----------
    threshold : float
    n_items : int
        Items compared: those with a vector.
    exact : bool
        Every pair was compared; else only each item's nearest neighbours.
    groups : tuple of DuplicateGroup
        Those across splits first, then by descending similarity.
    pairs : tuple of DuplicatePair
        Those across splits first, then by descending similarity. Of items in one split whose
        vectors are equal, the first stands for the others in pairs with third items; where it
        leaks, each of them is paired too.
    n_pairs : int
        More than ``len(pairs)`` where there were too many to keep.
    """

    threshold: float
    n_items: int
    exact: bool
    groups: tuple[DuplicateGroup, ...]
    pairs: tuple[DuplicatePair, ...]
    n_pairs: int

    @property
    def leaks(self) -> tuple[DuplicatePair, ...]:
        """The pairs across train, val and test."""
        return tuple(pair for pair in self.pairs if pair.across_splits)


def find_duplicates(
    store: EmbeddingStore | str | PathLike[str],
    *,
    threshold: float = DEFAULT_THRESHOLD,
    across_splits: bool = False,
    exact: bool | None = None,
    progress: bool = False,
) -> DuplicateReport:
    """Find items that show the same.

    Parameters
    ----------
    store : EmbeddingStore or path
    threshold : float
        Least cosine of a pair, in (0, 1].
    across_splits : bool
        Only pairs of items in different ones of train, val and test.
    exact : bool, optional
        Compare every pair; by default up to 200,000 items. Above, the nearest neighbours that an
        index proposes (that of the store where there is one) are compared.
    progress : bool
        Show a bar where stderr is a terminal.

    Returns
    -------
    DuplicateReport

    Raises
    ------
    UsageError
        The threshold is not in (0, 1].
    StoreIndexError
        The index beside the store is needed and is stale.

    Notes
    -----
    Some ten seconds for 100,000 rows of length 512 on two cores. Failed items have no vector; they
    are in a group only where their files are equal byte for byte.
    """
    check_threshold(threshold)
    if isinstance(store, EmbeddingStore):
        return _Finder(store, threshold, across_splits, exact, progress).report()
    with open_store(store) as opened:
        return _Finder(opened, threshold, across_splits, exact, progress).report()


def check_threshold(threshold: float) -> None:
    """Refuse a threshold that no cosine, or every one, would reach; raises `UsageError`."""
    if not 0 < threshold <= 1:
        raise UsageError(
            f"The threshold must be above 0 and at most 1, not {threshold}. Try 0.95.",
            threshold=threshold,
        )


class _Finder:
    """One run over one store."""

    def __init__(
        self,
        store: EmbeddingStore,
        threshold: float,
        across_splits: bool,
        exact: bool | None,
        progress: bool,
    ) -> None:
        self._store = store
        self._vectors = store.embeddings()
        self._threshold = threshold
        self._limit = threshold - _ROUNDING
        self._across_only = across_splits
        self._progress = progress
        self._rows: IntArray = np.flatnonzero(matching_rows(store))
        self._exact = len(self._rows) <= MAX_EXACT_ROWS if exact is None else exact
        self._splits = store.splits.astype(np.int64)

    def report(self) -> DuplicateReport:
        components = Components(self._store.n_rows)
        keeper = PairKeeper()
        for block in self._blocks():
            across = self._across(block.first, block.second)
            if self._across_only:
                chosen = PairBlock(
                    block.first[across], block.second[across], block.similarities[across]
                )
                block, across = chosen, across[across]
            components.join(block)
            keeper.add(block, across)
        pairs, n_pairs = keeper.best()
        return DuplicateReport(
            threshold=self._threshold,
            n_items=len(self._rows),
            exact=self._exact,
            groups=tuple(self._groups(components)),
            pairs=tuple(self._pairs(pairs)),
            n_pairs=n_pairs,
        )

    def _blocks(self) -> Iterator[PairBlock]:
        yield from self._equal_bytes()
        classes = self._equal_in_split()
        yield from classes.blocks()
        single = classes.representatives
        if self._exact:
            near = similar_pairs(self._vectors, single, self._limit, progress=self._progress)
        else:
            near = self._graph(single).similar_pairs(
                self._vectors, single, self._limit, progress=self._progress
            )
        for block in near:
            yield block
            # What stands for others has leaked for all of them.
            across = self._across(block.first, block.second)
            yield from classes.expand(block, across)

    def _graph(self, rows: IntArray) -> RowGraph:
        store = self._store
        path = graph_path(store.path)
        if path.is_file():
            return open_graph(path, uuid=store.uuid, n_rows=store.n_rows, dim=store.dim)
        return build_graph(self._vectors, rows, progress=self._progress)

    def _equal_bytes(self) -> Iterator[PairBlock]:
        """Pair items whose files are equal; where both have a vector, this must say so too.

        Regions of interest of one image have equal files and different vectors.
        """
        hashes = self._store.content_sha256
        known = np.flatnonzero(hashes.any(axis=1))
        first, second = stars(known, _as_numbers(hashes[known]), self._splits)
        similarities = paired_cosines(self._vectors, first, second)
        ok = self._store.statuses == Status.OK
        both = ok[first] & ok[second]
        similarities[~both] = 1.0
        kept = similarities >= self._limit
        yield PairBlock(first[kept], second[kept], similarities[kept])

    def _equal_in_split(self) -> _Classes:
        originals = np.empty(len(self._rows), dtype=np.int64)
        splits = self._splits[self._rows]
        for split in np.unique(splits):
            here = splits == split
            originals[here] = collapse_equal(self._vectors, self._rows[here])
        return _Classes(self._rows, originals)

    def _across(self, first: IntArray, second: IntArray) -> npt.NDArray[np.bool_]:
        a, b = self._splits[first], self._splits[second]
        across: npt.NDArray[np.bool_] = (a != b) & (a != Split.OTHER) & (b != Split.OTHER)
        return across

    def _same_bytes(self, first: int, second: int) -> bool:
        hashes = self._store.content_sha256
        return bool(hashes[first].any()) and bool((hashes[first] == hashes[second]).all())

    def _pairs(self, block: PairBlock) -> Iterator[DuplicatePair]:
        across = self._across(block.first, block.second)
        rows = zip(block.first.tolist(), block.second.tolist(), strict=True)
        facts = zip(rows, block.similarities.tolist(), across.tolist(), strict=True)
        for (first, second), similarity, is_across in facts:
            yield DuplicatePair(
                first=self._store.key(first),
                second=self._store.key(second),
                similarity=similarity,
                identical=self._same_bytes(first, second),
                across_splits=is_across,
            )

    def _groups(self, components: Components) -> list[DuplicateGroup]:
        groups = [self._group(*found) for found in components.groups()]
        return sorted(groups, key=lambda g: (not g.across_splits, -g.max_similarity, g.keys))

    def _group(self, rows: IntArray, least: float, most: float) -> DuplicateGroup:
        members = rows.tolist()
        splits = tuple(Split(int(split)) for split in self._splits[rows])
        labels = tuple(labels_of_rows(self._store, members))
        return DuplicateGroup(
            keep=self._keep(members),
            keys=tuple(self._store.key(row) for row in members),
            splits=splits,
            labels=labels,
            min_similarity=least,
            max_similarity=most,
            identical=all(self._same_bytes(members[0], row) for row in members[1:]),
            across_splits=len({*splits} - {Split.OTHER}) > 1,
            conflicting_labels=len({names for names in labels if names}) > 1,
        )

    def _keep(self, rows: list[int]) -> ItemKey:
        store = self._store

        def preference(row: int) -> tuple[Any, ...]:
            first, end = map(int, store.ann_offsets[row : row + 2])
            pixels = int(store.widths[row]) * int(store.heights[row])
            split = _KEEP_ORDER.index(Split(int(self._splits[row])))
            return store.statuses[row] != Status.OK, split, first - end, -pixels, row

        return store.key(min(rows, key=preference))


class _Classes:
    """Rows of one split with equal vectors, and the row that stands for each class."""

    def __init__(self, rows: IntArray, originals: IntArray) -> None:
        copies = originals != rows
        self.representatives: IntArray = rows[~copies]
        self._copies = rows[copies]
        self._originals = originals[copies]
        order = np.argsort(self._originals, kind="stable")
        self._sorted = self._originals[order]
        self._sorted_copies = self._copies[order]

    def blocks(self) -> Iterator[PairBlock]:
        """Pair each copy with what stands for it."""
        yield PairBlock(self._originals, self._copies, np.ones(len(self._copies)))

    def expand(self, block: PairBlock, chosen: npt.NDArray[np.bool_]) -> Iterator[PairBlock]:
        """Repeat chosen pairs for the copies of either side."""
        for one, other in ((block.first, block.second), (block.second, block.first)):
            first, last = (
                np.searchsorted(self._sorted, one[chosen], side=side) for side in ("left", "right")
            )
            counts = last - first
            if not counts.sum():
                continue
            places = np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)])
            copies = self._sorted_copies[places]
            partners = np.repeat(other[chosen], counts)
            yield PairBlock(
                np.minimum(copies, partners),
                np.maximum(copies, partners),
                np.repeat(block.similarities[chosen], counts),
            )


def _as_numbers(hashes: npt.NDArray[np.uint8]) -> IntArray:
    """Number equal hashes alike: (n, 32) uint8 → (n,) int64."""
    whole = np.ascontiguousarray(hashes).view(np.dtype((np.void, hashes.shape[1]))).reshape(-1)
    numbers: IntArray = np.unique(whole, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return numbers
