"""Everything a report says of a store, found before any of it is drawn."""

from __future__ import annotations

from itertools import chain, islice, zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt

from ..duplicates import find_duplicates
from ..records import DuplicateGroup, Split, Status
from ..store import EmbeddingStore
from .facts import collect, item_labels
from .projection import Projection, pca, umap
from .typical import Ranked, isolated, typical

__all__ = ["Analysis"]

MAX_POINTS = 200_000
_GALLERY = 12
_SHOWN_GROUPS = 60
_SHOWN_MEMBERS = 12
_EXAMPLES = 60
IntArray = npt.NDArray[np.int64]


class Analysis:
    """Counts, maps and findings.

    Parameters
    ----------
    store : EmbeddingStore
    threshold : float
        Of near-duplicates.
    with_umap : bool

    Attributes
    ----------
    facts : Facts
    rows : array of shape (n_points,), ascending
        Rows with a vector: those on the map.
    maps : list of Projection
        The first is shown first.
    isolated, typical : Ranked
        By row of the store.
    groups : tuple of DuplicateGroup
        Those across splits first.
    shown : mapping of bool to list of (DuplicateGroup, list of int)
        The first groups across splits (True) and the first of the others, each with the rows to
        show: many leaks leave room for near-duplicates within a split.
    examples : mapping of int to int
        Label → row that shows it best, for the commonest labels.
    """

    def __init__(self, store: EmbeddingStore, *, threshold: float, with_umap: bool) -> None:
        self._store = store
        self.facts = collect(store)
        self.rows = _point_rows(store)
        vectors = store.embeddings(self.rows)
        self.maps: list[Projection] = [umap(vectors)] if with_umap else []
        self.maps.append(pca(vectors))
        self.isolated = _of_rows(isolated(vectors, _GALLERY), self.rows)
        self.typical = _of_rows(typical(vectors, _GALLERY), self.rows)
        self.groups = find_duplicates(store, threshold=threshold, progress=True).groups
        self.shown = {
            across: [(group, _shown_rows(store, group)) for group in islice(found, _SHOWN_GROUPS)]
            for across in (True, False)
            for found in [(g for g in self.groups if g.across_splits is across)]
        }
        self.examples = _label_examples(store, self.rows, vectors)

    @property
    def featured(self) -> list[int]:
        """Rows that the page shows outside of the map."""
        grouped = (row for groups in self.shown.values() for _, rows in groups for row in rows)
        ranked = (*self.isolated.rows.tolist(), *self.typical.rows.tolist())
        return [*ranked, *self.examples.values(), *grouped]

    def findings(self) -> IntArray:
        """Code of each point in `points.FINDINGS`: the most serious that holds."""
        codes = np.zeros(self._store.n_rows, dtype=np.int64)
        codes[self.isolated.rows] = 3
        for group in reversed(self.groups):
            codes[[self._store.row(key) for key in group.keys]] = 1 if group.across_splits else 2
        found: IntArray = codes[self.rows]
        return found

    def spread(self) -> list[int]:
        """Every row once, in random order: any first part of it is spread over the dataset."""
        shuffled: list[int] = np.random.default_rng(0).permutation(self.rows).tolist()
        return shuffled


def _point_rows(store: EmbeddingStore) -> IntArray:
    rows: IntArray = np.flatnonzero(store.statuses == Status.OK)
    if len(rows) > MAX_POINTS:
        rows = np.sort(np.random.default_rng(0).choice(rows, MAX_POINTS, replace=False))
    return rows


def _shown_rows(store: EmbeddingStore, group: DuplicateGroup) -> list[int]:
    """First members of each split in turn, so that a leak shows both of its sides."""
    by_split: dict[Split, list[int]] = {}
    for key, split in zip(group.keys, group.splits, strict=True):
        by_split.setdefault(split, []).append(store.row(key))
    turns = chain.from_iterable(zip_longest(*by_split.values()))
    return [row for row in turns if row is not None][:_SHOWN_MEMBERS]


def _of_rows(ranked: Ranked, rows: IntArray) -> Ranked:
    return Ranked(rows[ranked.rows], ranked.similarities, ranked.note)


def _label_examples(
    store: EmbeddingStore, rows: IntArray, vectors: npt.NDArray[Any], most: int = _EXAMPLES
) -> dict[int, int]:
    """For the commonest labels: the row most similar to the mean of the items that have it."""
    owners, labels = item_labels(store)
    counts = np.bincount(labels, minlength=1)
    found = {}
    for label in np.argsort(-counts, kind="stable")[:most].tolist():
        mine = np.flatnonzero(np.isin(rows, owners[labels == label], assume_unique=True))
        if len(mine):
            found[label] = int(rows[mine[typical(vectors[mine], 1).rows[0]]])
    return found
