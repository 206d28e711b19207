"""Vectors and signatures → pairs of items that may be copies: each item and the nearest few.

By vectors, by gray levels and by colors: what is turned or gray may be far by vectors, what is cut
out or shown on a page too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..similarity import neighbours
from .differences import Array
from .likeness import are_framed, insides, palettes, turnless
from .references import in_blocks

__all__ = ["Candidates"]

_NEAREST_SHAPES, _NEAREST_PALETTES = 2, 4
_DESCRIBED_ROWS = 8192


class Candidates:
    """Pairs of rows of one table, or of the two sides of one.

    Parameters
    ----------
    vectors : array of shape (n_rows, dim), float16 or float32
    signatures : array of shape (n_rows, 3072), uint8
        Zeros where there is none. They may change between two calls of `pairs`.
    sides : array of shape (n_rows,), int64
        0 for each row of the first store, 1 for each of the second.
    n_sides : int
        2: only rows of unlike sides are paired.
    progress : bool
        Show bars if stderr is a terminal.
    """

    def __init__(
        self, vectors: Array, signatures: Array, sides: Array, n_sides: int, *, progress: bool
    ) -> None:
        self._vectors, self._signatures, self._progress = vectors, signatures, progress
        self._sides, self._n_sides = sides, n_sides

    def pairs(self, rows: Array, k: int, of: Array | None = None) -> Array:
        """Pair rows with the nearest k by vectors, and few by signatures: (n, 2), each once.

        Parameters
        ----------
        rows : array of int64
            Ascending; those without a signature are in no pair.
        of : array of int64, optional
            Pair only these of the rows, and not by what is inside a frame.
        """
        n_rows = len(self._signatures)
        rows = rows[self._signatures[rows].any(axis=1)]
        shapes, colors = self._described(turnless), self._described(palettes)
        textured = rows[np.abs(shapes[rows]).sum(axis=1) > 0]
        found = [np.zeros(0, np.int64)]
        for table, among, n in (
            (self._vectors, rows, k),
            (shapes, textured, _NEAREST_SHAPES),
            (colors, rows, _NEAREST_PALETTES),
        ):
            queries = among if of is None else np.intersect1d(among, of)
            for own, others in self._ways(queries, among):
                near = neighbours(table, own, n, among=others, progress=self._progress)
                found.append(self._codes(own, near))
        for every, others in self._ways(rows, rows) if of is None else ():
            own = every[are_framed(self._signatures[every])]
            inside = insides(self._signatures[own])  # of a border, or of a page
            for table, describe, n in (
                (shapes, turnless, _NEAREST_SHAPES),
                (colors, palettes, _NEAREST_PALETTES),
            ):
                described = describe(inside)
                is_there = described.any(axis=1)
                near = neighbours(
                    np.concatenate([table, described[is_there]]),
                    np.arange(n_rows, n_rows + is_there.sum()),
                    n,
                    among=others[table[others].any(axis=1)],
                    progress=self._progress,
                )
                found.append(self._codes(own[is_there], near))
        return np.stack(np.divmod(np.unique(np.concatenate(found)), n_rows), axis=1)

    def _described(self, describe: Callable[[Array], Array]) -> Array:
        blocks = in_blocks(
            lambda rows: describe(self._signatures[rows]),
            len(self._signatures),
            n_rows=_DESCRIBED_ROWS,
            what=describe.__name__,
            progress=self._progress,
        )
        return np.concatenate([describe(self._signatures[:0]), *blocks])

    def _ways(self, queries: Array, among: Array) -> Iterator[tuple[Array, Array]]:
        """Yield rows to pair with others: those of the other side, if there are two."""
        if self._n_sides == 1:
            yield queries, among
            return
        for side in (0, 1):
            yield queries[self._sides[queries] == side], among[self._sides[among] != side]

    def _codes(self, own: Array, near: Array) -> Array:
        """Number each pair of a row and one that is near it, the lesser row first."""
        one, other = np.repeat(own, near.shape[1]), near.reshape(-1)
        known = (other >= 0) & (other != one)
        one, other = one[known], other[known]
        found: Array = np.minimum(one, other) * len(self._signatures) + np.maximum(one, other)
        return found
