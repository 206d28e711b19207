"""Labels that are likely wrong: rows whose neighbours, and whose look, speak for another label.

Each row is compared with references (references.py) of other groups, in the small whole numbers of
similarity/codes.py, whose cosines are off by 0.001. Three things speak for a label: its share of
the ten nearest references; the mean cosine of its three nearest ones; and, where there are vectors
of the labels' names, the cosine to that of the label (zero-shot). A row is suspicious by how much
more speaks for another label than for its own, and less so where it resembles nothing at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ..similarity.codes import encode_rows, unit_block
from ..similarity.cosine import Float32Array, Float64Array, IntArray, VectorArray
from ..vectors import unit_rows
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

Judged = tuple[npt.NDArray[Any], ...]

NEIGHBOURS = 10
SUSPICIOUS = 1.0  # from this score on, a label counts as wrong: within 10 % of those planted
_NEAREST = 3  # of each label
_WEIGHT_NEAREST, _WEIGHT_ZERO_SHOT = 0.5, 0.25  # in deviations, beside a share of 0 to 1
_SHARPNESS = 4.0  # neighbours count by exp(cosine * this / deviation)
_TYPICAL = 0.1  # what resembles a label less than all but this share of the label's own is strange
_LEANS = 0.2  # share of the neighbours that has the other label of a systematic mistake
_LEAST_SYSTEMATIC = (3, 0.05)  # rows, and share of the label's rows
_SAME_OBJECT = 0.9  # cosine of one object in two copies of a picture
_SAMPLE = 4096  # rows that tell what is usual


@dataclass(frozen=True, slots=True)
class Systematic:
    """A mistake that a label has often: many of its rows look like another label.

    Attributes
    ----------
    label, suggestion : int
    places : array of int64
        Which rows, as numbers of `Mislabels`' arrays.
    share : float
        Of the rows of the label.
    """

    label: int
    suggestion: int
    places: IntArray
    share: float


@dataclass(frozen=True, slots=True)
class Mislabels:
    """What was found, as arrays of one element for each row that was judged, in their order.

    Attributes
    ----------
    scores : float64
        How much speaks against the label; above 0 another label is likelier, and 1 is much. -inf
        where no other group has the label, so that nothing can be said.
    suggestions : int64
        The likeliest other label; -1 where there is none.
    agreement : float64
        Share of the neighbours that have the row's label, weighted by nearness.
    variety : float64
        Entropy of the neighbours' labels in nats: high among rows that nothing resembles.
    systematic : list of Systematic
        Most rows first.
    """

    scores: Float64Array
    suggestions: IntArray
    agreement: Float64Array
    variety: Float64Array
    systematic: list[Systematic]

    @property
    def ranked(self) -> IntArray:
        """Places of the rows for which another label is likelier, the most suspicious first."""
        order = np.argsort(-self.scores, kind="stable")
        return order[self.scores[order] > 0]

    @property
    def n_wrong(self) -> int:
        """About how many labels are wrong."""
        return int(np.count_nonzero(self.scores >= SUSPICIOUS))


def find_mislabels(
    vectors: VectorArray,
    rows: IntArray,
    labels: IntArray,
    groups: IntArray,
    label_vectors: Float32Array | None = None,
    *,
    n_references: int = MAX_REFERENCES,
    progress: bool = False,
) -> Mislabels:
    """Judge the labels of some rows: objects, or items that have one label each.

    O(n · min(n, n_references) · dim) time in threads, in whole numbers; memory: dim bytes for each
    row, and some 300 MB.

    Parameters
    ----------
    vectors : array of shape (n_rows, dim), float16 or float32
        Rows of norm 1 within 1e-3; may be a memory map.
    rows : array of shape (n,), int64
        Ascending; the rows to judge, none of them zero.
    labels, groups : arrays of shape (n,), int64
        Label of each row, from 0; and its group, such as the item, or the proven duplicates of the
        item: rows of a group are no neighbours.
    label_vectors : array of shape (n_labels, dim), optional
        Of the labels' names.
    """
    used, own = np.unique(labels, return_inverse=True)
    if not len(rows):
        nothing = np.zeros(0)
        return Mislabels(nothing, own, nothing, nothing, [])
    references = reference_places(own, n_references)
    bounds = np.searchsorted(own[references], np.arange(len(used) + 1))
    codes = encode_rows(vectors, rows)
    packed = codes.pack(references)
    same = SameGroup(groups, references)
    zero_shot = None if label_vectors is None else _ZeroShot(vectors, rows, label_vectors[used])

    some = codes.products(evenly(np.arange(len(rows)), 256), packed)
    unit = 1 / max(float(some.std()), 1.0)  # makes products deviations

    def judge(block: slice) -> Judged:
        mine = own[block]
        every = np.arange(len(mine))
        found = codes.products(block, packed)
        found[same.pairs(block)] = UNSEEN
        nearest = [_mean_of_best(found[:, a:b]) for a, b in pairwise(bounds.tolist())]
        to_labels = np.stack(nearest, axis=1) * unit
        # The share of each label among the nearest references, weighted by nearness.
        places, best = greatest(found, NEIGHBOURS)
        weights = np.exp(_SHARPNESS * unit * (best - best[:, :1])) * (best > UNSEEN)
        numbers = (every[:, None] * len(used) + own[references][places]).reshape(-1)
        counts = np.bincount(numbers, weights.reshape(-1), len(mine) * len(used))
        counts = counts.reshape(len(mine), len(used))
        votes: Float64Array = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-12)
        evidence = votes + _WEIGHT_NEAREST * to_labels
        leaning = votes.copy()
        if zero_shot is not None:
            named = zero_shot(block)
            evidence += _WEIGHT_ZERO_SHOT * named
            leaning *= named == named.max(axis=1, keepdims=True)
        for_own = evidence[every, mine]
        evidence[every, mine] = leaning[every, mine] = -np.inf
        likeliest, leans = evidence.argmax(axis=1), leaning.argmax(axis=1)
        with np.errstate(invalid="ignore"):  # -inf less -inf, where nothing has either label
            margin = evidence[every, likeliest] - for_own
        shares = np.where(votes > 0, votes, 1)
        return (
            margin,
            likeliest,
            to_labels[every, likeliest],
            to_labels[every, mine],
            votes[every, mine],
            -(shares * np.log(shares)).sum(axis=1),
            np.where(leaning[every, leans] >= _LEANS, leans, -1),
        )

    blocks = in_blocks(judge, len(rows), what="Judging labels", progress=progress)
    columns = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    margin, best, to_best, to_own, agreement, variety, leans = columns
    judged = np.isfinite(margin)
    margin = np.where(judged, margin, -np.inf)
    typical = np.quantile(to_own[judged], _TYPICAL) if judged.any() else 0.0
    strange = np.minimum(0, to_best - typical)  # in deviations
    return Mislabels(
        scores=margin * np.where(margin > 0, np.exp(strange), 1),
        suggestions=np.where(judged, used[best.astype(np.int64)], -1),
        agreement=agreement,
        variety=variety,
        systematic=_systematic(own, leans.astype(np.int64), used, mutual=zero_shot is None),
    )


def _mean_of_best(found: npt.NDArray[np.int32]) -> Float64Array:
    """Mean of the greatest few of each row that are seen; -inf where none is."""
    rank = max(found.shape[1] - _NEAREST, 0)
    best = np.partition(found, rank, axis=1)[:, rank:]
    return mean_of_seen(best, best > UNSEEN, -np.inf)


class _ZeroShot:
    """Cosines to the names of labels, both centred, in deviations."""

    def __init__(self, vectors: VectorArray, rows: IntArray, label_vectors: Float32Array) -> None:
        self._vectors, self._rows = vectors, rows
        some = evenly(rows, _SAMPLE)
        self._mean = unit_block(vectors, some).mean(axis=0)
        names = unit_rows(label_vectors)
        self._names = unit_rows(names - names.mean(axis=0))
        self._scale = 1.0
        self._scale = 1 / max(float(self._cosines(some).std()), 1e-6)

    def _cosines(self, rows: IntArray) -> Float32Array:
        seen = unit_block(self._vectors, rows, self._mean)
        return seen @ self._names.T * np.float32(self._scale)

    def __call__(self, block: slice) -> Float32Array:
        return self._cosines(self._rows[block])


def _systematic(
    own: IntArray, leans: IntArray, used: IntArray, *, mutual: bool
) -> list[Systematic]:
    """List pairs of labels where many rows of the one lean to the other.

    Without the labels' names nothing tells which of two labels that mix is wrong: with `mutual`,
    only pairs are listed that lean to each other, and from the one that leans more.
    """
    sizes = np.bincount(own, minlength=len(used))
    pairs, counts = np.unique(np.stack([own, leans])[:, leans >= 0], axis=1, return_counts=True)
    found = {(a, b): n for (a, b), n in zip(pairs.T.tolist(), counts.tolist(), strict=True)}
    few, little = _LEAST_SYSTEMATIC

    def share(a: int, b: int) -> float:
        n = found.get((a, b), 0)
        return n / int(sizes[a]) if n >= max(few, little * sizes[a]) else 0.0

    chosen = [
        Systematic(int(used[a]), int(used[b]), places, share(a, b))
        for a, b in found
        for places in [np.flatnonzero((own == a) & (leans == b))]
        if share(a, b) and (not mutual or 0 < share(b, a) <= share(a, b))
    ]
    return sorted(chosen, key=lambda one: (-len(one.places), one.label, one.suggestion))


@dataclass(frozen=True, slots=True)
class Conflict:
    """One object, or picture, in two copies with two labels: places of the rows, their cosine."""

    first: int
    second: int
    cosine: float


def find_conflicts(
    vectors: VectorArray, rows: IntArray, labels: IntArray, items: IntArray, groups: IntArray
) -> list[Conflict]:
    """Find what has different labels in proven duplicates; see `find_mislabels`.

    Two rows of two `items` of one group are the same object where each is the other's nearest. A
    row of the label that is rarer in the group is paired with the nearest of each other label, so
    that one wrong label among a thousand copies is one conflict.
    """
    conflicts: dict[tuple[int, int], Conflict] = {}
    order = np.argsort(groups, kind="stable")
    for places in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        known, own, counts = np.unique(labels[places], return_inverse=True, return_counts=True)
        if len(known) < 2:
            continue
        unit = unit_block(vectors, rows[places])
        cosines = unit @ unit.T
        cosines[items[places, None] == items[places]] = -2
        differ = (cosines >= _SAME_OBJECT) & (own[:, None] != own)
        for i, j in zip(*np.nonzero(np.triu(differ)), strict=True):
            of_i, of_j = (items[places] == items[places[n]] for n in (i, j))
            mutual = cosines[i, j] == cosines[i, of_j].max() == cosines[of_i, j].max()
            if not mutual:
                continue
            rare, other = (i, j) if (counts[own[i]], own[i]) < (counts[own[j]], own[j]) else (j, i)
            one = Conflict(int(places[i]), int(places[j]), float(cosines[i, j]))
            best = conflicts.setdefault((int(places[rare]), int(own[other])), one)
            if best.cosine < one.cosine:
                conflicts[int(places[rare]), int(own[other])] = one
    return sorted(conflicts.values(), key=lambda one: (-one.cosine, one.first, one.second))
