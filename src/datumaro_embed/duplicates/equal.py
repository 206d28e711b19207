"""Items that are equal, found without comparing all with all: by their files, by their vectors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ..similarity import PairBlock, collapse_equal
from ..similarity.cosine import VectorArray
from .grouping import stars

__all__ = ["EqualRows", "equal_files"]

IntArray = npt.NDArray[np.int64]


def equal_files(
    hashes: npt.NDArray[np.uint8], rows: IntArray, splits: IntArray
) -> tuple[IntArray, IntArray]:
    """Pair rows of equal content hash, each with the first of its class in each split.

    Parameters
    ----------
    hashes : array of shape (n_rows, 32)
        Zero where it is unknown.
    rows : array of shape (n,)
        Ascending; those to look at.
    splits : array of shape (n_rows,)

    Returns
    -------
    first, second : arrays of shape (n_pairs,)
    """
    known = rows[hashes[rows].any(axis=1)]
    return stars(known, _as_numbers(hashes[known]), splits)


class EqualRows:
    """Rows of one split with equal vectors, and the row that stands for each class.

    Parameters
    ----------
    vectors : array of shape (n_rows, dim)
    rows : array of shape (n,)
        Ascending; those to look at.
    splits : array of shape (n_rows,)
    """

    def __init__(self, vectors: VectorArray, rows: IntArray, splits: IntArray) -> None:
        originals = np.empty(len(rows), dtype=np.int64)
        for split in np.unique(splits[rows]):
            here = splits[rows] == split
            originals[here] = collapse_equal(vectors, rows[here])
        copies = originals != rows
        self.representatives: IntArray = rows[~copies]
        order = np.argsort(originals[copies], kind="stable")
        self._originals = originals[copies][order]
        self._copies = rows[copies][order]

    def pairs(self) -> PairBlock:
        """Pair each copy with what stands for it."""
        return PairBlock(self._originals, self._copies, np.ones(len(self._copies)))

    def expand(self, block: PairBlock, chosen: npt.NDArray[np.bool_]) -> Iterator[PairBlock]:
        """Repeat chosen pairs for the copies of either side."""
        for one, other in ((block.first, block.second), (block.second, block.first)):
            first, last = (
                np.searchsorted(self._originals, one[chosen], side=side)
                for side in ("left", "right")
            )
            counts = last - first
            if not counts.sum():
                continue
            places = np.concatenate([np.arange(a, b) for a, b in zip(first, last, strict=True)])
            copies = self._copies[places]
            partners = np.repeat(other[chosen], counts)
            yield PairBlock(
                np.minimum(copies, partners),
                np.maximum(copies, partners),
                np.repeat(block.similarities[chosen], counts),
            )


def _as_numbers(hashes: npt.NDArray[np.uint8]) -> IntArray:
    """Number equal hashes alike: (n, 32) uint8 → (n,) int64."""
    whole = np.ascontiguousarray(hashes).view(np.dtype((np.void, hashes.shape[1]))).reshape(-1)
    numbers: IntArray = np.unique(whole, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return numbers
