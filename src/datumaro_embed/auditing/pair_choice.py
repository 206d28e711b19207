"""Pairs of items → those that are looked at, where there are too many: frames have many."""

from __future__ import annotations

import numpy as np

from ..similarity import join_labels
from .differences import Array

__all__ = ["Neighbors", "likeliest", "of_least_connected"]


_MAX_ALIKE = 8192  # pairs of groups of frames


class Neighbors:
    """The other rows of all pairs of a row, the likeliest first.

    Attributes
    ----------
    counts : array of shape (n_rows,), int64
        How many there are of each row.
    """

    def __init__(self, pairs: Array, scores: Array, n_rows: int) -> None:
        ends = np.concatenate([pairs, pairs[:, ::-1]])
        order = np.lexsort((ends[:, 1], -np.tile(scores, 2), ends[:, 0]))
        self._others = ends[order, 1]
        self._starts = np.searchsorted(ends[order, 0], np.arange(n_rows + 1))
        self.counts = np.diff(self._starts)

    def of(self, row: int) -> Array:
        """Give the rows beside one."""
        found: Array = self._others[self._starts[row] : self._starts[row + 1]]
        return found


def of_least_connected(pairs: Array) -> Array:
    """Tell which pairs to look at: those that are connected with the fewest others, all of each."""
    items, places = np.unique(pairs, return_inverse=True)
    one, other = places.reshape(-1, 2).T
    labels = np.arange(len(items))
    join_labels(labels, one, other)
    n_connected = np.bincount(labels[one], minlength=len(items))
    order = np.argsort(n_connected, kind="stable")
    is_chosen = np.zeros(len(items), bool)
    is_chosen[order] = np.cumsum(n_connected[order]) <= _MAX_ALIKE
    found: Array = is_chosen[labels[one]]
    return found


def likeliest(
    pairs: Array, scores: Array, n_each: int, least: float = 0.0, asking: Array | None = None
) -> Array:
    """Tell which pairs are among the likeliest few of one of their items: frames have many.

    Pairs of lower scores than the least are all kept. `asking`: which items count.
    """
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -scores))
    items = pairs[order].reshape(-1)
    by_item = np.argsort(items, kind="stable")
    ranks = np.empty(len(items), np.int64)
    ranks[by_item] = np.arange(len(items)) - np.searchsorted(items[by_item], items[by_item])
    kept = np.empty(len(pairs), bool)
    if asking is not None:
        ranks[~asking[items]] = n_each
    kept[order] = ranks.reshape(-1, 2).min(axis=1) < n_each
    return kept | (scores < least)
