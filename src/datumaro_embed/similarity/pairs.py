"""All pairs of rows at or above a cosine: those of brute force in float64, far sooner.

Every row is written in the principal axes of the rows. The first 64 coordinates, and what is left
of the norm, bound a cosine from above (Cauchy-Schwarz): one matrix product an eighth as long rules
out nearly all pairs. The first 192 bound it more closely, and what is left is computed in full.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from .cosine import Float64Array, IntArray, VectorArray, paired_cosines

__all__ = ["PairBlock", "collapse_equal", "similar_pairs"]

Float32Array = npt.NDArray[np.float32]

_TILE_ROWS = 1024
_TILE_COLUMNS = 2048
_BLOCK_ROWS = 8192
_N_AXES = 64
_N_MORE_AXES = 192
_SAMPLE_ROWS = 16_384
_CHUNK_PAIRS = 16_384
_DENSE = 0.003  # share of a tile from which one full product is quicker than single pairs
_SLACK = 1e-4  # of float32 arithmetic on unit rows, generously


@dataclass(frozen=True, slots=True)
class PairBlock:
    """Some pairs, as three arrays of shape (n,).

    Attributes
    ----------
    first, second : int64
        Row numbers, first below second.
    similarities : float64
        Cosine.
    """

    first: IntArray
    second: IntArray
    similarities: Float64Array

    def __len__(self) -> int:
        return len(self.first)


def similar_pairs(
    vectors: VectorArray, rows: IntArray, threshold: float, *, progress: bool = False
) -> Iterator[PairBlock]:
    """Yield every pair of some rows whose cosine is at least a threshold.

    Parameters
    ----------
    vectors : array of shape (n_rows, dim), float16 or float32
        Rows of norm 1 within 1e-3; may be a memory map.
    rows : array of shape (n,), int64
        Ascending; the rows to compare, none of them zero.
    threshold : float
        In (0, 1].
    progress : bool
        Show a bar where stderr is a terminal.

    Yields
    ------
    PairBlock
        Each pair once, in no particular order.

    Notes
    -----
    O(n² · min(dim, 64)) time where few pairs are near the threshold: some ten seconds for 100,000
    rows of length 512 on two cores. Memory: about 1 kB for each row, and some 80 MB.
    """
    bounds = _Bounds(vectors, rows)
    bar = tqdm(total=len(rows), desc="Comparing", unit="row", disable=None if progress else True)
    with bar:
        for start in range(0, len(rows), _TILE_ROWS):
            for block in _tiles_of(vectors, rows, bounds, start, threshold):
                if len(block):
                    yield block
            bar.update(min(_TILE_ROWS, len(rows) - start))


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


class _Bounds:
    """Short vectors whose products bound the cosine of two rows from above.

    `exact` says that the short vectors are whole unit rows and the bound is the cosine itself.
    """

    def __init__(self, vectors: VectorArray, rows: IntArray) -> None:
        dim = vectors.shape[1]
        self.exact = dim <= 2 * _N_AXES
        if self.exact:
            self.short = np.empty((len(rows), dim), dtype=np.float32)
            for part, unit in _unit_blocks(vectors, rows):
                self.short[part] = unit
            return
        n_more = min(dim, _N_MORE_AXES)
        axes = _principal_axes(vectors, rows, n_more)
        self.short = np.empty((len(rows), _N_AXES + 1), dtype=np.float32)
        self._longer = np.empty((len(rows), n_more + 1), dtype=np.float32)
        for part, unit in _unit_blocks(vectors, rows):
            coordinates = unit @ axes
            self.short[part] = _with_rest(coordinates[:, :_N_AXES])
            self._longer[part] = _with_rest(coordinates)

    def possible(
        self, first: IntArray, second: IntArray, threshold: float
    ) -> tuple[IntArray, IntArray]:
        """Keep the pairs that the longer of the short vectors do not rule out."""
        if self.exact:
            return first, second
        kept = np.zeros(len(first), dtype=bool)
        for start in range(0, len(first), _CHUNK_PAIRS):
            part = slice(start, start + _CHUNK_PAIRS)
            a, b = self._longer[first[part]], self._longer[second[part]]
            kept[part] = np.einsum("ij,ij->i", a, b) >= threshold - _SLACK
        return first[kept], second[kept]


def _with_rest(coordinates: Float32Array) -> Float32Array:
    """Append what these coordinates of a unit row leave of its norm, rounded up."""
    kept = np.einsum("ij,ij->i", coordinates, coordinates)
    rest = np.sqrt(np.maximum(0, 1 - kept) + 1e-6)
    return np.column_stack([coordinates, rest])


def _principal_axes(vectors: VectorArray, rows: IntArray, n_axes: int) -> Float32Array:
    """Give the directions of most norm, most first: (dim, n_axes), orthonormal columns."""
    step = max(1, len(rows) // _SAMPLE_ROWS)
    sample = rows[::step][:_SAMPLE_ROWS]
    moments = np.zeros((vectors.shape[1], vectors.shape[1]))
    for _, unit in _unit_blocks(vectors, sample):
        moments += unit.T @ unit
    _, directions = np.linalg.eigh(moments)
    return np.ascontiguousarray(directions[:, ::-1][:, :n_axes], dtype=np.float32)


def _unit_blocks(vectors: VectorArray, rows: IntArray) -> Iterator[tuple[slice, Float32Array]]:
    for start in range(0, len(rows), _BLOCK_ROWS):
        part = slice(start, start + _BLOCK_ROWS)
        yield part, _unit_block(vectors, rows[part])


def _unit_block(vectors: VectorArray, rows: IntArray) -> Float32Array:
    block: Float32Array = vectors[rows].astype(np.float32)
    block /= np.sqrt(np.einsum("ij,ij->i", block, block))[:, None]
    return block


def _tiles_of(
    vectors: VectorArray, rows: IntArray, bounds: _Bounds, start: int, threshold: float
) -> Iterator[PairBlock]:
    """Compare one strip of rows with itself and all that come after it."""
    short = bounds.short
    strip = short[start : start + _TILE_ROWS]
    full_strip: Any = None
    buffer = np.empty((len(strip), _TILE_COLUMNS), dtype=np.float32)
    for column in range(start, len(rows), _TILE_COLUMNS):
        other = short[column : column + _TILE_COLUMNS]
        product = np.matmul(strip, other.T, out=buffer[:, : len(other)])
        found = _above(product, threshold - _SLACK, start, column)
        found = bounds.possible(*found, threshold)
        if not bounds.exact and len(found[0]) > _DENSE * product.size:
            if full_strip is None:
                full_strip = _unit_block(vectors, rows[start : start + _TILE_ROWS])
            full = _unit_block(vectors, rows[column : column + _TILE_COLUMNS])
            found = _above(full_strip @ full.T, threshold - _SLACK, start, column)
        yield _checked(vectors, rows[found[0]], rows[found[1]], threshold)


def _above(product: Float32Array, bound: float, start: int, column: int) -> tuple[Any, Any]:
    """Places (i, j), i below j, of the products that reach a bound."""
    i, j = np.divmod(np.flatnonzero(product >= bound), product.shape[1])
    i, j = i + start, j + column
    upper = i < j
    return i[upper], j[upper]


def _checked(
    vectors: VectorArray, first: IntArray, second: IntArray, threshold: float
) -> PairBlock:
    similarities = paired_cosines(vectors, first, second)
    kept = similarities >= threshold
    return PairBlock(first[kept], second[kept], similarities[kept])
