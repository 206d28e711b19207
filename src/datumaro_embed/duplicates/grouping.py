"""Pairs of rows → connected components, and the pairs worth showing; NumPy alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..similarity import PairBlock

__all__ = ["Components", "PairKeeper", "stars"]

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

MAX_PAIRS = 100_000
_NO_PAIRS = (*[np.zeros(0, dtype=np.int64)] * 2, np.zeros(0), np.zeros(0, dtype=bool))


class Components:
    """Connected components of a growing graph (union by least row, in whole arrays).

    Parameters
    ----------
    n_rows : int

    Notes
    -----
    24 bytes for each row, whatever the number of pairs.
    """

    def __init__(self, n_rows: int) -> None:
        self._parent = np.arange(n_rows)
        self._least = np.full(n_rows, np.inf)
        self._most = np.full(n_rows, -np.inf)

    def join(self, block: PairBlock) -> None:
        """Connect the rows of each pair."""
        np.minimum.at(self._least, block.first, block.similarities)
        np.maximum.at(self._most, block.first, block.similarities)
        one, other = block.first, block.second
        while len(one):
            one, other = self._roots(one), self._roots(other)
            apart = one != other
            one, other = one[apart], other[apart]
            np.minimum.at(self._parent, np.maximum(one, other), np.minimum(one, other))

    def groups(self) -> Iterator[tuple[IntArray, float, float]]:
        """Yield the ascending rows, least and greatest similarity of each component of two on."""
        roots = self._roots(np.arange(len(self._parent)))
        order = np.argsort(roots, kind="stable")
        order = order[_repeated(roots[order])]
        starts = np.flatnonzero(np.diff(roots[order], prepend=-1))
        for rows in np.split(order, starts[1:]) if len(order) else ():
            yield rows, float(self._least[rows].min()), float(self._most[rows].max())

    def _roots(self, rows: IntArray) -> IntArray:
        found = self._parent[rows]
        while not np.array_equal(found, higher := self._parent[found]):
            found = higher
        self._parent[rows] = found
        return found


class PairKeeper:
    """Keeps a bounded number of pairs: those across splits first, then the most similar."""

    def __init__(self, max_pairs: int = MAX_PAIRS) -> None:
        self._max_pairs = max_pairs
        self._parts: list[tuple[npt.NDArray[Any], ...]] = []
        self._waiting = 0
        self._dropped = 0

    def add(self, block: PairBlock, across: BoolArray) -> None:
        """Take some pairs."""
        self._parts.append((block.first, block.second, block.similarities, across))
        self._waiting += len(block)
        self._dropped += block.n_unlisted
        if self._waiting > 2 * self._max_pairs:
            self._compact()

    def best(self) -> tuple[PairBlock, int]:
        """Give the pairs kept, each once, in their order of importance, and how many there were."""
        self._compact()
        first, second, similarities, _ = self._parts[0]
        return PairBlock(first, second, similarities), len(first) + self._dropped

    def _compact(self) -> None:
        columns = zip(_NO_PAIRS, *self._parts, strict=True)
        first, second, similarities, across = (np.concatenate(column) for column in columns)
        once = np.unique(first * 2**32 + second, return_index=True)[1]  # rows are below 2**32
        order = np.lexsort((second[once], first[once], -similarities[once], ~across[once]))
        kept = once[order][: self._max_pairs]
        self._dropped += len(once) - len(kept)
        self._parts = [(first[kept], second[kept], similarities[kept], across[kept])]
        self._waiting = len(kept)


def stars(rows: IntArray, classes: IntArray, splits: IntArray) -> tuple[IntArray, IntArray]:
    """Pair every row with the first row of its class, and the first of its class in each split.

    Parameters
    ----------
    rows : array of shape (n,)
        Ascending.
    classes : array of shape (n,)
        Rows with equal numbers are of one class.
    splits : array of shape (n_rows,)
        Of every row of the store.

    Returns
    -------
    first, second : arrays of shape (n_pairs,)
        Row numbers, first below second, each pair once. As many as rows, times the splits.
    """
    hubs: dict[int, dict[int, int]] = {}
    order = np.argsort(classes, kind="stable")
    repeated = order[_repeated(classes[order])]
    pairs = set()
    for place in repeated.tolist():
        hubs.setdefault(int(classes[place]), {}).setdefault(
            int(splits[rows[place]]), int(rows[place])
        )
    for place in repeated.tolist():
        row = int(rows[place])
        for hub in hubs[int(classes[place])].values():
            if hub != row:
                pairs.add((min(hub, row), max(hub, row)))
    array = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def _repeated(ordered: IntArray) -> BoolArray:
    """Tell which values of a sorted array stand there more than once."""
    repeated = np.zeros(len(ordered), dtype=bool)
    same = ordered[1:] == ordered[:-1]
    repeated[1:] |= same
    repeated[:-1] |= same
    return repeated
