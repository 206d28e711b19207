"""Find near-duplicates and leakage: pairs of rows at or above a similarity, and their groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from os import PathLike
from typing import Any

import numpy as np

from ..display import Displayed, Origin
from ..errors import ModelMismatchError, ModelNotFoundError, UsageError
from ..flags import DEFAULT_KEEP_SPLIT, DEFAULT_TABLE, DEFAULT_THRESHOLD
from ..records import DuplicateGroup, DuplicatePair, Split
from ..retrieval import matching_rows, model_of, table_to_search
from ..similarity import (
    LEVELS,
    ROUNDING,
    PairBlock,
    likely_pairs,
    paired_cosines,
    similar_pairs,
)
from ..similarity.cosine import BoolArray, IntArray
from ..store import EmbeddingStore, VectorTable, using_store
from ..tally import counted
from ..video import split_frame_path
from .grouping import Components, EqualRows, NearestFrames, PairKeeper, equal_files

MAX_EXACT_ROWS = 200_000


@dataclass(frozen=True, slots=True, repr=False)
class DuplicateReport(Displayed):
    """Result of `find_duplicates`.

    Attributes
    ----------
    threshold : float
    threshold_of : str
        Where the threshold is from: ``"caller"``, ``"default"``, or of which model and store a
        calibration is: ``"calibrated for demo on photos.h5"``.
    n_rows : int
        Number of items, objects or captions compared: those with a vector.
    all_pairs : bool
        Every pair was compared; else only rows of neighboring cells (`similarity.cells`).
    groups : tuple of DuplicateGroup
        Those across splits first, then by descending similarity.
    pairs : tuple of DuplicatePair
        Those across splits first, then by descending similarity. If items of one split have equal
        vectors, only the first is paired with other items; in pairs across splits, all of them are.
        Each frame of a video is paired with the most similar earlier frame of its own split, and of
        another split.
    n_pairs : int
        Number of pairs. More than ``len(pairs)`` if there were too many to list: if nearly all
        items are near each other, only the nearest of each are listed. Approximate if `all_pairs`
        is false.
    n_pairs_at : dict of float to int
        Number of pairs at 0.95, 0.97, 0.98 and 0.99, for those levels at or above the threshold.
    of : {"items", "objects", "captions"}
    origin : Origin or None
        The store, whose pictures a notebook displays.
    """

    threshold: float
    threshold_of: str
    n_rows: int
    all_pairs: bool
    groups: tuple[DuplicateGroup, ...]
    pairs: tuple[DuplicatePair, ...]
    n_pairs: int
    n_pairs_at: dict[float, int]
    of: str = DEFAULT_TABLE
    origin: Origin | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        return (
            f"<DuplicateReport: {counted(self.n_pairs, 'pairs')} ({len(self.leaks):,} across "
            f"splits) in {counted(len(self.groups), 'groups')} of "
            f"{counted(self.n_rows, self.of)}, threshold {self.threshold:g}>"
        )

    @property
    def leaks(self) -> tuple[DuplicatePair, ...]:
        """The pairs across train, val and test."""
        return tuple(pair for pair in self.pairs if pair.across_splits)


def find_duplicates(
    store: EmbeddingStore | str | PathLike[str],
    *,
    threshold: float | None = None,
    model: str | None = None,
    across_splits: bool = False,
    all_pairs: bool | None = None,
    keep_split: str = DEFAULT_KEEP_SPLIT,
    of: str = DEFAULT_TABLE,
    progress: bool = False,
) -> DuplicateReport:
    """Find near-duplicate items, objects or captions.

    Parameters
    ----------
    threshold : float, optional
        Minimum cosine of a pair, in (0, 1]. By default that of the store's model, for items and
        objects, if it was calibrated (`auditing.calibrate`) and is on this machine; else 0.95.
    model : str, optional
        Name or directory of the store's model, whose threshold to use; by default its name in the
        store.
    across_splits : bool
        Find only pairs in two different splits of train, val and test.
    all_pairs : bool, optional
        Compare every pair; the default up to 200,000 rows. Above, only rows of neighboring cells
        are compared, which misses some pairs.
    keep_split : {"train", "val", "test"}
        Split whose copy is kept if a group spans several splits (see `DuplicateGroup.keep`).
    of : {"items", "objects", "captions"}
        What to compare. Two objects or captions of one item, such as overlapping boxes, are never a
        pair.
    progress : bool
        Show a bar if stderr is a terminal.

    Raises
    ------
    UsageError
        The threshold is not in (0, 1], or there is no such split or table.
    ModelInvalidError
        The model's directory is damaged.
    ModelNotFoundError, ModelMismatchError
        `model` is not on this machine, or did not make the store.

    Notes
    -----
    Takes about 15 s for 100,000 rows of length 512 on two cores, and half a minute for a million
    with cells. Failed items have no vector, so they are in no group.
    """
    check_finding(threshold=threshold, keep_split=keep_split)
    with using_store(store) as opened:
        table = table_to_search(opened, of)
        threshold, threshold_of = _threshold(threshold, opened, of, model)
        rows = np.flatnonzero(matching_rows(opened, of=of))
        found = _Rows(opened, table, rows)
        every = len(rows) <= MAX_EXACT_ROWS if all_pairs is None else all_pairs
        components, keeper = Components(len(table)), PairKeeper()
        frames = NearestFrames(len(table))
        for block in _blocks(found, threshold - ROUNDING, every, progress):
            across = found.are_leaks(block)
            if across_splits:
                block, across = block.where(across), across[across]
            apart = ~found.are_siblings(block)
            components.join(block, apart)  # siblings have equal vectors, or are copies of a pair
            within = apart & found.are_frames(block)
            frames.add(block.where(within), across[within])
            keeper.add(block.where(apart & ~within), across[apart & ~within])
        keeper.add(*frames.pairs())
        pairs, counts = keeper.best()
        order = keep_order(keep_split)
        groups = (
            _group(opened, found, *component, order)
            for component in components.groups()
            if len(np.unique(found.items[component[0]])) > 1
        )
        key = lru_cache(maxsize=None)(table.key)  # a row is in many pairs
        columns = pairs.first, pairs.second, pairs.similarities, found.are_leaks(pairs)
        listed = zip(*(column.tolist() for column in columns), strict=True)
        return DuplicateReport(
            threshold=threshold,
            threshold_of=threshold_of,
            n_rows=len(rows),
            all_pairs=every,
            groups=tuple(
                sorted(groups, key=lambda g: (not g.across_splits, -g.max_similarity, g.keys))
            ),
            pairs=tuple(
                DuplicatePair(key(a), key(b), similarity, found.same_bytes(a, b), is_across)
                for a, b, similarity, is_across in listed
            ),
            n_pairs=int(counts[0]),
            n_pairs_at={
                level: int(count)
                for level, count in zip(LEVELS, counts[1:], strict=True)
                if level >= threshold
            },
            of=of,
            origin=opened.origin(),
        )


class _Rows:
    """The rows to compare, and split, item, video and content of every row of their table."""

    def __init__(self, store: EmbeddingStore, table: VectorTable, rows: IntArray) -> None:
        self.table, self.rows, self.items = table, rows, table.item_rows
        self.splits = table.spread(store.splits.astype(np.int64))
        self.contents = table.contents()
        videos = np.full(len(store), -1)  # -1: not a frame
        text = store.column("items/path")
        if np.any(text == ord("#")):
            ends, numbers = store.column("items/path_offsets").tolist(), dict[str, int]()
            paths = map(bytes, map(text.__getitem__, map(slice, ends, ends[1:])))
            for row, path in enumerate(paths):
                video, frame = split_frame_path(path.decode("utf-8", "surrogatepass"))
                if frame is not None:
                    videos[row] = numbers.setdefault(video, len(numbers))
        self.videos = videos[self.items]

    def are_leaks(self, block: PairBlock) -> BoolArray:
        """Tell which pairs are in two different splits of train, val and test."""
        one, other = self.splits[block.first], self.splits[block.second]
        leaks: BoolArray = (one != other) & (one != Split.OTHER) & (other != Split.OTHER)
        return leaks

    def are_siblings(self, block: PairBlock) -> BoolArray:
        """Tell which pairs are of one item."""
        siblings: BoolArray = self.items[block.first] == self.items[block.second]
        return siblings

    def are_frames(self, block: PairBlock) -> BoolArray:
        """Tell which pairs are of one video."""
        one, other = self.videos[block.first], self.videos[block.second]
        frames: BoolArray = (one == other) & (one >= 0)
        return frames

    def same_bytes(self, first: int, second: int) -> bool:
        """Tell whether both rows have the same content hash, if it is known."""
        one, other = self.contents[first], self.contents[second]
        return bool(one.any()) and bool((one == other).all())


def keep_order(keep_split: str) -> tuple[Split, ...]:
    """Return the splits in order of preference for the kept copy, the requested one first."""
    try:
        wanted = Split[keep_split.upper()]
    except KeyError as error:
        raise UsageError(f"``keep_split`` is {keep_split!r}. Choose train, val or test.") from error
    others = (Split.TRAIN, Split.VAL, Split.TEST, Split.OTHER)
    return (wanted, *(split for split in others if split is not wanted))


def check_finding(
    *, threshold: float | None = None, keep_split: str = DEFAULT_KEEP_SPLIT, **_: object
) -> None:
    """Check arguments of `find_duplicates` before anything is read; raises `UsageError`."""
    if threshold is not None:
        check_threshold(threshold)
    keep_order(keep_split)


def check_threshold(threshold: float) -> None:
    """Raise `UsageError` for a threshold that no pair or every pair would reach."""
    if not 0 < threshold <= 1:
        raise UsageError(
            f"``threshold`` must be above 0 and at most 1, not {threshold}. Try 0.95.",
            threshold=threshold,
        )


def _threshold(
    threshold: float | None, store: EmbeddingStore, of: str, model: str | None
) -> tuple[float, str]:
    """Return the threshold, and where it is from (see `DuplicateReport.threshold_of`)."""
    if threshold is not None:
        return threshold, "caller"
    if of == "captions":  # calibration is of images
        return DEFAULT_THRESHOLD, "default"
    try:
        _, manifest = model_of(store, model)
    except (ModelNotFoundError, ModelMismatchError, UsageError):
        if model is not None:
            raise
        return DEFAULT_THRESHOLD, "default"
    if (found := manifest.duplicates) is None:
        return DEFAULT_THRESHOLD, "default"
    return found.threshold, f"calibrated for {manifest.name} on {found.store}"


def _blocks(found: _Rows, limit: float, every: bool, progress: bool) -> Iterator[PairBlock]:
    vectors, rows, splits = found.table.embeddings(), found.rows, found.splits
    # Equal files may have different vectors (regions of one image), so compare their vectors too.
    # Items without a vector have failed: two empty files are not duplicates.
    first, second = equal_files(found.contents, rows, splits)
    similarities = paired_cosines(vectors, first, second)
    yield PairBlock(first, second, similarities).where(similarities >= limit)
    equal = EqualRows(vectors, rows, splits)
    yield equal.pairs()
    find = similar_pairs if every else likely_pairs
    owners = equal.owners(found.items)
    options: dict[str, Any] = {"classes": splits, "owners": owners, "progress": progress}
    for block in find(vectors, equal.representatives, limit, **options):
        yield block
        # If a representative leaks, so do its copies; if it pairs with a row of its own item, its
        # copies of other items are real pairs.
        yield from equal.expand(block, found.are_leaks(block) | found.are_siblings(block))


def _group(
    store: EmbeddingStore,
    found: _Rows,
    rows: IntArray,
    least: float,
    most: float,
    keep_order: Sequence[Split],
) -> DuplicateGroup:
    members, table = rows.tolist(), found.table
    splits = tuple(Split(int(split)) for split in found.splits[rows])
    labels = tuple(map(table.labels_of, members))
    items = found.items[rows]
    kept = int(by_preference(store, items, keep_order)[0])
    return DuplicateGroup(
        keep=table.key(members[items.tolist().index(kept)]),
        keys=tuple(map(table.key, members)),
        splits=splits,
        labels=labels,
        min_similarity=least,
        max_similarity=most,
        identical=all(found.same_bytes(members[0], row) for row in members[1:]),
        across_splits=len({*splits} - {Split.OTHER}) > 1,
        conflicting_labels=len({names for names in labels if names}) > 1,
        facts=tuple(map(table.facts, members)),
    )


def by_preference(store: EmbeddingStore, rows: IntArray, keep_order: Sequence[Split]) -> IntArray:
    """Sort rows of items: the one to keep comes first, by the preference in docs/duplicates.md.

    See `keep_order` for `keep_order`.
    """
    places = np.array([keep_order.index(split) for split in sorted(Split)])
    n_notes = np.diff(store.column("items/annotations_offsets").astype(np.int64))[rows]
    pixels = store.widths[rows].astype(np.int64) * store.heights[rows]
    order = np.lexsort((rows, -pixels, -n_notes, places[store.splits[rows]]))
    return rows[order]
