"""Find all pairs of rows at or above a cosine, equal to brute force in float64 but much faster.

Products of the rounded rows (codes.py) rule out nearly all pairs; the others are computed exactly.
If nearly every pair is near (a fixed camera, blank pages), only some pairs are listed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from ..parallel import map_ahead, usable_processors
from .codes import SLACK, RowCodes, encode_rows, unit_block
from .cosine import BoolArray, Float32Array, Float64Array, IntArray, VectorArray, paired_cosines

Tile = tuple[slice | IntArray, slice | IntArray, object]
"""Places of two sets of rows to compare, and the packed codes of the second set."""

LEVELS = (0.95, 0.97, 0.98, 0.99)
"""Cosines at which pairs are counted."""
ROUNDING = 1e-12  # the cosine of equal vectors may be one unit in the last place below 1

_TILE_ROWS = 2048
_BLOCK_ROWS = 8192
_MAX_LISTED = 64  # with more pairs per row, a tile does not list all of them
_DENSE = 0.003  # above this share of a tile, one full product is faster than single pairs
_FLOAT32 = 3e-6  # above the error of a float32 product of unit rows
_NEAREST = 4  # pairs listed per row and class in such a tile


@dataclass(frozen=True, slots=True)
class PairBlock:
    """Some pairs, as three arrays of shape (n,).

    Attributes
    ----------
    first, second : int64
        Row numbers, first below second.
    similarities : float64
        Cosine.
    unlisted : array of shape (1 + len(LEVELS),), int64
        Number of pairs that are not listed: at or above the threshold, and at or above each level.
        Listed pairs connect the rows of each of them.
    """

    first: IntArray
    second: IntArray
    similarities: Float64Array
    unlisted: IntArray = field(default_factory=lambda: np.zeros(1 + len(LEVELS), np.int64))

    def __len__(self) -> int:
        return len(self.first)

    def where(self, chosen: BoolArray) -> PairBlock:
        """Return the chosen pairs."""
        columns = self.first[chosen], self.second[chosen], self.similarities[chosen]
        return PairBlock(*columns, self.unlisted)


def counts_at(similarities: Float64Array) -> IntArray:
    """Return the number of all pairs, and of those at or above each of `LEVELS`."""
    at = (np.count_nonzero(similarities >= level - ROUNDING) for level in LEVELS)
    return np.array([len(similarities), *at])


def similar_pairs(
    vectors: VectorArray,
    rows: IntArray,
    threshold: float,
    *,
    classes: IntArray | None = None,
    owners: IntArray | None = None,
    progress: bool = False,
) -> Iterator[PairBlock]:
    """Yield every pair of some rows whose cosine is at least a threshold, once, in any order.

    If nearly all rows are near each other (a fixed camera), only the nearest rows of each row in
    each class are listed, and pairs that connect the others; the rest is only counted.

    O(n² · dim) int8 products in threads: about ten seconds for 100,000 rows of length 512 on two
    cores. Memory: dim bytes per row plus about 100 MB.

    Parameters
    ----------
    vectors : array of shape (n_rows, dim), float16 or float32
        Rows of norm 1 within 1e-3; may be a memory map.
    rows : array of shape (n,), int64
        Ascending; the rows to compare, none of them zero.
    threshold : float
        In (0, 1].
    classes : array of shape (n_rows,), optional
        Class of each row of `vectors`, such as its split.
    owners : array of shape (n_rows,), optional
        Owner of each row of `vectors`, such as its item: rows of one owner are not a pair.
    """
    codes = encode_rows(vectors, rows)
    strips = [slice(start, start + _TILE_ROWS) for start in range(0, len(rows), _TILE_ROWS)]
    total = len(strips) * (len(strips) + 1) // 2
    bar = tqdm(total=total, desc="Comparing", unit="tile", disable=None if progress else True)

    def tiles() -> Iterator[Tile]:
        for number, columns in enumerate(strips, start=1):
            packed = codes.pack(columns)
            for strip in strips[:number]:
                yield strip, columns, packed
                bar.update()

    with bar:
        yield from compared(vectors, rows, codes, tiles(), threshold, classes, owners)


def compared(
    vectors: VectorArray,
    rows: IntArray,
    codes: RowCodes,
    tiles: Iterable[Tile],
    threshold: float,
    classes: IntArray | None,
    owners: IntArray | None,
) -> Iterator[PairBlock]:
    """Yield the pairs of some tiles, compared in threads; `codes` are those of `rows`."""
    of = np.arange(len(vectors)) if owners is None else owners

    def compare(tile: Tile) -> PairBlock:
        one, other, packed = tile  # the places may overlap
        products = codes.products(one, packed)
        close = products >= codes.least_product(one, other, threshold)
        if np.count_nonzero(close) > _DENSE * products.size:
            full = unit_block(vectors, rows[one]) @ unit_block(vectors, rows[other]).T
            close = full >= threshold - SLACK
            if np.count_nonzero(close) > _MAX_LISTED * sum(close.shape):
                return _crowded_pairs(vectors, rows[one], rows[other], full, threshold, classes, of)
        i, j = np.nonzero(close)
        first, second = _each_once(rows[one][i], rows[other][j], of)
        similarities = paired_cosines(vectors, first, second)
        return PairBlock(first, second, similarities).where(similarities >= threshold)

    workers = usable_processors()
    for block in map_ahead(compare, tiles, workers=workers, ahead=2 * workers):
        if len(block):
            yield block


def _crowded_pairs(
    vectors: VectorArray,
    one: IntArray,
    other: IntArray,
    full: Float32Array,
    threshold: float,
    classes: IntArray | None,
    owners: IntArray,
) -> PairBlock:
    """List some pairs of a tile with very many; only those near the threshold are computed."""
    passing = full >= threshold + SLACK
    i, j = np.nonzero((full >= threshold - SLACK) & ~passing)
    passing[i, j] = paired_cosines(vectors, one[i], other[j]) >= threshold
    passing &= owners[one][:, None] != owners[other][None, :]
    is_square = np.array_equal(one, other)
    of_columns = np.zeros(len(other), np.int64) if classes is None else classes[other]
    i, j = chosen_pairs(full, passing, of_columns, is_square=is_square)
    first, second = _each_once(one[i], other[j], owners)
    values = full[passing]
    least, most = values.min(initial=2), values.max(initial=-2)
    counts = [len(values)]
    for level in LEVELS:
        if least > level + _FLOAT32 or most < level - _FLOAT32:
            counts.append(len(values) * int(least > level))
            continue
        i, j = np.nonzero(passing & (np.abs(full - np.float32(level)) <= _FLOAT32))
        exact = paired_cosines(vectors, one[i], other[j]) >= level - ROUNDING
        far = np.count_nonzero(values > np.float32(level)) - np.count_nonzero(full[i, j] > level)
        counts.append(int(far) + int(np.count_nonzero(exact)))
    similarities = paired_cosines(vectors, first, second)
    unlisted = np.array(counts) // (2 if is_square else 1) - counts_at(similarities)
    # If the two lists of rows overlap, a pair may be counted twice.
    return PairBlock(first, second, similarities, np.maximum(0, unlisted))


def _each_once(one: IntArray, other: IntArray, owners: IntArray) -> tuple[IntArray, IntArray]:
    """Order the rows of each pair, remove pairs of one owner, and keep each pair once."""
    apart = owners[one] != owners[other]
    one, other = one[apart], other[apart]
    pairs = np.unique(np.minimum(one, other) << 32 | np.maximum(one, other))  # rows: below 2**32
    return pairs >> 32, pairs & (2**32 - 1)


def collapse_equal(vectors: VectorArray, rows: IntArray) -> IntArray:
    """Return for each of some rows the first of them with exactly the same values.

    Hashes each row, about 2 s for a million, and then compares the values.
    """
    hashes = np.empty(len(rows), dtype=np.uint64)
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = np.ascontiguousarray(vectors[rows[start : start + _BLOCK_ROWS]])
        digests = b"".join(hashlib.blake2b(row, digest_size=8).digest() for row in block)
        hashes[start : start + len(block)] = np.frombuffer(digests, dtype=np.uint64)
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    originals: IntArray = rows[first[inverse.reshape(-1)]]
    for place in np.flatnonzero(originals != rows):
        if not np.array_equal(vectors[rows[place]], vectors[originals[place]]):
            originals[place] = rows[place]
    return originals


def chosen_pairs(
    cosines: Float32Array, passing: BoolArray, classes: IntArray, *, is_square: bool
) -> tuple[IntArray, IntArray]:
    """Choose pairs of a tile: the nearest of each row in each class, and pairs to connect the rest.

    Returns two arrays of places. Of the passing pairs in an (m, n) tile, chooses at most 4 per row
    and class of the columns, plus 2 (m + n). They connect the same rows as all of `passing`. In a
    square tile, the columns are the same rows.
    """
    rows, columns = np.zeros((2, 0), np.int64)
    every = np.arange(len(passing))
    for of in np.unique(classes):
        left = np.where(passing & (classes == of), cosines, np.float32(-2))
        for _ in range(_NEAREST):
            best = left.argmax(axis=1)
            found = left[every, best] > -2
            rows = np.concatenate([rows, every[found]])
            columns = np.concatenate([columns, best[found]])
            left[every, best] = -2
    offset = 0 if is_square else passing.shape[0]
    labels = np.arange(offset + passing.shape[1])
    new = rows, columns
    while len(new[0]):
        join_labels(labels, new[0], new[1] + offset)
        of_rows, of_columns = labels[: passing.shape[0]], labels[offset:]
        apart = of_rows[:, None] != of_columns[None, :]
        apart &= passing
        # One pair that leads out of each component (a round of Borůvka's algorithm).
        one, other = (np.flatnonzero(apart.any(axis=axis)) for axis in (1, 0))
        one = one[np.unique(of_rows[one], return_index=True)[1]]
        other = other[np.unique(of_columns[other], return_index=True)[1]]
        new = (
            np.concatenate([one, apart[:, other].argmax(axis=0)]),
            np.concatenate([apart[one].argmax(axis=1), other]),
        )
        rows, columns = np.concatenate([rows, new[0]]), np.concatenate([columns, new[1]])
    return rows, columns


def equal_places(ordered: IntArray, values: IntArray) -> tuple[IntArray, IntArray]:
    """Find values in a sorted array: of each match, which value it is, ascending, and its place."""
    first, last = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    counts = last - first
    numbers = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(numbers)) - np.repeat(np.cumsum(counts) - counts, counts)
    return numbers, first[numbers] + within


def join_labels(labels: IntArray, one: IntArray, other: IntArray) -> None:
    """Set the labels of connected places, (n,) int, to their lowest label, in place.

    `one`, `other`: places that are connected, pair by pair.
    """
    while True:
        least = np.minimum(labels[one], labels[other])
        before = labels.copy()
        for places in (one, other):
            np.minimum.at(labels, labels[places], least)
            np.minimum.at(labels, places, least)
        labels[:] = labels[labels]
        if np.array_equal(before, labels):
            return
