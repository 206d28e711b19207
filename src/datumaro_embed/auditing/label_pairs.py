"""Two labels that are together in one picture alone, though both are frequent: one may be wrong."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..findings import Finding, finding
from ..similarity import equal_places
from ..similarity.cosine import IntArray
from ..store import EmbeddingStore

_CHANCE = 0.01  # that a dataset whose labels are independent has such a pair at all


def odd_pairs(store: EmbeddingStore, groups: IntArray) -> Iterator[Finding]:
    """Yield both labels of each such pair, the most surprising pair first.

    Counts of items alone: n_a · n_b / n are expected to have both labels if these are independent.
    One or none is odd where a Poisson variable of that mean is that small with a probability of
    1 % divided by the number of pairs of labels (Bonferroni). Copies (`groups`, one number for each
    item) count once.
    """
    items, labels = store.items.label_pairs()
    of = np.unique(np.stack([groups[items], labels]), axis=1)
    n_items, counts = len(np.unique(of[0])), np.bincount(of[1])
    first, second = equal_places(items, items)  # all pairs of one item, the lower place first
    first, second = first[first < second], second[first < second]
    found = np.stack([labels[first], labels[second], groups[items[first]]])
    found, places = np.unique(found, axis=1, return_index=True)
    pairs, starts, n_times = np.unique(found[:2], axis=1, return_index=True, return_counts=True)
    expected = counts[pairs].prod(axis=0) / max(n_items, 1)
    n_pairs = np.count_nonzero(counts) ** 2 / 2
    odd = (n_times == 1) & (np.exp(-expected) * (1 + expected) * n_pairs < _CHANCE)
    order = np.flatnonzero(odd)[np.argsort(-expected[odd], kind="stable")]
    table = store.objects if store.has_table("objects") else store.items
    names = store.categories.labels
    for rank, n in enumerate(order.tolist(), start=1):
        item = int(items[first[places[starts[n]]]])
        for label, other in (pairs[:, n], pairs[::-1, n]):
            rows = table.of(item)
            own = [row for row in rows if names[label] in table.labels_of(row)]
            yield finding(
                store,
                table if own else store.items,
                own[0] if own else item,
                kind="odd_pair",
                label=names[label],
                group=rank,
                rank=rank,
                measure="expected",
                value=round(float(expected[n]), 4),
                suggestion="review",
                reason=f"'{names[label]}' and '{names[other]}' are together in no other item; "
                f"{expected[n]:.0f} are expected",
            )
