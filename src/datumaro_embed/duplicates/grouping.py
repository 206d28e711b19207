"""Group pairs of rows into connected components, choose pairs to list, and pair equal rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..similarity import LEVELS, PairBlock, collapse_equal, counts_at, equal_places
from ..similarity.cosine import BoolArray, IntArray, VectorArray

MAX_PAIRS = 100_000
_NO_PAIRS = (*[np.zeros(0, dtype=np.int64)] * 2, np.zeros(0), np.zeros(0, dtype=bool))


class Components:
    """Connected components of a growing graph (union by lowest row, vectorized).

    Takes 24 bytes per row, for any number of pairs.
    """

    def __init__(self, n_rows: int) -> None:
        self._parent = np.arange(n_rows)
        self._least = np.full(n_rows, np.inf)
        self._most = np.full(n_rows, -np.inf)

    def join(self, block: PairBlock, counted: BoolArray | None = None) -> None:
        """Connect the rows of each pair; only the counted pairs' similarities are remembered."""
        seen = block if counted is None else block.where(counted)
        np.minimum.at(self._least, seen.first, seen.similarities)
        np.maximum.at(self._most, seen.first, seen.similarities)
        one, other = block.first, block.second
        while len(one):
            one, other = self.roots(one), self.roots(other)
            apart = one != other
            one, other = one[apart], other[apart]
            np.minimum.at(self._parent, np.maximum(one, other), np.minimum(one, other))

    def groups(self) -> Iterator[tuple[IntArray, float, float]]:
        """Yield the ascending rows and similarity range of each component of two or more rows."""
        roots = self.roots(np.arange(len(self._parent)))
        order = np.argsort(roots, kind="stable")
        order = order[_repeated(roots[order])]
        starts = np.flatnonzero(np.diff(roots[order], prepend=-1))
        for rows in np.split(order, starts[1:]) if len(order) else ():
            yield rows, float(self._least[rows].min()), float(self._most[rows].max())

    def roots(self, rows: IntArray) -> IntArray:
        """Give the least row of the component of each row."""
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
        self._dropped = np.zeros(1 + len(LEVELS), np.int64)

    def add(self, block: PairBlock, across: BoolArray) -> None:
        """Add pairs; `across` tells which are across splits."""
        self._parts.append((block.first, block.second, block.similarities, across))
        self._waiting += len(block)
        self._dropped += block.unlisted
        if self._waiting > 2 * self._max_pairs:
            self._compact()

    def best(self) -> tuple[PairBlock, IntArray]:
        """Return the kept pairs, each once, most important first, and `counts_at` of all pairs."""
        self._compact()
        first, second, similarities, _ = self._parts[0]
        return PairBlock(first, second, similarities), counts_at(similarities) + self._dropped

    def _compact(self) -> None:
        columns = zip(_NO_PAIRS, *self._parts, strict=True)
        first, second, similarities, across = (np.concatenate(column) for column in columns)
        once = np.unique(first * 2**32 + second, return_index=True)[1]  # rows are below 2**32
        order = np.lexsort((second[once], first[once], -similarities[once], ~across[once]))
        kept = once[order][: self._max_pairs]
        self._dropped += counts_at(similarities[once[order][self._max_pairs :]])
        self._parts = [(first[kept], second[kept], similarities[kept], across[kept])]
        self._waiting = len(kept)


class NearestFrames:
    """Keeps for each frame its pair with the most similar earlier frame of the same video.

    One pair in its own split and one in another. Takes 32 bytes per row.
    """

    def __init__(self, n_rows: int) -> None:
        self._first = np.full((2, n_rows), -1)
        self._best = np.full((2, n_rows), -np.inf)

    def add(self, block: PairBlock, across: BoolArray) -> None:
        """Add pairs; `across` tells which are across splits."""
        places = across.astype(np.int64), block.second
        better = block.similarities > self._best[places]
        block, places = block.where(better), (places[0][better], places[1][better])
        order = np.lexsort((-block.first, block.similarities))  # the last of equal places counts
        places = places[0][order], places[1][order]
        self._first[places], self._best[places] = block.first[order], block.similarities[order]

    def pairs(self) -> tuple[PairBlock, BoolArray]:
        """Return the pairs, and which are across splits."""
        across, second = np.nonzero(self._first >= 0)
        places = across, second
        return PairBlock(self._first[places], second, self._best[places]), across.astype(bool)


def _repeated(ordered: IntArray) -> BoolArray:
    """Tell which values of a sorted array occur more than once."""
    repeated = np.zeros(len(ordered), dtype=bool)
    same = ordered[1:] == ordered[:-1]
    repeated[1:] |= same
    repeated[:-1] |= same
    return repeated


def equal_files(
    hashes: npt.NDArray[np.uint8], rows: IntArray, splits: IntArray
) -> tuple[IntArray, IntArray]:
    """Pair rows of equal content hash: each with the first of them, and the first in each split.

    `hashes` (n_rows, 32) are zero if unknown; `rows` are ascending. Returns the first and second
    row of each pair, first below second, each pair once; at most rows × splits pairs.
    """
    known = rows[hashes[rows].any(axis=1)]
    whole = np.ascontiguousarray(hashes[known]).view(np.dtype((np.void, hashes.shape[1])))
    classes = np.unique(whole.reshape(-1), return_inverse=True)[1].reshape(-1)
    order = np.argsort(classes, kind="stable")
    order = order[_repeated(classes[order])]
    members = [*zip(classes[order].tolist(), known[order].tolist(), strict=True)]
    hubs: dict[int, dict[int, int]] = {}
    for of, row in members:
        hubs.setdefault(of, {}).setdefault(int(splits[row]), row)
    pairs = {
        (min(hub, row), max(hub, row))
        for of, row in members
        for hub in hubs[of].values()
        if hub != row
    }
    array = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


class EqualRows:
    """Rows of one split with equal vectors (copies), and a representative of each class."""

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

    def owners(self, owners: IntArray) -> IntArray:
        """Return `owners`, with a new owner for each representative whose copies have several.

        So pairs of its copies are not left out as pairs of one owner. Shape (n_rows,), not below 0.
        """
        several = owners[self._originals] != owners[self._copies]
        found = owners.copy()
        found[self._originals[several]] = len(owners) + self._originals[several]
        return found

    def pairs(self) -> PairBlock:
        """Pair each copy with its representative."""
        return PairBlock(self._originals, self._copies, np.ones(len(self._copies)))

    def expand(self, block: PairBlock, chosen: BoolArray) -> Iterator[PairBlock]:
        """Yield the chosen pairs again for the copies of either row."""
        for one, other in ((block.first, block.second), (block.second, block.first)):
            numbers, places = equal_places(self._originals, one[chosen])
            if not len(places):
                continue
            copies, partners = self._copies[places], other[chosen][numbers]
            yield PairBlock(
                np.minimum(copies, partners),
                np.maximum(copies, partners),
                block.similarities[chosen][numbers],
            )
