"""Two pictures and a map → how the one differs from its place in the other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from ..signatures import SIGNATURE_SIDE

__all__ = [
    "GRAY",
    "GRID",
    "Array",
    "Comparison",
    "Floats",
    "Sizes",
    "aligned",
    "compared",
    "is_one_gray",
    "lies_right",
    "resized",
    "turned",
    "turned_all",
]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Sizes = tuple[tuple[int, int], tuple[int, int]]
"""Width and height of two images themselves."""

GRAY = np.array([0.299, 0.587, 0.114], np.float32)
GRID = 16  # blocks along each side
_OFF, _MANY = 12.0, 0.02  # gray levels; share of the blocks that differ by more
_ODD = 6.0  # least gray levels by which a block differs where something is in one picture alone
_FAINT, _MUCH = 3.0, 4.0  # where next to nothing else differs; where it is a twentieth of all
_ODD_DETAIL = 8.0  # how often the difference of usual blocks in detail; of clean copies, 5 at most
_LITTLE_DETAIL = 4.0  # gray levels, squared
_MORE_EDGES = 1.2  # of the picture that has something laid over it, in the blocks that differ
_COLORED, _COLORED_SHARE = 20.0, 0.002  # levels of chroma; of a gray picture, pixels with more
_STEPS = 6  # of subspace iteration
_LINED, _OF_LINES, _PATTERNS = 0.2, 0.8, 4  # shares of what is fine: of its means, of its patterns
_SATURATED, _CUT = 6, 1.05  # levels; from which gain on values may be cut off
_LEAST_FREE, _MOST_FREE = 0.02, 0.5  # of all values, that are not cut off
_MORE_OF_ONE = 8.0  # variance of a channel beside that of the means


@dataclass(frozen=True)
class Comparison:
    """How a picture differs from the part of another that it should be a copy of."""

    grays: tuple[Floats, Floats]  # or one channel; cut off where the other picture is
    within: npt.NDArray[np.bool_]  # what lies in the larger picture
    inside: float  # its share of the smaller one
    matrix: Array
    gain: float
    offset: float
    is_gray: bool  # one of them only
    differences: Floats  # of the colours, beside that of the mean
    spread: Floats  # deviation of the grays of each block
    sampled: tuple[Floats, Floats]  # pixels of both, (n, 3)
    plain: Floats  # difference of each of the blocks that have no texture
    blocks: Floats  # mean difference of each block of the grid; -1 outside

    @cached_property
    def cover(self) -> float:
        """Share of the larger picture that the smaller covers."""
        (a, b), (c, d) = self.matrix[:2, :2].tolist()
        return abs(float(a * d - b * c)) * self.inside

    @property
    def shared(self) -> float:
        """Share of each picture that the other shows, the lesser one."""
        return min(self.inside, self.cover)

    @property
    def correlation(self) -> float:
        return self._correlated[0]

    @property
    def deviation(self) -> float:
        """Lesser deviation of the two grays."""
        return self._correlated[1]

    @cached_property
    def _correlated(self) -> tuple[float, float]:
        return _correlation(*(self._seen(p) for p in self.grays))

    @cached_property
    def detail(self) -> float:
        """Correlation of what is finer than some pixels."""
        return _correlation(*(self._seen(p) for p in self.fine))[0]

    @cached_property
    def shift(self) -> float:
        """Largest median difference of a channel, before gain and offset."""
        differences = self.sampled[0] - self.sampled[1]
        middle = len(differences) // 2
        return float(np.abs(np.partition(differences, middle, axis=0)[middle]).max())

    def _seen(self, pixels: Floats) -> Floats:
        return pixels if self.inside == 1 else pixels[self.within]

    @cached_property
    def fine(self) -> list[Floats]:
        return [p - cv2.GaussianBlur(p, (0, 0), 4.0) for p in self.grays]

    @cached_property
    def chroma(self) -> float:
        return _mean_of(self._seen(self.differences))

    @cached_property
    def texture(self) -> float:
        """Share of the blocks that have any."""
        textured = np.count_nonzero((self.blocks >= 0) & (self.spread > 3))
        return textured / max(self._n_inside, 1)

    @cached_property
    def _n_inside(self) -> int:
        return int(np.count_nonzero(self.blocks >= 0))

    @cached_property
    def plain_off(self) -> float:
        """Difference of most of the blocks that have no texture."""
        return float(np.quantile(self.plain, 0.9)) if len(self.plain) > 3 else 0.0

    @cached_property
    def least_detail(self) -> float:
        """As `detail`, of that of the inner 4 x 4 of 8 x 8 blocks where it is least; 1 of none.

        Blocks that have little of it do not count.
        """
        n = min(8, *(side // 4 for side in self.within.shape))
        (top, rows), (left, columns) = (_inner_shares(side, n) for side in self.within.shape)
        inner = slice(top, top + rows.shape[1]), slice(left, left + columns.shape[1])
        one, other, inside = self.fine[0][inner], self.fine[1][inner], self.within[inner]
        products = [one * one, other * other, one * other]
        if not inside.all():
            products = [v * inside for v in products]
        a, b, ab = (rows @ v @ columns.T for v in products)
        rich = np.minimum(a, b) > 64
        rich |= np.maximum(a, b) > 256
        return float((ab[rich] / np.sqrt(a[rich] * b[rich] + 1)).min()) if rich.any() else 1.0

    @cached_property
    def odd(self) -> Array:
        """Blocks where something is in one picture alone: they differ, nearly all others do not."""
        if self.share_off(_OFF) > _MANY:
            return self.blocks > _OFF
        usual = _at_share(self.blocks[self.blocks >= 0], 0.95)
        return self.blocks > max(_ODD, 4 * usual + 2)

    @cached_property
    def has_odd_place(self) -> bool:
        """Whether some blocks differ by more than most: less than `odd`, or in a larger place.

        A thing of another color, a stain, a shadow. Edges of a resized picture differ so, too.
        """
        counted = np.sort(self.blocks[self.blocks >= 0])
        if not len(counted):
            return False
        half, p90, p95, most = (
            float(counted[int(share * (len(counted) - 1))]) for share in (0.5, 0.9, 0.95, 1)
        )
        is_odd = p95 > max(_MUCH, 4 * half + 2) or most > max(_ODD, 4 * p90 + 2)
        return is_odd or (self.gain < _CUT and most > max(_FAINT, 4 * p95 + 2))

    @cached_property
    def has_odd_detail(self) -> bool:
        """Whether what is fine differs in a block, by far more than in nearly all: other words.

        `odd` does not see these: the means of two words are much the same.
        """
        if max(self.within.shape) < 8 * GRID:
            return False
        one, other = self.fine
        n = len(self.blocks)
        a, b, ab = (_blocks(v * self.within, n) for v in (one * one, other * other, one * other))
        less, more = np.minimum(a, b), np.maximum(a, b)
        off = (more - ab * ab / (less + 1))[self.blocks >= 0]  # beside a gain of this block
        return bool((off > _ODD_DETAIL * (_at_share(off, 0.9) + _LITTLE_DETAIL)).any())

    @cached_property
    def detail_beside_lines(self) -> float:
        """As `detail`, beside lines at the same places: two tables, two pages of text.

        Of pictures whose rows (or columns) are unlike each other, and which a few patterns of rows
        times columns nearly give, it is of what these do not give; of all others it is 1.
        """
        one = self.fine[0] if self.inside == 1 else self.fine[0] * self.within
        energy = float(np.vdot(one, one)) / one.size
        means = (cv2.reduce(one, axis, cv2.REDUCE_AVG) for axis in (0, 1))
        lined = max(float(np.vdot(mean, mean)) / mean.size for mean in means)
        if lined < _LINED * energy or energy < _LITTLE_DETAIL:
            return 1.0
        both: Array = (one + self.fine[1] * self.within) / 2
        energy = float(np.vdot(both, both)) / both.size
        # Unit rows and columns that tell most of values together; 100 times as fast as an SVD.
        columns: Array = np.cos(np.outer(np.arange(both.shape[1]), range(_PATTERNS)))
        for _ in range(_STEPS):
            columns = np.linalg.qr(both.T @ (both @ columns.astype(np.float32)))[0]
        rows = np.linalg.qr(both @ columns)[0]
        if float(np.square(both @ columns).sum()) < _OF_LINES * energy * both.size:
            return 1.0
        left: list[Array] = []
        for values in self.fine:
            seen: Array = values * self.within
            seen = seen - rows @ (rows.T @ seen)
            left.append(seen - seen @ columns @ columns.T)
        return _correlation(left[0], left[1])[0]

    @cached_property
    def overlaid(self) -> Literal["small", "large", ""]:
        """Which of the two has something laid over it; empty if that is not clear.

        It is the one with more edges in the blocks that differ.
        """
        off = self.odd
        if not off.any() or max(self.within.shape) < 8 * GRID:  # thumbnails differ at edges
            return ""
        edges = [_blocks(np.abs(cv2.Laplacian(p, cv2.CV_32F)), len(off)) for p in self.grays]
        small, large = (float(e[off].sum()) / (float(e[~off].sum()) + 1) for e in edges)
        if max(small, large) < _MORE_EDGES * min(small, large):
            return ""
        return "small" if small > large else "large"

    def share_off(self, levels: float) -> float:
        return int(np.count_nonzero(self.blocks > levels)) / max(self._n_inside, 1)


_THIRDS = np.full((1, 3), 1 / 3, np.float32)
_LESS_MEAN = (np.eye(3) - 1 / 3).astype(np.float32)  # takes the mean of the channels from each
_CENTRES = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # pixel 0 has its centre at 0.5
_CORNERS = np.linalg.inv(_CENTRES)


def pixel_matrix(matrix: Array, small: Array, large: Array) -> Array:
    """Turn a map of shares into one of pixels."""
    sizes = [np.diag([p.shape[1], p.shape[0], 1.0]) for p in (small, large)]
    to_share = np.linalg.inv(sizes[0]) @ _CENTRES
    result = _CORNERS @ sizes[1] @ matrix @ to_share
    return np.asarray(result / result[2, 2])


def aligned(small: Array, large: Array, matrix: Array, motion: int, steps: int) -> Array | None:
    """Improve a map by ECC; None where it does not converge."""
    start = pixel_matrix(matrix, small, large).astype(np.float32)
    is_affine = motion == cv2.MOTION_AFFINE
    grays = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (small, large)]
    until = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, steps, 3e-4)
    no_mask: Any = None
    try:
        start = np.ascontiguousarray(start[:2] if is_affine else start)
        _, found = cv2.findTransformECC(grays[0], grays[1], start, motion, until, no_mask, 3)
    except cv2.error:
        return None
    full = (np.vstack([found, [0, 0, 1]]) if is_affine else found).astype(np.float64)
    sizes = [np.diag([p.shape[1], p.shape[0], 1.0]) for p in (small, large)]
    to_pixel = np.linalg.inv(_CENTRES) @ sizes[0]
    result = np.linalg.inv(sizes[1]) @ _CENTRES @ full @ to_pixel
    return np.asarray(result / result[2, 2])


def compared(small: Array, large: Array, matrix: Array) -> Comparison | None:
    """Compare a picture with where a map takes it in another; None where that is mostly outside."""
    h, w = small.shape[:2]
    seen, inside = _moved(large, matrix, small)
    share = int(np.count_nonzero(inside)) / inside.size
    if share < 0.3:
        return None
    sigma = 0.6 if max(h, w) <= SIGNATURE_SIDE else 1.0
    one, other = (cv2.GaussianBlur(p, (0, 0), sigma).astype(np.float32) for p in (small, seen))
    every = (slice(None, None, max(h // 30, 1)), slice(None, None, max(w // 30, 1)))
    chosen = np.flatnonzero(inside[every])
    some = [p[every].reshape(-1, 3)[chosen] for p in (one, other)]  # enough to fit few numbers to
    is_gray = is_one_gray(*some)
    if is_gray:
        one, other = (np.dstack([p @ GRAY] * 3) for p in (one, other))
        some = [p[every].reshape(-1, 3)[chosen] for p in (one, other)]
    sampled = some[0], some[1]
    gain, offset, is_back = _best_fit(*some)
    if is_back:
        one, other, some = other, one, some[::-1]
    difference, became = _unexplained(one, other, gain, offset)
    mean = _mean(difference)
    chroma = _mean(np.abs(cv2.transform(difference, _LESS_MEAN)))
    # Channels weigh equally, or one counts alone, where the means of pixels hardly differ: (1, 3).
    away = some[1] - np.add.reduce(some[1], axis=0) / len(some[1])
    products = away.T @ away
    spreads, weights = products.diagonal(), _THIRDS
    if spreads.max() > _MORE_OF_ONE / 9 * float(products.sum()):
        weights = np.eye(3, dtype=np.float32)[None, int(spreads.argmax())]
    y, z = (_weighted(p, weights) for p in (became, other))
    if is_back:
        y, z = z, y
    n = min(GRID, h // 2, w // 2)
    spread = np.sqrt(np.maximum(_blocks(y * y, n) - _blocks(y, n) ** 2, 0))
    apart = np.abs(mean) + chroma
    cover = np.ones((n, n), np.float32) if share == 1 else _blocks(inside.astype(np.float32), n)
    off = _blocks(apart if share == 1 else apart * inside, n) / np.maximum(cover, 1e-3)
    plain = off[(cover > 0.99) & (spread < 3)]
    off = np.maximum(off - 0.2 * spread, 0)  # edges differ by how they were sampled
    blocks = np.where(cover > 0.6, off, -1).astype(np.float32)
    facts = gain, offset, is_gray, chroma, spread, sampled, plain, blocks
    return Comparison((y, z), inside, share, matrix, *facts)


def _unexplained(one: Floats, other: Floats, gain: float, offset: float) -> tuple[Floats, Floats]:
    """Give the difference that gain and offset leave, and the picture that they make of `one`.

    That is `one` itself if the gain is too small to cut values off.
    """
    expected = one * gain
    expected += offset
    is_cut = gain > _CUT  # near the cut, the mean of what is cut is not the cut mean
    near = (np.maximum(other, expected) > 232) | (np.minimum(other, expected) < 12) if is_cut else 0
    np.clip(expected, 0, 255, out=expected)
    difference = np.subtract(other, expected)
    if is_cut:
        less = np.sign(difference) * np.maximum(np.abs(difference) - 20, 0)
        difference = np.where(near, less, difference)
    difference /= max(gain, 1)
    return difference, expected if is_cut else one


def _moved(large: Array, matrix: Array, small: Array) -> tuple[Array, Array]:
    """Take the part of a picture that a map shows, and tell which pixels of it there are."""
    if small.shape == large.shape and np.array_equal(matrix, np.eye(3)):
        return large, np.ones(large.shape[:2], bool)
    pixels, size = pixel_matrix(matrix, small, large), small.shape[1::-1]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    whole = np.full(large.shape[:2], 255, np.uint8)
    seen = cv2.warpPerspective(large, pixels, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return seen, cv2.warpPerspective(whole, pixels, size, flags=flags) > 127


def is_one_gray(*pixels: Array) -> bool:
    """Tell whether one of two lists of pixels has colours, and the other has none."""
    chromas = []  # greatest less least channel
    for each in pixels:
        red, green, blue = each.T
        greatest, least = np.maximum(red, green), np.minimum(red, green)
        chromas.append(np.asarray(np.maximum(greatest, blue) - np.minimum(least, blue)))
    means = [_mean_of(chroma) for chroma in chromas]
    gray, color = (0, 1) if means[0] <= means[1] else (1, 0)
    has_none = int(np.count_nonzero(chromas[gray] > _COLORED)) <= _COLORED_SHARE * len(
        chromas[gray]
    )
    has_some = means[color] > 5 or (means[gray] < 0.5 and means[color] > 1)
    return has_none and has_some and means[gray] < 2.5


def _mean(pixels: Array) -> Floats:
    """Mean of the channels: (height, width, 3) → (height, width)."""
    return _weighted(pixels, _THIRDS)


def _weighted(pixels: Array, weights: Floats) -> Floats:
    """Add the channels, each times a weight: (height, width, 3) → (height, width)."""
    return np.asarray(cv2.transform(pixels, weights))


_Fit = tuple[float, float, bool]
"""Gain and offset by which one picture becomes the other; True: the other becomes the one."""


def _best_fit(one: Array, other: Array) -> _Fit:
    """Fit one gain and one offset for all channels to the values that are not cut off.

    If more than half of the values are cut off, all values are fitted too, and the fit with the
    lesser residual counts; if nearly all are, only all values are fitted.
    """
    low, high = _SATURATED, 255 - _SATURATED
    free: Array = (np.minimum(one, other) > low) & (np.maximum(one, other) < high)
    n_free = np.count_nonzero(free)
    if n_free <= _LEAST_FREE * free.size:
        return _fit(one, other, None)
    if n_free >= _MOST_FREE * free.size:
        return _fit(one, other, free)
    fits = _fit(one, other, free), _fit(one, other, None)
    residuals = []  # levels of the picture of less contrast
    for gain, offset, is_back in fits:
        a, b = (other, one) if is_back else (one, other)
        expected = np.clip(gain * a + offset, 0, 255)
        residuals.append(_mean_of(np.abs(b - expected)) / max(gain, 1))
    return fits[1] if residuals[1] < residuals[0] else fits[0]


def _fit(one: Array, other: Array, used: Array | None) -> _Fit:
    """Fit some values, or all, of the picture of less contrast to those of the other one.

    One gain and one offset, without what differs most.
    """
    x, y = (one.reshape(-1), other.reshape(-1)) if used is None else (one[used], other[used])
    is_back = _spread_of(y) < _spread_of(x)
    if is_back:
        x, y = y, x
    a, b = x, y
    for last in (False, False, True):
        mean_a, mean_b = _mean_of(a), _mean_of(b)
        away = a - mean_a
        spread = float(np.vdot(away, away)) / len(a)
        gain = float(np.vdot(away, b - mean_b)) / len(a) / spread if spread > 1e-3 else 1.0
        gain = min(max(gain, 0.5), 3.0)
        offset = mean_b - gain * mean_a
        if not last:
            off = np.abs(y - gain * x - offset)
            place = int(0.85 * (len(off) - 1))
            kept = off <= np.partition(off, place)[place] + 1
            a, b = x[kept], y[kept]
    return gain, offset, is_back


def _mean_of(values: Array) -> float:
    """As `values.mean()` of float32, without the time that numpy takes before it adds."""
    return float(np.add.reduce(values, axis=None)) / values.size


def _at_share(values: Array, share: float) -> float:
    """Value that this share of values does not exceed; 0 of none."""
    place = int(share * (len(values) - 1))
    return float(np.partition(values, place)[place]) if len(values) else 0.0


def _spread_of(values: Array) -> float:
    away = values - _mean_of(values)
    return float(np.vdot(away, away))


def _blocks(values: Array, n: int) -> Floats:
    """Mean of each of n x n blocks: faster than `cv2.resize` where sides are no multiples of n."""
    h, w = values.shape
    return np.asarray(_shares(h, n) @ values @ _shares(w, n).T)


@lru_cache(256)
def _shares(side: int, n: int) -> Floats:
    """Share of each pixel in the mean of each of n blocks of a side."""
    ends = np.linspace(0, side, n + 1)[:, None]
    pixels = np.arange(side)
    inside = np.minimum(pixels + 1, ends[1:]) - np.maximum(pixels, ends[:-1])
    return np.asarray(np.maximum(inside, 0) * n / side, np.float32)


@lru_cache(256)
def _inner_shares(side: int, n: int) -> tuple[int, Floats]:
    """Give the first pixel of the inner blocks, and `_shares` of these blocks from it on."""
    shares = _shares(side, n)[n // 4 : n - n // 4]
    used = np.flatnonzero(shares.any(axis=0))
    return int(used[0]), np.ascontiguousarray(shares[:, used[0] : used[-1] + 1])


def _correlation(a: Array, b: Array) -> tuple[float, float]:
    """Correlate pixels, and give the lesser deviation."""
    a, b = a - _mean_of(a), b - _mean_of(b)
    squares = float(np.vdot(a, a)), float(np.vdot(b, b))
    norm = math.sqrt(squares[0] * squares[1])
    deviation = math.sqrt(min(squares) / max(a.size, 1))
    return float(np.vdot(a, b)) / norm if norm > 0 else 0.0, deviation


def lies_right(seen: Comparison) -> bool:
    """Tell two frames of a camera that stands: most of what has texture does not differ."""
    textured = seen.blocks[(seen.blocks >= 0) & (seen.spread > 3)]
    is_near = seen.shared > 0.97 and seen.texture > 0.4
    return is_near and bool(np.quantile(textured, 0.6) < 1.5) and seen.share_off(20) > 0.01


def resized(picture: Array, width: float, height: float, how: int = cv2.INTER_AREA) -> Array:
    """Resize a picture to sides of at least 8 pixels."""
    w, h = (max(round(n), 8) for n in (width, height))
    if (h, w) == picture.shape[:2]:
        return picture
    return np.asarray(cv2.resize(picture, (w, h), interpolation=how))


def turned_all(pictures: Array, turn: int) -> Array:
    """Turn (n, height, width, …) by quarters counterclockwise, from 4 on mirrored before."""
    return np.rot90(pictures[:, :, ::-1] if turn >= 4 else pictures, turn % 4, axes=(1, 2))


def turned(picture: Array, turn: int) -> Array:
    """Turn one picture as `turned_all` does; contiguous."""
    if turn == 0:
        return picture
    return np.ascontiguousarray(turned_all(picture[None], turn)[0])
