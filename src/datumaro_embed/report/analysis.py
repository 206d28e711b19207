"""All facts and findings of one store, before any of them is drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain, islice, zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt

from ..duplicates import find_duplicates
from ..records import DuplicateGroup, ItemKey, Split, Status
from ..store import EmbeddingStore
from ..vectors import unit_rows
from .facts import collect
from .projection import Projection, Vectors, pca, umap

MAX_POINTS = 200_000
_GALLERY = 12
_SHOWN_GROUPS = 60
_SHOWN_MEMBERS = 12
_EXAMPLES = 60
_BLOCK_ROWS = 2_048
_MAX_REFERENCES = 10_000
_NEIGHBOURS = 5
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Ranked:
    """Rows in order with the similarity that ranks them; `note` describes the ranking."""

    rows: list[int]
    similarities: list[float]
    note: str


@dataclass(frozen=True, slots=True)
class Item:
    """An item of a card; `point` is its index on the map, None where it is not there."""

    row: int
    key: ItemKey
    split: Split
    labels: tuple[str, ...]
    point: int | None


class Analysis:
    """Counts, maps and findings.

    Attributes
    ----------
    rows : array of shape (n_points,), ascending
        Rows with a vector: those on the map.
    maps : list of Projection
        The first is shown first.
    isolated, typical : Ranked
        By row of the store.
    shown : mapping of bool to list of (DuplicateGroup, list of int)
        The first groups across splits (True) and the first of the others, each with the rows to
        show: many leaks leave room for near-duplicates within a split.
    examples : mapping of int to int
        Label → row most similar to the mean of the items that have it, for the commonest labels.
    """

    def __init__(self, store: EmbeddingStore, *, threshold: float, with_umap: bool) -> None:
        self.store = store
        self.facts = collect(store)
        self.rows: IntArray = np.flatnonzero(store.statuses == Status.OK)
        if len(self.rows) > MAX_POINTS:
            random = np.random.default_rng(0)
            self.rows = np.sort(random.choice(self.rows, MAX_POINTS, replace=False))
        vectors = store.embeddings(self.rows)
        self.maps: list[Projection] = [umap(vectors)] if with_umap else []
        self.maps.append(pca(vectors))
        self.isolated = self._by_row(isolated(vectors, _GALLERY))
        self.typical = self._by_row(typical(vectors, _GALLERY))
        self.groups = find_duplicates(store, threshold=threshold, progress=True).groups
        self.shown = {
            across: [(group, self._shown_rows(group)) for group in islice(found, _SHOWN_GROUPS)]
            for across in (True, False)
            for found in [(g for g in self.groups if g.across_splits is across)]
        }
        self.examples = self._label_examples(vectors)

    def item(self, row: int) -> Item:
        """Look an item up."""
        point = int(np.searchsorted(self.rows, row))
        return Item(
            row,
            self.store.key(row),
            Split(int(self.store.splits[row])),
            self.store.labels_of(row),
            point if point < len(self.rows) and self.rows[point] == row else None,
        )

    @property
    def featured(self) -> list[int]:
        """Rows that the page shows outside of the map, one entry for each time."""
        grouped = (row for groups in self.shown.values() for _, rows in groups for row in rows)
        ranked = (*self.isolated.rows, *self.typical.rows)
        return [*ranked, *self.examples.values(), *grouped]

    def findings(self) -> IntArray:
        """Code of each point in `points.FINDINGS`: the most serious that holds."""
        codes = np.zeros(self.store.n_rows, dtype=np.int64)
        codes[self.isolated.rows] = 3
        for group in reversed(self.groups):
            codes[[self.store.row(key.item) for key in group.keys]] = (
                1 if group.across_splits else 2
            )
        found: IntArray = codes[self.rows]
        return found

    def _by_row(self, ranked: Ranked) -> Ranked:
        return replace(ranked, rows=self.rows[ranked.rows].tolist())

    def _shown_rows(self, group: DuplicateGroup) -> list[int]:
        """First members of each split in turn, so that a leak shows both of its sides."""
        by_split: dict[Split, list[int]] = {}
        for key, split in zip(group.keys, group.splits, strict=True):
            by_split.setdefault(split, []).append(self.store.row(key.item))
        turns = chain.from_iterable(zip_longest(*by_split.values()))
        return [row for row in turns if row is not None][:_SHOWN_MEMBERS]

    def _label_examples(self, vectors: npt.NDArray[Any]) -> dict[int, int]:
        owners, labels, _ = self.facts.item_labels
        counts = np.bincount(labels, minlength=1)
        found = {}
        for label in np.argsort(-counts, kind="stable")[:_EXAMPLES].tolist():
            mine = np.isin(self.rows, owners[labels == label], assume_unique=True)
            if mine.any():
                best = typical(vectors[mine], 1).rows[0]
                found[label] = int(self.rows[mine][best])
        return found


def isolated(vectors: Vectors, k: int) -> Ranked:
    """Rank at most `k` unit rows by mean similarity to their five nearest others, lowest first.

    Exact up to 10,000 rows; above, the others are a random 10,000 of all. O(n · 10,000 · dim) time:
    about 20 s for 100,000 × 512 on two cores; 80 MB.
    """
    n_rows = len(vectors)
    references = np.arange(n_rows)
    if n_rows > _MAX_REFERENCES:
        random = np.random.default_rng(0)
        references = np.sort(random.choice(n_rows, _MAX_REFERENCES, replace=False))
    nearest = min(_NEIGHBOURS, len(references) - 1)
    if nearest < 1:
        return Ranked([], [], "The store has too few embedded items to rank.")
    others = np.asarray(vectors[references], dtype=np.float32)
    means = np.empty(n_rows, dtype=np.float32)
    for start in range(0, n_rows, _BLOCK_ROWS):
        rows = np.arange(start, min(start + _BLOCK_ROWS, n_rows))
        block = np.asarray(vectors[start : rows[-1] + 1], dtype=np.float32) @ others.T
        position = np.searchsorted(references, rows).clip(max=len(references) - 1)
        itself = references[position] == rows
        block[np.flatnonzero(itself), position[itself]] = -2.0
        means[rows] = np.partition(block, -nearest, axis=1)[:, -nearest:].mean(axis=1)
    order = np.argsort(means, kind="stable")[:k]
    sample = f" among {_MAX_REFERENCES:,} random items" if n_rows > _MAX_REFERENCES else ""
    neighbours = f"{nearest} nearest neighbors" if nearest > 1 else "nearest neighbor"
    note = f"Items with the lowest mean cosine similarity to their {neighbours}{sample}."
    return Ranked(order.tolist(), means[order].tolist(), note)


def typical(vectors: Vectors, k: int) -> Ranked:
    """Rank at most `k` unit rows by similarity to the mean of all rows, highest first."""
    if not len(vectors):
        return Ranked([], [], "No item has an embedding.")
    centre = unit_rows(vectors.mean(axis=0, dtype=np.float32)[None])[0]
    similarities = vectors.astype(np.float32) @ centre
    order = np.argsort(-similarities, kind="stable")[:k]
    note = "Items with the highest cosine similarity to the mean embedding."
    return Ranked(order.tolist(), similarities[order].tolist(), note)
