"""From rows of pairs and components to the records that a report holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ..records import DuplicateGroup, DuplicatePair, ItemKey, Split
from ..retrieval import labels_of_rows
from ..similarity import PairBlock
from ..store import EmbeddingStore

__all__ = ["are_leaks", "describe_groups", "describe_pairs"]

IntArray = npt.NDArray[np.int64]


def are_leaks(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Tell which splits of pairs are different ones of train, val and test."""
    leaks: npt.NDArray[np.bool_] = (one != other) & (one != Split.OTHER) & (other != Split.OTHER)
    return leaks


def describe_pairs(store: EmbeddingStore, block: PairBlock) -> Iterator[DuplicatePair]:
    """Yield the record of each pair, in their order."""
    across = are_leaks(store.splits[block.first], store.splits[block.second])
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


def describe_groups(
    store: EmbeddingStore,
    components: Iterable[tuple[IntArray, float, float]],
    keep_order: Sequence[Split],
) -> list[DuplicateGroup]:
    """Give the record of each component, those across splits first, then the most similar."""
    groups = [_group(store, *component, keep_order) for component in components]
    return sorted(groups, key=lambda g: (not g.across_splits, -g.max_similarity, g.keys))


def _group(
    store: EmbeddingStore, rows: IntArray, least: float, most: float, keep_order: Sequence[Split]
) -> DuplicateGroup:
    members = rows.tolist()
    splits = tuple(Split(int(split)) for split in store.splits[rows])
    labels = tuple(labels_of_rows(store, members))
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
