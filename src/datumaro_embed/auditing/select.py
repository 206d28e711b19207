"""Choose representative rows: vectors and labels in, rows in order out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from ..errors import UsageError
from ..flags import SELECTIONS
from ..similarity import collapse_equal, nearest_rows, paired_cosines
from ..similarity.codes import unit_block
from ..similarity.cosine import Float64Array, IntArray, VectorArray

Chosen = tuple[IntArray, Float64Array]
"""Rows in the order of choice, and the value by which each was chosen; NaN where there is none."""
Pairs = tuple[IntArray, IntArray]
"""Row and label of each pair that belongs together, ascending; a row may have several labels."""

MAX_EXACT_ROWS = 16_000  # of facility location: 1 GB of cosines
CELL_ROWS = 4096
_SAME = 1 - 1e-6  # a row this similar to a chosen one adds nothing
_TIE = 1e-6  # two gains nearer than this, absolute and relative, are equal but for rounding
_BLOCK_ROWS = 2048
_CHUNK_CENTRES = 1024
_EVALUATED = 32
_N_NEIGHBOURS = 16
_MAX_REFERENCES = 16_384
_COMPARED = 64  # of the farthest rows, by their labels, if …
_AS_FAR = 0.9  # … they are at this share of the greatest distance
_NONE = np.zeros(0, np.int64)


def select_rows(
    vectors: VectorArray,
    k: int | None,
    *,
    by: str = SELECTIONS[0],
    pool: IntArray | None = None,
    given: IntArray = _NONE,
    labels: Pairs = (_NONE, _NONE),
    until: float | None = None,
    progress: bool = False,
) -> Chosen:
    """Choose `k` rows; fewer where there are fewer. Of equally good rows the lowest is chosen.

    Parameters
    ----------
    vectors : array of shape (n_rows, dim), float16 or float32
        Rows of norm 1 within 1e-3; may be a memory map.
    by : {"diverse", "coverage", "typical", "uncertain-by-label"}
        diverse: k-centre greedy, the row farthest from what is chosen next; the value is its cosine
        with the nearest chosen row. The first is the nearest to the mean. With `labels`, of the 64
        farthest (nearest to the mean) rows, if at 0.9 of the greatest distance or more, the one
        that makes the labels of the chosen rows most even.
        coverage: facility location, the row that most raises the sum over all rows of the cosine
        with the nearest chosen one; the value is that gain. typical: cosine with the mean.
        uncertain-by-label: entropy in bits of the labels of 16 neighbours.
    pool : array, optional
        Ascending; the rows to choose from, none of them zero; all unless given.
    given : array, optional
        Rows chosen before, none of them in `pool` or zero.
    labels : pair of arrays, optional
        Row and label of each pair; for diverse and uncertain-by-label.
    until : float, optional
        diverse: the cosine with a chosen row at which a row needs no other; `k` may be None.
    """
    pool = np.arange(len(vectors)) if pool is None else pool
    k = len(pool) if k is None else min(k, len(pool))
    if by == "diverse":
        return _diverse(vectors, k, pool, given, labels, until, progress)
    if by == "coverage":
        return _coverage(vectors, k, pool, given, progress)
    if by == "typical":
        return _highest(pool, typicality(vectors, pool), k)
    if by == "uncertain-by-label":
        return _highest(pool, label_entropy(vectors, pool, labels, progress=progress), k)
    raise UsageError(f"``by`` is {by!r}. Choose one of {', '.join(SELECTIONS)}.")


def select_per_label(
    vectors: VectorArray,
    k: int | None,
    *,
    labels: Pairs,
    pool: IntArray,
    given: IntArray = _NONE,
    **options: Any,
) -> Chosen:
    """Choose `k` rows, as evenly from the labels as can be; options are those of `select_rows`.

    Each label in turn, rare ones first, gets a row if it has fewer than others: the next of those
    that `select_rows` chooses among the rows of the label. A row counts for each of its labels.
    """
    rows, codes = labels
    n_known = np.bincount(codes[np.isin(rows, pool) | np.isin(rows, given)])
    n_chosen = np.bincount(codes[np.isin(rows, given)], minlength=len(n_known))
    order = sorted(np.flatnonzero(n_known).tolist(), key=lambda code: (n_known[code], code))
    queues: dict[int, Iterator[tuple[int, float]]] = {}
    for label in order:
        own, before = (np.intersect1d(rows[codes == label], some) for some in (pool, given))
        found = select_rows(vectors, k, pool=own, given=before, labels=labels, **options)
        queues[label] = zip(found[0].tolist(), found[1].tolist(), strict=True)
    most, chosen = len(pool) if k is None else k, dict[int, float]()
    level = 0
    while queues and len(chosen) < most:
        level += 1
        for label in [label for label in queues if n_chosen[label] < level]:
            row, value = next((pair for pair in queues[label] if pair[0] not in chosen), (-1, 0.0))
            if row < 0:
                del queues[label]
            elif n_chosen[label] < level and len(chosen) < most:
                chosen[row] = value
                n_chosen[
                    codes[np.searchsorted(rows, row) : np.searchsorted(rows, row, "right")]
                ] += 1
    return np.array([*chosen], np.int64), np.array([*chosen.values()])


def typicality(vectors: VectorArray, rows: IntArray) -> Float64Array:
    """Cosine of each of some rows with their mean."""
    mean = np.zeros(vectors.shape[1])
    for block in _blocks(vectors, rows):
        mean += block.sum(axis=0, dtype=np.float64)
    mean /= np.linalg.norm(mean) or 1
    parts = [(block.astype(np.float64) * mean).sum(axis=1) for block in _blocks(vectors, rows)]
    return np.concatenate([np.zeros(0), *parts])


def label_entropy(
    vectors: VectorArray, rows: IntArray, labels: Pairs, *, progress: bool = False
) -> Float64Array:
    """Entropy in bits of the labels of each row's 16 nearest labelled rows, itself left out.

    Of more than 16,384 labelled rows, so many are compared, evenly spaced.
    """
    references = np.unique(labels[0])
    references = references[_evenly(len(references), _MAX_REFERENCES)]
    entropy = np.zeros(len(rows))
    if not len(references):
        return entropy
    known = np.isin(labels[0], references)
    shares = np.zeros((len(references), int(labels[1].max()) + 1))
    shares[np.searchsorted(references, labels[0][known]), labels[1][known]] = 1
    shares /= shares.sum(axis=1, keepdims=True)
    table = np.asarray(vectors[references])
    blocks = range(0, len(rows), _BLOCK_ROWS)
    for start in tqdm(blocks, "Comparing", disable=None if progress else True):
        some = rows[start : start + _BLOCK_ROWS]
        near, _ = nearest_rows(table, vectors[some], _N_NEIGHBOURS + 1)
        is_own = references[near] == some[:, None]
        near = np.take_along_axis(near, np.argsort(is_own, axis=1, kind="stable"), 1)
        counts = [shares[near[:, n]] for n in range(min(_N_NEIGHBOURS, near.shape[1]))]
        entropy[start : start + len(some)] = entropy_bits(np.sum(counts, axis=0))
    return entropy.round(9)  # equal shares, added in another order, are equal


def entropy_bits(counts: npt.NDArray[Any]) -> Any:
    """Entropy of each row of counts; 0 where there are none."""
    shares = counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1e-300)
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    return -(shares * logs).sum(axis=-1)


def nearest_chosen(
    vectors: VectorArray, rows: IntArray, chosen: IntArray, floor: float = -1.0
) -> npt.NDArray[np.float32]:
    """Cosine of each of some rows with the nearest chosen one, and no less than `floor`."""
    nearest = np.full(len(rows), floor, np.float32)
    for first in range(0, len(chosen), _CHUNK_CENTRES):
        centres = unit_block(vectors, chosen[first : first + _CHUNK_CENTRES]).T
        for number, block in enumerate(_blocks(vectors, rows)):
            part = nearest[number * _BLOCK_ROWS :][: len(block)]
            np.maximum(part, (block @ centres).max(axis=1), out=part)
    return nearest


def _highest(pool: IntArray, values: Float64Array, k: int) -> Chosen:
    order = np.lexsort((pool, -values))[:k]
    return pool[order], values[order]


def _evenly(n: int, n_most: int) -> IntArray:
    """Places of all of n rows, or of so many at equal steps."""
    return np.linspace(0, n - 1, min(n, n_most)).round().astype(np.int64)


def _blocks(vectors: VectorArray, rows: IntArray) -> Iterator[npt.NDArray[np.float32]]:
    for start in range(0, len(rows), _BLOCK_ROWS):
        yield unit_block(vectors, rows[start : start + _BLOCK_ROWS])


def _diverse(
    vectors: VectorArray,
    k: int,
    pool: IntArray,
    given: IntArray,
    labels: Pairs,
    until: float | None,
    progress: bool,
) -> Chosen:
    """Gonzalez' greedy. It begins near the mean where nothing is given."""
    if not k:
        return _NONE, np.zeros(0)
    rows = np.unique(collapse_equal(vectors, pool))  # the first of equal rows is chosen anyway
    reached = _Reached(vectors, rows, np.unique(collapse_equal(vectors, given)), k)
    mixture = _Mixture(labels, given)
    n_compared = _COMPARED if len(labels[0]) else 1
    enough = _SAME if until is None else min(until, _SAME)
    chosen, values = [], []
    for _ in tqdm(range(min(k, len(rows))), "Choosing", disable=None if progress else True):
        if reached.n_centres:
            places, cosines = reached.farthest(n_compared)
            if cosines[0] >= enough:
                break
            far = (cosines < enough) & (1 - cosines >= _AS_FAR * (1 - cosines[0]))
            places, cosines = places[far], cosines[far]
        else:
            places, cosines = _highest(np.arange(len(rows)), typicality(vectors, rows), n_compared)
            cosines = np.full(len(places), np.nan)
        best = int(mixture.entropy_with(rows[places]).argmax())
        row = int(rows[places[best]])
        reached.add(row)
        mixture.add(row)
        chosen.append(row)
        values.append(float(cosines[best]))
    if until is None:  # the rest of the pool equals what is chosen
        rest = np.setdiff1d(pool, chosen)[: k - len(chosen)]
        chosen, values = [*chosen, *rest.tolist()], [*values, *[1.0] * len(rest)]
    return np.array(chosen, np.int64), np.array(values)


class _Mixture:
    """How often each label is among the chosen rows."""

    def __init__(self, labels: Pairs, given: IntArray) -> None:
        self._rows, self._codes = labels
        self._counts = np.zeros(int(self._codes.max(initial=-1)) + 1)
        np.add.at(self._counts, self._codes[np.isin(self._rows, given)], 1)

    def _of(self, row: int) -> IntArray:
        start, stop = np.searchsorted(self._rows, [row, row + 1])
        return self._codes[start:stop]

    def add(self, row: int) -> None:
        self._counts[self._of(row)] += 1

    def entropy_with(self, rows: IntArray) -> Float64Array:
        """Entropy in bits of the labels with those of each of some rows, one at a time."""
        if len(rows) == 1:
            return np.zeros(1)
        counts = self._counts
        n, bits = np.full(len(rows), counts.sum()), np.full(len(rows), _bits(counts).sum())
        more = _bits(counts + 1) - _bits(counts)
        for place, codes in enumerate(map(self._of, rows.tolist())):
            n[place] += len(codes)
            bits[place] += more[codes].sum()
        entropy: Float64Array = np.log2(np.maximum(n, 1)) - bits / np.maximum(n, 1)
        return entropy.round(9)  # equal counts, added in another order, are equal


def _bits(counts: Float64Array) -> Float64Array:
    return counts * np.log2(np.maximum(counts, 1))


class _Reached:
    """Cosine of each row with its nearest centre, brought up to date where it may be the least.

    A cosine with the nearest centre only rises as centres are added, so that an old one is a bound
    from below. Products in float32 rule out nearly all rows; those that may be farthest are exact,
    in float64, from then on.
    """

    def __init__(self, vectors: VectorArray, rows: IntArray, given: IntArray, k: int) -> None:
        self._vectors, self._rows = vectors, rows
        self._nearest = np.full(len(rows), -np.inf)
        self._is_exact = np.zeros(len(rows), bool)  # else it may be wrong by the slack
        self._seen = np.zeros(len(rows), np.int64)  # so many centres are accounted for
        self._slack = (vectors.shape[1] + 8) * 2.0**-24  # of a product in float32
        self._margin = 2 * self._slack  # of two values that are not exact; 0 where all are
        self._numbers = np.concatenate([given, np.zeros(k, np.int64)])
        self._centres = np.empty((len(self._numbers), vectors.shape[1]), np.float32)
        self.n_centres = len(given)
        for start, block in zip(
            range(0, len(given), _BLOCK_ROWS), _blocks(vectors, given), strict=True
        ):
            self._centres[start : start + len(block)] = block
        self._n_active = max(4096, len(rows) // 64)
        self._active, self._block = _NONE, self._centres[:0]  # the farthest rows
        self._least_other = -np.inf  # of all others

    def add(self, row: int) -> None:
        """Add a centre; what may be farthest is brought up to date."""
        number = self.n_centres
        self._numbers[number] = row
        self._centres[number] = unit_block(self._vectors, np.array([row]))[0]
        self.n_centres += 1
        if not len(self._active):
            return
        self._update(self._active, self._block, number, self.n_centres)
        left = self._nearest[self._active] < self._least_other
        if np.count_nonzero(left) < 0.7 * len(left):
            self._active, self._block = self._active[left], self._block[left]

    def farthest(self, n: int) -> tuple[IntArray, Float64Array]:
        """Places of the rows whose nearest centre is farthest, and their cosines with that."""
        n = min(n, len(self._rows))
        if (limit := self._limit(self._active, n)) >= self._least_other:
            self._activate(n)
            limit = self._limit(self._active, n)
        some = self._active[self._nearest[self._active] <= limit]
        if len(places := some[~self._is_exact[some]]):
            self._nearest[places], self._is_exact[places] = -np.inf, True
            block = unit_block(self._vectors, self._rows[places])
            for first in range(0, self.n_centres, _CHUNK_CENTRES):
                self._update(places, block, first, min(first + _CHUNK_CENTRES, self.n_centres))
        found = some[np.lexsort((some, self._nearest[some]))[:n]]
        return found, self._nearest[found]

    def _limit(self, places: IntArray | slice, n: int) -> float:
        """Return a cosine that none of the n farthest of some rows exceeds."""
        nearest = self._nearest[places]
        return np.inf if len(nearest) < n else np.partition(nearest, n - 1)[n - 1] + self._margin

    def _activate(self, n: int) -> None:
        """Find the farthest rows, all of them up to date and farther than any other row."""
        n_active = min(self._n_active, len(self._rows))
        while True:
            every = slice(None)
            limit = max(self._limit(every, n_active) - self._margin, self._limit(every, n))
            self._active = np.flatnonzero(self._nearest <= limit)
            stale = self._active[self._seen[self._active] < self.n_centres]
            if len(stale):
                stale = stale[np.argsort(self._seen[stale], kind="stable")]
                for start in range(0, len(stale), _BLOCK_ROWS):
                    some = stale[start : start + _BLOCK_ROWS]
                    first = int(self._seen[some[0]])
                    block = unit_block(self._vectors, self._rows[some])
                    self._update(some, block, first, min(first + _CHUNK_CENTRES, self.n_centres))
            elif self._margin and len(self._active) > 4 * self._n_active:
                # A fixed camera: float32 does not tell rows apart. All are to be exact.
                self._nearest[:], self._seen[:] = -np.inf, 0
                self._is_exact[:], self._margin = True, 0.0
            else:
                break
        self._block = unit_block(self._vectors, self._rows[self._active])
        others = self._nearest[self._nearest > limit]
        self._least_other = float(others.min(initial=np.inf))

    def _update(
        self, places: IntArray, block: npt.NDArray[np.float32], first: int, stop: int
    ) -> None:
        """Account for some centres; `block` are the rows."""
        products = block @ self._centres[first:stop].T
        best = products.max(axis=1)
        self._seen[places] = np.maximum(self._seen[places], stop)
        is_exact, nearest = self._is_exact[places], self._nearest[places]
        self._nearest[places] = np.where(is_exact, nearest, np.maximum(nearest, best))
        nearer = np.flatnonzero(is_exact & (best > nearest - self._slack))
        if not len(nearer):
            return
        # The exact cosines with the nearest of the centres.
        rows, products, best = places[nearer], products[nearer], best[nearer]
        limit = np.maximum(self._nearest[rows] - self._slack, best - 2 * self._slack)
        i, j = np.nonzero(products >= limit[:, None])
        if len(i) > 4 * len(rows):  # a fixed camera: all are equally near but for rounding
            centres = self._centres[first:stop].T.astype(np.float64)
            exact = block[nearer].astype(np.float64) @ centres
            i, j = np.nonzero(exact >= exact.max(axis=1, keepdims=True) - 2.0**-22)
        cosines = paired_cosines(self._vectors, self._rows[rows[i]], self._numbers[first + j])
        np.maximum.at(self._nearest, rows[i], cosines)


def _coverage(
    vectors: VectorArray, k: int, pool: IntArray, given: IntArray, progress: bool
) -> Chosen:
    """Facility location, by lazy greedy: exact up to 16,000 rows.

    Above, so many rows at equal steps represent all, if each chosen row has 32 of them; else each
    cell of at most 4,096 rows near each other is taken alone, and the greatest gains of all are
    chosen.
    """
    if len(pool) > MAX_EXACT_ROWS:
        n_used = MAX_EXACT_ROWS if 32 * k <= MAX_EXACT_ROWS else max(MAX_EXACT_ROWS + 1, 256 * k)
        pool = pool[_evenly(len(pool), n_used)]
    cells = [(pool, given)]
    if len(pool) > MAX_EXACT_ROWS:  # the rows nearest to each of some leaders, and those given
        leaders = pool[_evenly(len(pool), 2 * len(pool) // CELL_ROWS)]
        centres = unit_block(vectors, leaders).T
        of_pool, of_given = (
            np.concatenate(
                [_NONE, *((block @ centres).argmax(axis=1) for block in _blocks(vectors, rows))]
            )
            for rows in (pool, given)
        )
        nearby = np.argsort(of_pool, kind="stable")
        ends = np.searchsorted(of_pool[nearby], np.arange(len(leaders) + 1))
        cells = []
        for number, (start, end) in enumerate(pairwise(ends.tolist())):
            before = given[of_given == number]
            n_parts = -(-(end - start) // CELL_ROWS) or 1
            cells += [(part, before) for part in np.array_split(pool[nearby[start:end]], n_parts)]
    found = []
    for rows, before in tqdm(cells, "Choosing", disable=None if progress else True):
        most = k if len(cells) == 1 else min(len(rows), 2 * k * len(rows) // len(pool) + 8)
        found.append(_facilities(vectors, rows, before, most))
    chosen, gains = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(-gains, kind="stable")[:k] if len(cells) > 1 else slice(None)
    return chosen[order], gains[order]


def _facilities(vectors: VectorArray, rows: IntArray, given: IntArray, k: int) -> Chosen:
    """Choose the row of greatest gain each time; a gain only falls, so an old one is a bound."""
    if not k:
        return _NONE, np.zeros(0)
    unit = np.concatenate([*_blocks(vectors, rows)])
    every = unit @ unit.T
    reached = nearest_chosen(vectors, rows, given, 0.0)

    def gains_of(places: IntArray) -> Float64Array:
        more = np.maximum(every[places] - reached, 0)
        gains: Float64Array = more.sum(axis=1, dtype=np.float64)
        return gains

    starts = range(0, len(rows), 512)
    gains = np.concatenate([gains_of(np.arange(n, min(n + 512, len(rows)))) for n in starts])
    chosen: list[int] = []
    values = []
    fresh = np.ones(len(rows), bool)
    while len(chosen) < k:
        while True:
            limit = gains.max() - _TIE * (1 + gains.max())
            stale = np.flatnonzero((gains >= limit) & ~fresh)
            if not len(stale):
                break
            some = np.argpartition(-np.where(fresh, -1, gains), min(_EVALUATED, len(rows) - 1))
            some = np.union1d(some[:_EVALUATED], stale)
            some = some[~fresh[some]]
            gains[some], fresh[some] = gains_of(some), True
        place = int(np.flatnonzero(gains >= limit)[0])
        chosen.append(place)
        values.append(gains[place])
        np.maximum(reached, every[place], out=reached)
        fresh[:] = False
        gains[place], fresh[chosen] = -1, True  # what is chosen has no gain any more
    return rows[chosen], np.array(values)
