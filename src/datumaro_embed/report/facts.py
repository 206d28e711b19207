"""What a dataset is, counted from a store's columns."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..causes import cause_of, detail_of
from ..records import ItemKey, Split, Status
from ..store import EmbeddingStore

__all__ = [
    "Facts",
    "Failure",
    "LabelFact",
    "SubsetFact",
    "collect",
    "item_labels",
]

_MAX_EXAMPLES = 50
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SubsetFact:
    """Items of one subset, and how many of them have no vector."""

    name: str
    split: Split
    n_items: int
    n_failed: int


@dataclass(frozen=True, slots=True)
class LabelFact:
    """Annotations of one label, in all and by split, and the items that have any."""

    name: str
    index: int
    n_annotations: int
    n_items: int
    by_split: dict[Split, int]


@dataclass(frozen=True, slots=True)
class Failure:
    """Items that failed for one cause; of many only the first, each with its own detail."""

    status: Status
    cause: str
    n_items: int
    examples: tuple[tuple[ItemKey, str], ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """Counts of a store.

    Attributes
    ----------
    sizes : mapping of (width, height) to int
        Upright pixels → items; unknown sizes left out.
    labels : tuple of LabelFact
        Most annotations first; labels without any are last.
    """

    n_items: int
    n_embedded: int
    n_annotations: int
    subsets: tuple[SubsetFact, ...]
    labels: tuple[LabelFact, ...]
    annotation_types: dict[str, int]
    sizes: dict[tuple[int, int], int]
    failures: tuple[Failure, ...]


def collect(store: EmbeddingStore) -> Facts:
    """Count everything; O(n_rows + n_annotations), plus one lookup for each failed item."""
    codes, counts = np.unique(store.ann_types, return_counts=True)
    sizes, size_counts = np.unique(
        np.stack([store.widths, store.heights], axis=1), axis=0, return_counts=True
    )
    return Facts(
        n_items=store.n_rows,
        n_embedded=int(np.count_nonzero(store.statuses == Status.OK)),
        n_annotations=store.n_annotations,
        subsets=tuple(_subsets(store)),
        labels=tuple(_labels(store)),
        annotation_types={
            store.ann_type_names[code]: int(count)
            for code, count in zip(codes, counts, strict=True)
        },
        sizes={
            (int(width), int(height)): int(count)
            for (width, height), count in zip(sizes, size_counts, strict=True)
            if width and height
        },
        failures=tuple(_failures(store)),
    )


def item_labels(store: EmbeddingStore) -> tuple[IntArray, IntArray]:
    """Pair items with the labels that they have.

    Returns
    -------
    rows, labels : arrays of shape (n_pairs,), int64
        Each pair once, ascending by row, then by label.
    """
    labels = store.ann_labels.astype(np.int64)
    rows = store.ann_rows
    known = (labels >= 0) & (labels < len(store.categories.labels))
    width = max(len(store.categories.labels), 1)
    pairs = np.unique(rows[known] * width + labels[known])
    return pairs // width, pairs % width


def _subsets(store: EmbeddingStore) -> list[SubsetFact]:
    failed = store.statuses != Status.OK
    found = []
    for code, name in enumerate(store.subset_names):
        mine = store.subset_codes == code
        split = Split(int(store.splits[np.argmax(mine)]))
        found.append(SubsetFact(name, split, int(mine.sum()), int((mine & failed).sum())))
    return found


def _labels(store: EmbeddingStore) -> list[LabelFact]:
    names = store.categories.labels
    if not names:
        return []
    known = (store.ann_labels >= 0) & (store.ann_labels < len(names))
    labels = store.ann_labels[known].astype(np.int64)
    splits = store.splits[store.ann_rows[known]].astype(np.int64)
    table = np.zeros((len(names), len(Split)), dtype=np.int64)
    np.add.at(table, (labels, splits), 1)
    n_items = np.bincount(item_labels(store)[1], minlength=len(names))
    order = np.argsort(-table.sum(axis=1), kind="stable")
    return [
        LabelFact(
            name=names[index],
            index=index,
            n_annotations=int(table[index].sum()),
            n_items=int(n_items[index]),
            by_split={split: int(table[index, split]) for split in Split if table[index, split]},
        )
        for index in order.tolist()
    ]


def _failures(store: EmbeddingStore) -> list[Failure]:
    counts: Counter[tuple[Status, str]] = Counter()
    examples: dict[tuple[Status, str], list[tuple[ItemKey, str]]] = {}
    for row in np.flatnonzero(store.statuses != Status.OK).tolist():
        error = store.error(row)
        cause = cause_of(error)
        group = Status(int(store.statuses[row])), cause
        counts[group] += 1
        first = examples.setdefault(group, [])
        if len(first) < _MAX_EXAMPLES:
            first.append((store.key(row), detail_of(error, cause)))
    return [Failure(*group, count, tuple(examples[group])) for group, count in counts.most_common()]
