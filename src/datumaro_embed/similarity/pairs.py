"""All pairs of rows at or above a cosine: those of brute force in float64, far sooner.

Products of the rounded rows (codes.py) rule out nearly all pairs; what is left is computed in full.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from ..parallel import map_ahead, usable_processors
from .codes import SLACK, RowCodes, encode_rows, unit_block
from .cosine import Float64Array, IntArray, VectorArray, paired_cosines
from .dense import chosen_pairs

__all__ = ["PairBlock", "collapse_equal", "similar_pairs", "tile_pairs"]

_TILE_ROWS = 2048
_BLOCK_ROWS = 8192
_MAX_LISTED = 64  # pairs of each row of a tile beyond which not every one is listed
_DENSE = 0.003  # share of a tile from which one full product is quicker than single pairs


@dataclass(frozen=True, slots=True)
class PairBlock:
    """Some pairs, as three arrays of shape (n,).

    Attributes
    ----------
    first, second : int64
        Row numbers, first below second.
    similarities : float64
        Cosine.
    n_unlisted : int
        Further pairs at or above the threshold. The rows of each are connected by pairs that are
        listed.
    """

    first: IntArray
    second: IntArray
    similarities: Float64Array
    n_unlisted: int = 0

    def __len__(self) -> int:
        return len(self.first)


def similar_pairs(
    vectors: VectorArray,
    rows: IntArray,
    threshold: float,
    *,
    classes: IntArray | None = None,
    progress: bool = False,
) -> Iterator[PairBlock]:
    """Yield every pair of some rows whose cosine is at least a threshold.

    Where nearly all rows are near each other (a fixed camera), only the nearest of each row in each
    class are listed, and what connects the others; the rest is counted.

    Parameters
    ----------
    vectors : array of shape (n_rows, dim), float16 or float32
        Rows of norm 1 within 1e-3; may be a memory map.
    rows : array of shape (n,), int64
        Ascending; the rows to compare, none of them zero.
    threshold : float
        In (0, 1].
    classes : array of shape (n_rows,), optional
        Of each row of `vectors`, such as its split.
    progress : bool
        Show a bar where stderr is a terminal.

    Yields
    ------
    PairBlock
        Each pair once, in no particular order.

    Notes
    -----
    O(n² · dim) products of int8 in threads: some ten seconds for 100,000 rows of length 512 on two
    cores. Memory: dim bytes for each row, and some 100 MB.
    """
    codes = encode_rows(vectors, rows)
    strips = [slice(start, start + _TILE_ROWS) for start in range(0, len(rows), _TILE_ROWS)]
    bar = tqdm(
        total=len(strips) * (len(strips) + 1) // 2,
        desc="Comparing",
        unit="tile",
        disable=None if progress else True,
    )

    def compare(tile: tuple[slice, slice, object]) -> PairBlock:
        return tile_pairs(vectors, rows, codes, *tile, threshold, classes)

    def tiles() -> Iterator[tuple[slice, slice, object]]:
        for number, columns in enumerate(strips, start=1):
            packed = codes.pack(columns)
            yield from ((strip, columns, packed) for strip in strips[:number])

    workers = usable_processors()
    with bar:
        for block in map_ahead(compare, tiles(), workers=workers, ahead=2 * workers):
            bar.update()
            if len(block):
                yield block


def tile_pairs(
    vectors: VectorArray,
    rows: IntArray,
    codes: RowCodes,
    one: slice | IntArray,
    other: slice | IntArray,
    packed: object,
    threshold: float,
    classes: IntArray | None = None,
) -> PairBlock:
    """Compare each of some rows with each of some others.

    Parameters
    ----------
    vectors, rows, threshold, classes
        As in `similar_pairs`.
    codes : RowCodes
        Of `rows`.
    one, other : slice or array of int64
        Places in `rows`; these may overlap.
    packed
        ``codes.pack(other)``.

    Returns
    -------
    PairBlock
        Each pair once.
    """
    products = codes.products(one, packed)
    close = products >= codes.least_product(one, other, threshold)
    if np.count_nonzero(close) > _DENSE * products.size:
        full = unit_block(vectors, rows[one]) @ unit_block(vectors, rows[other]).T
        close = full >= threshold - SLACK
        if np.count_nonzero(close) > _MAX_LISTED * sum(close.shape):
            return _crowded_pairs(vectors, rows[one], rows[other], full, threshold, classes)
    i, j = np.nonzero(close)
    first, second = _each_once(rows[one][i], rows[other][j])
    similarities = paired_cosines(vectors, first, second)
    kept = similarities >= threshold
    return PairBlock(first[kept], second[kept], similarities[kept])


def _crowded_pairs(
    vectors: VectorArray,
    one: IntArray,
    other: IntArray,
    full: npt.NDArray[np.float32],
    threshold: float,
    classes: IntArray | None,
) -> PairBlock:
    """List some pairs of a tile that has very many; what is near the threshold is computed."""
    passing = full >= threshold + SLACK
    i, j = np.nonzero((full >= threshold - SLACK) & ~passing)
    passing[i, j] = paired_cosines(vectors, one[i], other[j]) >= threshold
    passing &= one[:, None] != other[None, :]
    is_square = np.array_equal(one, other)
    of_columns = np.zeros(len(other), np.int64) if classes is None else classes[other]
    i, j = chosen_pairs(full, passing, of_columns, is_square=is_square)
    first, second = _each_once(one[i], other[j])
    n_passing = int(np.count_nonzero(passing)) // (2 if is_square else 1)
    similarities = paired_cosines(vectors, first, second)
    # In two lists of rows that overlap a pair may pass twice.
    return PairBlock(first, second, similarities, max(0, n_passing - len(first)))


def _each_once(one: IntArray, other: IntArray) -> tuple[IntArray, IntArray]:
    """Order each pair, leave out those of a row with itself, and keep one of each."""
    apart = one != other
    one, other = one[apart], other[apart]
    pairs = np.unique(np.minimum(one, other) << 32 | np.maximum(one, other))  # rows: below 2**32
    return pairs >> 32, pairs & (2**32 - 1)


def collapse_equal(vectors: VectorArray, rows: IntArray) -> IntArray:
    """For each of some rows, the first of them with the very same values.

    Returns
    -------
    array of shape (n,), int64
        Row numbers; a row that is like none before it has its own.

    Notes
    -----
    One hash a row, about 2 s for a million; equality is checked, not assumed from the hash.
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
