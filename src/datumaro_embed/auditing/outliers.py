"""Rows that belong to nothing else: noise, frames, pages of text, photographs among drawings.

What is measured, each turned into its rank among all rows, so that no unit matters:

- ``texture``: distance to the 20 nearest in tones, edges and colors (`texture`);
- ``isolation``: distance to the 50 nearest vectors, from which the mean is taken;
- ``blandness``: how near a vector is to the mean of all, as are those of what a model cannot name;
- ``label``: distance to the mean of the label's vectors, the least of an item's objects;
- ``variety``: how many labels the neighbours have, the least of an item's objects.

Texture counts twice. The score of a row is the sum of -log(1 - rank): what is rare in several ways
comes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..signatures import SIGNATURE_SIDE
from ..similarity.codes import encode_rows, unit_block
from ..similarity.cosine import Float32Array, Float64Array, IntArray, VectorArray
from .references import (
    MAX_REFERENCES,
    UNSEEN,
    SameGroup,
    evenly,
    greatest,
    in_blocks,
    mean_of_seen,
    reference_places,
)

_NEAREST_TEXTURES, _NEAREST_VECTORS = 20, 50
_WEIGHTS = {"texture": 2.0}
_BLOCK_ROWS = 1024
_SAMPLE = 4096


@dataclass(frozen=True, slots=True)
class Outliers:
    """What was found, as arrays of one element for each row.

    Attributes
    ----------
    scores : float64
        The mean of all is about the number of measures, with texture twice.
    ranks : mapping of str to float64
        Share of the rows that are less strange, by measure; NaN where it was not measured.
    """

    scores: Float64Array
    ranks: Mapping[str, Float64Array]

    @property
    def ranked(self) -> IntArray:
        """Places of the rows, the strangest first."""
        return np.argsort(-self.scores, kind="stable")

    def strangest(self, place: int) -> str:
        """Name the measure in which a row is strangest."""
        return max(self.ranks, key=lambda name: np.nan_to_num(self.ranks[name][place], nan=-1.0))


def find_outliers(**measures: npt.NDArray[np.floating]) -> Outliers:
    """Combine measures of the same rows, by name; NaN counts as usual."""
    scores: Float64Array | float = 0.0
    ranks = {}
    for name, values in measures.items():
        known = np.isfinite(values)
        less = np.searchsorted(np.sort(values[known]), values, "left")
        ranks[name] = np.where(known, less / max(1, int(known.sum())), np.nan)
        rarity = np.where(known, -np.log1p(-np.where(known, ranks[name], 0)), 1.0)
        scores = scores + _WEIGHTS.get(name, 1.0) * rarity
    return Outliers(np.asarray(scores), ranks)


def texture(signatures: npt.NDArray[np.uint8], statistics: Float32Array) -> Float32Array:
    """Describe pictures by tones, edges and colors, each number in deviations.

    Parameters
    ----------
    signatures : array of shape (n, SIGNATURE_BYTES), uint8
    statistics : array of shape (n, n_statistics), float32
    """
    steps = [*in_blocks(lambda rows: _steps(signatures[rows]), len(signatures))]
    numbers = np.hstack([statistics, np.concatenate(steps)]).astype(np.float64)
    numbers = np.nan_to_num(numbers, posinf=0.0, neginf=0.0)  # of a store that is not ours
    numbers -= numbers.mean(axis=0)
    numbers /= np.maximum(numbers.std(axis=0), 1e-9)
    return numbers.astype(np.float32)


def _steps(signatures: npt.NDArray[np.uint8]) -> Float32Array:
    """Levels, spread and percentiles of the steps across and down, and the strongest color."""
    colors = signatures.reshape(-1, SIGNATURE_SIDE, SIGNATURE_SIDE, 3).astype(np.float32)
    gray = colors @ np.array([0.299, 0.587, 0.114], np.float32)
    numbers = [(colors.max(axis=3) - colors.min(axis=3)).max(axis=(1, 2))]
    for axis in (1, 2):
        steps = np.abs(np.diff(gray, axis=axis)).reshape(len(gray), -1)
        numbers += [steps.mean(axis=1), steps.std(axis=1), *np.percentile(steps, (50, 90), axis=1)]
    return np.stack(numbers, axis=1).astype(np.float32)


def texture_distances(
    numbers: Float32Array, groups: IntArray, *, n_references: int = MAX_REFERENCES
) -> Float64Array:
    """Mean distance to the nearest others of other groups; see `texture`.

    O(n · min(n, n_references)) time in threads. `groups`: of each row, such as proven duplicates.
    """
    references = reference_places(np.zeros(len(numbers), np.int64), n_references)
    others = numbers[references]
    squares = np.einsum("ij,ij->i", others, others)
    same = SameGroup(groups, references)

    def distances(block: slice) -> Float64Array:
        here = numbers[block]
        near = 2 * here @ others.T - squares
        near[same.pairs(block)] = -np.inf
        near = greatest(near, _NEAREST_TEXTURES)[1]
        apart = np.einsum("ij,ij->i", here, here)[:, None] - near
        return mean_of_seen(np.sqrt(np.maximum(apart, 0)), np.isfinite(apart), np.nan)

    return np.concatenate([np.zeros(0), *in_blocks(distances, len(numbers))])


def isolation(
    vectors: VectorArray,
    rows: IntArray,
    groups: IntArray,
    *,
    n_references: int = MAX_REFERENCES,
    progress: bool = False,
) -> tuple[Float64Array, Float64Array]:
    """Measure `isolation` and `blandness` of some rows, none of them zero.

    O(n · min(n, n_references) · dim) time in threads, in whole numbers. Parameters as those of
    `mislabels.find_mislabels`.
    """
    if not len(rows):
        return np.zeros(0), np.zeros(0)
    mean = unit_block(vectors, evenly(rows, _SAMPLE)).mean(axis=0)
    codes = encode_rows(vectors, rows, mean)
    references = reference_places(np.zeros(len(rows), np.int64), n_references)
    packed, same = codes.pack(references), SameGroup(groups, references)

    def judge(block: slice) -> tuple[Float64Array, Float64Array]:
        found = codes.products(block, packed)
        found[same.pairs(block)] = UNSEEN
        near = greatest(found, _NEAREST_VECTORS)[1]
        apart = 1 - codes.step**2 * mean_of_seen(near, near > UNSEEN, np.nan)
        bland = -np.linalg.norm(unit_block(vectors, rows[block]) - mean, axis=1)
        return apart, bland.astype(np.float64)

    blocks = in_blocks(judge, len(rows), what="Looking for outliers", progress=progress)
    apart, bland = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return apart, bland


def label_distances(vectors: VectorArray, rows: IntArray, labels: IntArray) -> Float64Array:
    """Distance of each row to the mean of its label's vectors, of which it is one: 1 - product."""
    own = np.unique(labels, return_inverse=True)[1]
    sums = np.zeros((int(own.max(initial=-1)) + 1, vectors.shape[1]))
    blocks = [slice(i, i + _BLOCK_ROWS) for i in range(0, len(rows), _BLOCK_ROWS)]
    for block in blocks:
        order = np.argsort(own[block], kind="stable")
        some, starts = np.unique(own[block][order], return_index=True)
        sums[some] += np.add.reduceat(unit_block(vectors, rows[block][order]), starts, axis=0)
    means = sums / np.bincount(own, minlength=len(sums))[:, None]
    parts = [
        1 - np.einsum("ij,ij->i", unit_block(vectors, rows[block]), means[own[block]])
        for block in blocks
    ]
    return np.concatenate([np.zeros(0), *parts])


def least_of_items(values: Float64Array, items: IntArray, n_items: int) -> Float64Array:
    """Give each item the least of its objects' values; NaN where it has none."""
    least = np.full(n_items, np.inf)
    np.minimum.at(least, items, values)
    return np.where(np.isfinite(least), least, np.nan)
