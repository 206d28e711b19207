"""Tiles in which nearly every pair is near (a fixed camera, blank pages): few pairs say it all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .cosine import IntArray

__all__ = ["chosen_pairs"]

BoolArray = npt.NDArray[np.bool_]

_NEAREST = 4


def chosen_pairs(
    cosines: npt.NDArray[np.float32], passing: BoolArray, classes: IntArray, *, is_square: bool
) -> tuple[IntArray, IntArray]:
    """Choose pairs of a tile: the nearest of each row in each class, and what connects the rest.

    Parameters
    ----------
    cosines : array of shape (m, n), float32
    passing : array of shape (m, n)
        Pairs to choose from.
    classes : array of shape (n,)
        Of the columns.
    is_square : bool
        Columns are the same rows again.

    Returns
    -------
    i, j : arrays of shape (n_pairs,)
        Places in the tile. At most 4 for each row and class, and 2 (m + n). They connect whatever
        `passing` connects.
    """
    parts = [_nearest(cosines, passing & (classes == c)) for c in np.unique(classes)]
    rows, columns = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    offset = 0 if is_square else passing.shape[0]
    labels = np.arange(offset + passing.shape[1])
    new = rows, columns
    while len(new[0]):
        _join(labels, new[0], new[1] + offset)
        apart = labels[: passing.shape[0], None] != labels[None, offset:]
        apart &= passing
        new = _one_each(apart, labels[: passing.shape[0]], labels[offset:])
        rows, columns = np.concatenate([rows, new[0]]), np.concatenate([columns, new[1]])
    return rows, columns


def _one_each(
    apart: BoolArray, of_rows: IntArray, of_columns: IntArray
) -> tuple[IntArray, IntArray]:
    """Choose one pair that leads out of each component (a round of Borůvka's algorithm)."""
    rows, columns = (np.flatnonzero(apart.any(axis=axis)) for axis in (1, 0))
    rows = rows[np.unique(of_rows[rows], return_index=True)[1]]
    columns = columns[np.unique(of_columns[columns], return_index=True)[1]]
    return (
        np.concatenate([rows, apart[:, columns].argmax(axis=0)]),
        np.concatenate([apart[rows].argmax(axis=1), columns]),
    )


def _nearest(cosines: npt.NDArray[np.float32], passing: BoolArray) -> tuple[IntArray, IntArray]:
    left = np.where(passing, cosines, np.float32(-2))
    every = np.arange(len(left))
    rows, columns = [], []
    for _ in range(_NEAREST):
        best = left.argmax(axis=1)
        found = left[every, best] > -2
        rows.append(every[found])
        columns.append(best[found])
        left[every, best] = -2
    return np.concatenate(rows), np.concatenate(columns)


def _join(labels: IntArray, one: IntArray, other: IntArray) -> None:
    """Give connected places the same label, the least of theirs; in place."""
    while True:
        least = np.minimum(labels[one], labels[other])
        before = labels.copy()
        for places in (one, other):
            np.minimum.at(labels, labels[places], least)
            np.minimum.at(labels, places, least)
        labels[:] = labels[labels]
        if np.array_equal(before, labels):
            return
