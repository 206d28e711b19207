"""Counts of a store: subsets, labels, annotations, sizes, failures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..causes import cause_of, detail_of
from ..records import ItemKey, Split, Status
from ..store import EmbeddingStore

_MAX_EXAMPLES = 50
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LabelFact:
    """Annotations of one label, in total and by split, and the items that have any."""

    name: str
    index: int
    n_annotations: int
    n_items: int
    by_split: dict[Split, int]


@dataclass(frozen=True, slots=True)
class SizeFacts:
    """Image sizes; `counts` has (width, height, n_items) in upright pixels, the commonest first.

    `axis_end` is a round number, at least the longest side.
    """

    counts: list[tuple[int, int, int]]
    n_landscape: int
    n_portrait: int
    n_square: int
    n_unknown: int
    axis_end: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Items that failed for one cause; `examples` holds the first few, each with its detail."""

    status: Status
    cause: str
    n_items: int
    examples: tuple[tuple[ItemKey, str], ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """Counts of a store: items by subset, annotations by type and label, sizes, failures.

    Attributes
    ----------
    item_labels : tuple of three int64 arrays (n_pairs,)
        Row, label, number of annotations: each pair of an item and a label of its annotations,
        ascending by row, then by label.
    labels : tuple of LabelFact
        Most annotations first; labels without any are last.
    """

    n_items: int
    n_failed: int
    subsets: dict[str, int]
    annotation_types: dict[str, int]
    item_labels: tuple[IntArray, IntArray, IntArray]
    labels: tuple[LabelFact, ...]
    sizes: SizeFacts
    failures: tuple[Failure, ...]


def collect(store: EmbeddingStore) -> Facts:
    """Count everything; O(n_rows + n_annotations), plus one lookup for each failed item."""
    subsets = np.bincount(store.subset_codes, minlength=len(store.subset_names)).tolist()
    types = np.bincount(store.ann_types, minlength=len(store.ann_type_names)).tolist()
    item_labels = store.items.label_counts()
    return Facts(
        n_items=store.n_rows,
        n_failed=int(np.count_nonzero(store.statuses != Status.OK)),
        subsets=dict(zip(store.subset_names, subsets, strict=True)),
        annotation_types={
            name: n for name, n in zip(store.ann_type_names, types, strict=True) if n
        },
        item_labels=item_labels,
        labels=tuple(_labels(store, *item_labels)),
        sizes=size_facts(store.widths, store.heights),
        failures=tuple(_failures(store)),
    )


def size_facts(widths: npt.NDArray[Any], heights: npt.NDArray[Any]) -> SizeFacts:
    """Count sizes; 0 stands for unknown."""
    known = (widths > 0) & (heights > 0)
    pairs = np.stack([widths, heights], axis=1)[known].astype(np.int64)
    sizes, counts = np.unique(pairs, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    surplus = pairs[:, 0] - pairs[:, 1]
    return SizeFacts(
        counts=[(*sizes[at].tolist(), int(counts[at])) for at in order],
        n_landscape=int(np.count_nonzero(surplus > 0)),
        n_portrait=int(np.count_nonzero(surplus < 0)),
        n_square=int(np.count_nonzero(surplus == 0)),
        n_unknown=int(np.count_nonzero(~known)),
        axis_end=_round_up(int(pairs.max(initial=1))),
    )


def _round_up(value: int) -> int:
    power = 10 ** math.floor(math.log10(value))
    return next(int(k * power) for k in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if k * power >= value)


def _labels(
    store: EmbeddingStore, rows: IntArray, labels: IntArray, counts: IntArray
) -> list[LabelFact]:
    names = store.categories.labels
    table = np.zeros((len(names), len(Split)), dtype=np.int64)
    np.add.at(table, (labels, store.splits[rows].astype(np.int64)), counts)
    n_items = np.bincount(labels, minlength=len(names))
    return [
        LabelFact(
            name=names[index],
            index=index,
            n_annotations=int(table[index].sum()),
            n_items=int(n_items[index]),
            by_split={split: int(table[index, split]) for split in Split if table[index, split]},
        )
        for index in np.argsort(-table.sum(axis=1), kind="stable").tolist()
    ]


def _failures(store: EmbeddingStore) -> list[Failure]:
    found: dict[tuple[Status, str], list[int]] = {}
    for row in np.flatnonzero(store.statuses != Status.OK).tolist():
        group = Status(int(store.statuses[row])), cause_of(store.error(row))
        found.setdefault(group, []).append(row)
    failures = []
    for (status, cause), rows in sorted(found.items(), key=lambda pair: -len(pair[1])):
        first = rows[:_MAX_EXAMPLES]
        examples = tuple((store.key(row), detail_of(store.error(row), cause)) for row in first)
        failures.append(Failure(status, cause, len(rows), examples))
    return failures
