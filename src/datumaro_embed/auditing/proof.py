"""Two pictures → whether one is a copy of the other, and what was done to it.

Three sieves, each finer and slower: numbers of all pairs at once (`gates`), signatures of a pair
(`likely_maps`), pixels (`prove`). The last alone proves. A map takes places of the first picture to
places of the second, each as shares of width and height: it does not depend on their sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from ..signatures import SIGNATURE_SIDE

__all__ = [
    "GRAY",
    "LONGEST_PX",
    "Map",
    "Proof",
    "are_still",
    "gates",
    "likely_maps",
    "passing",
    "prove",
]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Kind = Literal["bytes", "pixels", "picture", "overlap"]

LONGEST_PX = 256
"""Pixels of a picture to prove need not be more."""

_TURNS = 8  # quarter turns counterclockwise, and from 4 on those of the mirrored picture
_LEAST_WHOLE, _LEAST_WINDOW, _LEAST_COLOURS = 0.72, 0.70, 0.97
_MUCH_ALIKE = 0.97  # as a whole: no window of one is sought in the other
_LEAST_COVER = 0.28  # of a picture, by what is cut out of it
_STEP = 0.93
_SCALES = 0.97 * _STEP ** np.arange(9)
GRAY = np.array([0.299, 0.587, 0.114], np.float32)
_COMPARED_PX = 160
_LEAST_ROUGH = 0.55
_FAR_OFF, _STILL = 18.0, 6.0  # levels
_OTHER = 12.0  # levels of chroma: other colours
_LEAST_WARPED = {"guess": 0, "signature": 0, "affine": 0.78, "warped": 0.85}  # cover
_SURE = 0.995
_GRID = 16  # blocks along each side
_MARGIN = 3  # of them, where logos and dates are
_SATURATED = 6
_NAMES = {"bytes": "the same file as", "pixels": "the same pixels as"}


@dataclass(frozen=True, slots=True)
class Proof:
    """That one picture is a copy of another.

    Attributes
    ----------
    kind : {"bytes", "pixels", "picture", "overlap"}
        Equal files; equal pixels; the same picture, changed; parts of one scene or film, of which
        neither picture holds the other.
    how : tuple of str
        What was changed: ``mirrored``, ``rotated``, ``cropped``, ``resized``, ``recompressed``,
        ``gray``, ``brightness``, ``overlaid``, ``warped``.
    score : float
        Correlation of the pixels, in [0, 1].
    """

    kind: Kind
    how: tuple[str, ...] = ()
    score: float = 1.0

    def __str__(self) -> str:
        """Say what a picture is: ``the same picture, mirrored, as``."""
        changed = f", {', '.join(self.how)}, as" if self.how else " as"
        return _NAMES.get(self.kind, f"the same picture{changed}")


@dataclass(frozen=True, slots=True)
class Map:
    """Where the first picture, turned, may lie in the second, or the second in the first.

    Attributes
    ----------
    turn : int
        Of the smaller picture: counterclockwise quarter turns; 4 more where it is mirrored before.
    start : array of shape (3, 3)
        Places of the smaller picture, turned, to places of the larger: as first guessed.
    matrix : array of shape (3, 3)
        The same, aligned.
    swapped : bool
        The second picture is the smaller one.
    score : float
        Correlation of the signatures.
    """

    turn: int
    start: Array
    matrix: Array
    swapped: bool = False
    score: float = 0.0


# All pairs at once ------------------------------------------------------------------------------


def gates(signatures: Array, first: Array, second: Array) -> Floats:
    """Compare signatures of pairs: array of shape (m, 4), float32.

    Parameters
    ----------
    signatures : array of shape (n, 3072), uint8
    first, second : arrays of shape (m,), int
        Rows of `signatures`.

    Returns
    -------
    Of each pair the turn of the first picture by which it is most like the second; their
    correlation then; and the shares of the colours of the first (second) picture that are also in
    the other one, zero for pairs that are much alike as a whole. All zero for two frames of a
    camera that stands.
    """
    used, places = np.unique(np.concatenate([first, second]), return_inverse=True)
    one, other = np.split(places.reshape(-1), 2)
    some = np.ascontiguousarray(signatures[used])
    grays = _grays(some)
    gray = _normed(grays)
    correlations = np.stack(
        [
            np.einsum("nij,nij->n", _turned_all(gray, turn)[one], gray[other])
            for turn in range(_TURNS)
        ]
    )
    turns, wholes = correlations.argmax(axis=0), correlations.max(axis=0)
    differ = wholes < _MUCH_ALIKE
    for turn in np.unique(turns):
        near = np.flatnonzero((turns == turn) & (wholes >= _LEAST_WHOLE))
        moved = near[_have_moved(_turned_all(grays[one[near]], turn), grays[other[near]])]
        wholes[moved], differ[moved] = 0, False
    found = np.zeros((len(one), 4), np.float32)
    found[:, 0], found[:, 1] = turns, wholes
    apart = np.flatnonzero(differ)
    used, places = np.unique(np.concatenate([one[apart], other[apart]]), return_inverse=True)
    one, other = np.split(places.reshape(-1), 2)
    colours = _colours(some[used])
    for way, (a, b) in enumerate(((one, other), (other, one))):
        found[apart, 2 + way] = np.minimum(colours[a], colours[b] / _LEAST_COVER).sum(axis=1)
    return found


def passing(gated: Floats) -> Array:
    """Tell which pairs are worth a comparison of their signatures, by what `gates` gives."""
    found: Array = (gated[:, 1] >= _LEAST_WHOLE) | (gated[:, 2:] >= _LEAST_COLOURS).any(axis=1)
    return found


def are_still(signatures: Array, first: Array, second: Array) -> Array:
    """Tell pairs of signatures, as they are, that hardly differ anywhere: (m,), bool."""
    blocks = _differences(*(_grays(signatures[rows]) for rows in (first, second)))[0]
    found: Array = (blocks > _STILL).sum(axis=(1, 2)) <= 1
    return found


def _have_moved(one: Floats, other: Floats) -> Array:
    """Tell pairs of grays of which most does not differ, and a thing in their midst does."""
    blocks, textured, gain = _differences(one, other)
    n_still = (textured & (blocks < 1.5)).sum(axis=(1, 2))
    lie_right = n_still > 0.6 * np.maximum(textured.sum(axis=(1, 2)), 0.4 * _GRID**2)
    inner = (blocks[:, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN] > 12).sum(axis=(1, 2))
    far, very_far = ((blocks > levels).mean(axis=(1, 2)) for levels in (12, 20))
    lie_right &= np.abs(gain - 1) < 0.1  # what is made brighter may be cut off
    found: Array = lie_right & ((far > 0.03) | (very_far > 0.01)) & ((inner > 1) | (far > 0.08))
    return found


def _differences(one: Floats, other: Floats) -> tuple[Floats, Array, Floats]:
    """Give the difference of each block of pairs of grays, which have texture, and the gain."""
    n = SIGNATURE_SIDE**2
    y, z = one.reshape(-1, n), other.reshape(-1, n)
    kept = np.ones(y.shape, np.float32)
    for last in (False, True):
        count = kept.sum(axis=1)
        mean_y, mean_z = ((v * kept).sum(axis=1) / count for v in (y, z))
        away = (y - mean_y[:, None]) * kept
        gain = (away * z).sum(axis=1) / np.maximum((away * y).sum(axis=1), 1e-3)
        gain = np.clip(gain, 0.5, 2)[:, None]
        off = np.abs(z - mean_z[:, None] - gain * (y - mean_y[:, None])) / np.maximum(gain, 1)
        if not last:
            cut = np.partition(off, int(0.8 * n), axis=1)[:, int(0.8 * n), None]
            kept = (off <= cut + 0.5).astype(np.float32)
    blocks, means, squares = (_quarters(v) for v in (off, y, y * y))
    spread = np.sqrt(np.maximum(squares - means * means, 0))
    blocks -= 0.2 * spread
    return blocks, spread > 3, gain[:, 0]


def _quarters(values: Array) -> Floats:
    """Mean of each 2 x 2 of rows of pixels: (n, 1024) → (n, 16, 16)."""
    half = SIGNATURE_SIDE // 2
    cells = values.reshape(-1, half, 2, half, 2)
    rows = cells[:, :, 0] + cells[:, :, 1]
    found: Floats = (rows[..., 0] + rows[..., 1]) / 4
    return found


def _grays(signatures: Array) -> Floats:
    side = SIGNATURE_SIDE
    gray = cv2.cvtColor(signatures.reshape(-1, side, 3), cv2.COLOR_RGB2GRAY)
    return gray.astype(np.float32).reshape(-1, side, side)


def _normed(grays: Floats) -> Floats:
    gray = _quarters(grays)
    gray -= gray.mean(axis=(1, 2), keepdims=True)
    norms = np.linalg.norm(gray, axis=(1, 2), keepdims=True)
    result: Floats = gray / np.maximum(norms, 1e-3)
    return result


def _turned_all(pictures: Array, turn: int) -> Array:
    return np.rot90(pictures[:, :, ::-1] if turn >= 4 else pictures, turn % 4, axes=(1, 2))


def _colours(signatures: Array) -> Floats:
    """Share of each of 8 x 8 x 8 colours, smoothed."""
    n = len(signatures)
    cells = signatures.reshape(n, SIGNATURE_SIDE**2, 3) >> 5
    red, green, blue = (cells[..., channel].astype(np.uint16) for channel in range(3))
    codes = (red << 6 | green << 3 | blue) + 512 * np.arange(n)[:, None]
    counts = np.bincount(codes.reshape(-1), minlength=512 * n).reshape(n, 8, 8, 8)
    shares = counts.astype(np.float32) / SIGNATURE_SIDE**2
    for axis in (1, 2, 3):
        along = np.moveaxis(shares, axis, 1)
        wide = np.concatenate([along[:, :1], along, along[:, -1:]], axis=1)
        blurred = (wide[:, :-2] + wide[:, 2:] + 2 * along) / 4
        shares = np.moveaxis(blurred, 1, axis)
    return np.asarray(shares.reshape(n, 512), np.float32)


# Signatures of a pair ---------------------------------------------------------------------------


def likely_maps(
    first: Array,
    second: Array,
    sizes: tuple[tuple[int, int], tuple[int, int]],
    gate: Sequence[float],
) -> Iterator[Map]:
    """Yield how one picture may be a copy of the other, the whole before windows.

    Parameters
    ----------
    first, second : arrays of shape (3072,), uint8
        Signatures.
    sizes : pair of (width, height)
    gate : four numbers
        Of `gates`.
    """
    turn, whole, *windows = int(gate[0]), *gate[1:]
    pictures = [p.reshape(SIGNATURE_SIDE, SIGNATURE_SIDE, 3) for p in (first, second)]
    if whole >= _SURE:
        yield Map(turn, np.eye(3), np.eye(3), score=whole)
    elif whole >= _LEAST_WHOLE:
        found = _refined(_turned(pictures[0], turn), pictures[1], Map(turn, np.eye(3), np.eye(3)))
        if found is not None:
            yield found
    for swapped in (False, True):
        if windows[swapped] < _LEAST_COLOURS:
            continue
        small, large = pictures[swapped], pictures[not swapped]
        place = _search(small, large, sizes[swapped], sizes[not swapped])
        if place is not None:
            found = _refined(_turned(small, place.turn), large, place)
            if found is not None:
                yield replace(found, swapped=swapped)


def _turned(picture: Array, turn: int) -> Array:
    if turn == 0:
        return picture
    return np.ascontiguousarray(_turned_all(picture[None], turn)[0])


def _search(
    small: Array, large: Array, small_size: tuple[int, int], large_size: tuple[int, int]
) -> Map | None:
    """Find the window of the large picture that is most like the small one, or its mirror image."""
    ratios = small_size[0] / large_size[0], small_size[1] / large_size[1]
    longest = max(ratios)
    as_given = [longest] if 0.4 < longest < 1 else []  # cut out, and not resized
    rough = [_halved(p) for p in (small, large)]
    scales = (*_SCALES[::2], *as_given)
    scale, turn, score = _best_window(rough[0], rough[1], scales, (0, 4), ratios)[:3]
    if score < _LEAST_ROUGH:
        return None
    near = (*(scale * _STEP ** np.array([-1, -0.5, 0, 0.5, 1])), *as_given)
    scale, turn, score, matrix = _best_window(small, large, near, (turn,), ratios)
    return Map(turn, matrix, matrix) if score > _LEAST_WINDOW else None


def _best_window(
    small: Array,
    large: Array,
    scales: Iterable[float],
    turns: Sequence[int],
    ratios: tuple[float, float],
) -> tuple[float, int, float, Array]:
    """Return scale, turn, correlation and map of the best place at some scales."""
    side = len(large)
    best = (1.0, 0, -1.0, np.eye(3))
    for scale in scales:
        w, h = (min(round(side * scale * ratio / max(ratios)), side) for ratio in ratios)
        if min(w, h) < side * 10 / SIGNATURE_SIDE or w * h < _LEAST_COVER * side**2:
            continue
        part = cv2.resize(small, (w, h), interpolation=cv2.INTER_AREA)
        for turn in turns:
            picture = cv2.flip(part, 1) if turn else part
            scores = cv2.matchTemplate(large, picture, cv2.TM_CCOEFF_NORMED)
            _, score, _, (x, y) = cv2.minMaxLoc(scores)
            if best[2] < score <= 1.001:
                matrix = np.array([[w, 0, x], [0, h, y], [0, 0, side]]) / side
                best = scale, turn, score, matrix
    return best


def _halved(picture: Array) -> Array:
    half = SIGNATURE_SIDE // 2
    return np.asarray(cv2.resize(picture, (half, half), interpolation=cv2.INTER_AREA))


def _refined(small: Array, large: Array, start: Map) -> Map | None:
    """Align two signatures; None where they are not alike then."""
    (w, _, x), (_, h, y) = (start.start[:2] * SIGNATURE_SIDE).round().astype(int)
    small = _resized(small, w, h)
    if not _have_same_colours(small, large[y : y + h, x : x + w]):
        return None
    best: Map | None = None
    least = 0.80
    matrix: Array | None = start.start
    while matrix is not None:
        seen = _compared(small, large, matrix)
        if seen is not None and seen.correlation >= least and _may_be_alike(seen):
            best = replace(start, matrix=matrix, score=seen.correlation)
            least = seen.correlation
        if matrix is not start.start or least > _SURE or (seen is not None and _lies_right(seen)):
            break
        matrix = _aligned(small, large, matrix, cv2.MOTION_AFFINE, 30)
    return best


def _may_be_alike(seen: _Comparison) -> bool:
    """Tell whether pixels decide: cells of a window lie between those of the whole."""
    return seen.share_off(20) <= (0.25 if seen.correlation >= 0.93 else 0.15)


def _have_same_colours(one: Array, other: Array) -> bool:
    """Tell whether two pictures may be alike where they are seen from afar: far cheaper."""
    n = 4
    cells = [
        cv2.resize(p, (n, n), interpolation=cv2.INTER_AREA).reshape(-1, 3).astype(np.float32)
        for p in (one, other)
    ]
    if _is_one_gray(*cells):
        cells = [p @ GRAY[:, None] for p in cells]
    cells.sort(key=lambda p: float(p.std()))
    a, b = (p - p.mean() for p in cells)
    product, square = float((a * b).sum()), float((a * a).sum())
    gain = min(max(product / max(square, 1.0), 0.5), 3.0)
    off = np.abs(b - gain * a).mean(axis=1) / max(gain, 1)
    return product > 0.7 * float(np.sqrt(square * (b * b).sum())) and np.median(off) < _FAR_OFF


# Pixels -----------------------------------------------------------------------------------------


def prove(
    first: Array, second: Array, sizes: tuple[tuple[int, int], tuple[int, int]], found: Map
) -> Proof | None:
    """Judge by the pixels of two pictures whether one is a copy of the other.

    Parameters
    ----------
    first, second : arrays of shape (height, width, 3), uint8
        Upright RGB, the longer side `LONGEST_PX` where it has as many.
    sizes : pair of (width, height)
        Of the images themselves.
    found : Map
        One of `likely_maps`.
    """
    pictures = (second, first) if found.swapped else (first, second)
    small, large = _turned(pictures[0], found.turn), pictures[1]
    small, large = _at_one_scale(small, large, found.matrix)
    size, other = sizes[found.swapped], sizes[not found.swapped]
    shape = (size[::-1] if found.turn % 2 else size), other
    for matrix, motion in _finer(small, large, found):
        seen = _compared(small, large, matrix)
        if seen is None or seen.correlation < 0.70:
            continue
        kind = _kind_of(seen, partial(_stretch, matrix, *shape))
        if kind is None and (_is_other_text(seen) or _lies_right(seen)):
            return None  # no finer map changes that
        if kind is None and seen.chroma > _OTHER and seen.correlation > 0.93:
            return None
        if seen.cover < _LEAST_WARPED[motion] and (kind is None or motion == "warped"):
            return None
        if kind == "picture" or (kind == "overlap" and motion == "affine"):
            how = tuple(_changes(seen, found, sizes, motion, kind))
            return Proof(kind, how, round(max(seen.correlation, 0.0), 4))
    return None


def _finer(small: Array, large: Array, found: Map) -> Iterator[tuple[Array, str]]:
    """Yield maps, and how each was found, from coarse to fine."""
    yield found.start, "guess"
    if found.matrix is not found.start:
        yield found.matrix, "signature"
    affine = _aligned(small, large, found.matrix, cv2.MOTION_AFFINE, 20)
    if affine is None:
        return
    yield affine, "affine"
    free = _aligned(small, large, affine, cv2.MOTION_HOMOGRAPHY, 20)
    if free is not None and abs(np.linalg.det(free) / np.linalg.det(affine) - 1) < 0.15:
        yield free, "warped"


def _stretch(matrix: Array, small: tuple[int, ...], large: tuple[int, ...]) -> float:
    """Return how much more one direction is stretched than the other, in the images' pixels."""
    linear = np.diag(large) @ matrix[:2, :2] @ np.diag([1 / n for n in small])
    values = np.linalg.svd(linear, compute_uv=False)
    return float(values[0] / max(values[1], 1e-9))


def _at_one_scale(small: Array, large: Array, matrix: Array) -> tuple[Array, Array]:
    """Bring both pictures to the same scale, that of the coarser one or less."""
    areas = [picture.shape[0] * picture.shape[1] for picture in (small, large)]
    (a, b), (c, d) = matrix[:2, :2].tolist()
    step = math.sqrt(abs(a * d - b * c) * areas[1] / areas[0])
    longest = max(small.shape[:2])
    shrink = min(_COMPARED_PX / longest, step, 1.0)
    found = []
    for picture, scale in ((small, shrink), (large, min(shrink / step, 1.0))):
        how = cv2.INTER_LINEAR if scale > 0.5 else cv2.INTER_AREA  # the faster one; a blur follows
        found.append(_resized(picture, picture.shape[1] * scale, picture.shape[0] * scale, how))
    return found[0], found[1]


def _resized(picture: Array, width: float, height: float, how: int = cv2.INTER_AREA) -> Array:
    w, h = (max(round(n), 8) for n in (width, height))
    if (h, w) == picture.shape[:2]:
        return picture
    return np.asarray(cv2.resize(picture, (w, h), interpolation=how))


def _kind_of(seen: _Comparison, stretch: Callable[[], float]) -> Kind | None:
    """Decide, from how the pictures differ."""
    if seen.deviation < 3 or seen.texture < 0.04 or seen.cover > 1.08 or seen.chroma > 5:
        return None
    contained = max(seen.inside, seen.cover if seen.cover <= 1.02 else 0.0)
    is_whole = min(seen.inside, seen.cover) > 0.97
    if seen.cover < _LEAST_COVER and seen.inside < 0.97:
        return None
    is_same = seen.correlation >= 0.9 and seen.detail >= 0.6
    if is_whole and _is_other_text(seen):
        return None
    if not is_whole:  # parts are more often alike than whole pictures
        is_same = seen.correlation >= 0.975 and seen.detail >= 0.85 and stretch() <= 1.03
        is_same |= seen.correlation >= 0.985 and seen.detail >= 0.93 and seen.share_off(12) < 0.01
        is_same &= (seen.shift < 2.5 and seen.plain_off < 3.5) or seen.texture >= 0.8
    is_near = seen.share_off(12) <= 0.02 and seen.share_off(20) <= 0.005
    if not (is_same and is_near):
        is_same = seen.correlation >= 0.995 and seen.detail >= 0.97
        is_same = is_same and seen.shift < 2.5 and seen.plain_off < 5
        is_near |= seen.share_off(12) <= 0.04 and seen.share_off(20) <= 0.01
    if is_same and is_near:
        if contained >= (0.99 if is_whole else 0.998):
            return "picture"
        return "overlap" if contained >= 0.5 and seen.detail >= 0.8 else None
    return "picture" if is_whole and contained >= 0.99 and _is_overlaid(seen) else None


def _is_other_text(seen: _Comparison) -> bool:
    """Tell two pages of text, or two plots, that are alike but for details."""
    is_near = min(seen.inside, seen.cover) > 0.97 and abs(seen.gain - 1) < 0.05
    return is_near and seen.share_off(12) <= 0.02 and seen.least_detail < 0.8


def _lies_right(seen: _Comparison) -> bool:
    """Tell two frames of a camera that stands: most of what has texture does not differ."""
    textured = seen.blocks[(seen.blocks >= 0) & (seen.spread > 3)]
    is_near = min(seen.inside, seen.cover) > 0.97 and seen.texture > 0.4
    return is_near and bool(np.quantile(textured, 0.6) < 1.5) and seen.share_off(20) > 0.01


def _is_overlaid(seen: _Comparison) -> bool:
    """Tell whether all that differs is small and near the edges: a logo, a date, a frame line."""
    band = seen.blocks.copy()
    inner = band[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    return bool(
        inner.size
        and (inner > 10).sum() <= 1
        and seen.share_off(12) <= 0.05
        and (band[band >= 0] > 5).mean() <= 0.12
    )


def _changes(
    seen: _Comparison,
    found: Map,
    sizes: tuple[tuple[int, int], tuple[int, int]],
    motion: str,
    kind: Kind,
) -> Iterator[str]:
    """Name what was done."""
    if found.turn >= 4:
        yield "mirrored"
    if found.turn % 4:
        yield "rotated"
    is_whole = min(seen.inside, seen.cover) > 0.9
    if kind == "picture" and not is_whole:
        yield "cropped"
    if kind == "picture" and is_whole and sorted(sizes[0]) != sorted(sizes[1]):
        yield "resized"
    if seen.is_gray:
        yield "gray"
    elif abs(seen.gain - 1) > 0.08 or abs(seen.offset) > 10:
        yield "brightness"
    if motion == "warped":
        yield motion
    if seen.share_off(12) > 0.02:
        yield "overlaid"


@dataclass(frozen=True)
class _Comparison:
    """How a picture differs from the part of another that it should be a copy of."""

    grays: tuple[Floats, Floats]
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

    @property
    def cover(self) -> float:
        """Share of the larger picture that the smaller covers."""
        return abs(float(np.linalg.det(self.matrix[:2, :2]))) * self.inside

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
        return float(self._seen(self.differences).mean())

    @cached_property
    def texture(self) -> float:
        """Share of the blocks that have any."""
        counted = self.blocks >= 0
        return float((self.spread[counted] > 3).mean()) if counted.any() else 0.0

    @cached_property
    def plain_off(self) -> float:
        """Difference of most of the blocks that have no texture."""
        return float(np.quantile(self.plain, 0.9)) if len(self.plain) > 3 else 0.0

    @cached_property
    def least_detail(self) -> float:
        """As `detail`, of the inner block where it is least, if it has much of it."""
        return _least_detail(self.fine[0], self.fine[1], self.within)

    def share_off(self, levels: float) -> float:
        return float((self.blocks > levels).sum() / max((self.blocks >= 0).sum(), 1))


_LESS_MEAN = (np.eye(3) - 1 / 3).astype(np.float32)  # takes the mean of the channels from each
_CENTRES = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # pixel 0 has its centre at 0.5
_CORNERS = np.linalg.inv(_CENTRES)


def _pixel_matrix(matrix: Array, small: Array, large: Array) -> Array:
    """Turn a map of shares into one of pixels."""
    sizes = [np.diag([p.shape[1], p.shape[0], 1.0]) for p in (small, large)]
    to_share = np.linalg.inv(sizes[0]) @ _CENTRES
    result = _CORNERS @ sizes[1] @ matrix @ to_share
    return np.asarray(result / result[2, 2])


def _share_matrix(matrix: Array, small: Array, large: Array) -> Array:
    """Invert `_pixel_matrix`."""
    sizes = [np.diag([p.shape[1], p.shape[0], 1.0]) for p in (small, large)]
    to_pixel = np.linalg.inv(_CENTRES) @ sizes[0]
    result = np.linalg.inv(sizes[1]) @ _CENTRES @ matrix @ to_pixel
    return np.asarray(result / result[2, 2])


def _aligned(small: Array, large: Array, matrix: Array, motion: int, steps: int) -> Array | None:
    """Improve a map by ECC; None where it does not converge."""
    start = _pixel_matrix(matrix, small, large).astype(np.float32)
    is_affine = motion == cv2.MOTION_AFFINE
    grays = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (small, large)]
    until = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, steps, 3e-4)
    no_mask: Any = None
    try:
        start = np.ascontiguousarray(start[:2] if is_affine else start)
        _, found = cv2.findTransformECC(grays[0], grays[1], start, motion, until, no_mask, 3)
    except cv2.error:
        return None
    full = np.vstack([found, [0, 0, 1]]) if is_affine else found
    return _share_matrix(full.astype(np.float64), small, large)


def _compared(small: Array, large: Array, matrix: Array) -> _Comparison | None:
    """Compare a picture with where a map takes it in another; None where that is mostly outside."""
    h, w = small.shape[:2]
    seen, inside = _moved(large, matrix, small)
    share = float(inside.mean())
    if share < 0.3:
        return None
    sigma = 0.6 if max(h, w) <= SIGNATURE_SIDE else 1.0
    one, other = (cv2.GaussianBlur(p, (0, 0), sigma).astype(np.float32) for p in (small, seen))
    every = (slice(None, None, max(h // 30, 1)), slice(None, None, max(w // 30, 1)))
    chosen = np.flatnonzero(inside[every])
    some = [p[every].reshape(-1, 3)[chosen] for p in (one, other)]  # enough to fit few numbers to
    is_gray = _is_one_gray(*some)
    if is_gray:
        one, other = (np.dstack([p @ GRAY] * 3) for p in (one, other))
        some = [p[every].reshape(-1, 3)[chosen] for p in (one, other)]
    y, z = (_mean(p) for p in (one, other))
    free = _free(*some)
    sampled = some[0], some[1]
    if some[1][free].std() < some[0][free].std():  # to more contrast: there, values may be cut off
        one, other, some = other, one, some[::-1]
    gain, offset = _fitted(some[0][free], some[1][free])
    difference, mean = _unexplained(one, other, gain, offset)
    chroma = _mean(np.abs(cv2.transform(difference, _LESS_MEAN)))
    n = min(_GRID, h // 2, w // 2)
    spread = np.sqrt(np.maximum(_blocks(y * y, n) - _blocks(y, n) ** 2, 0))
    apart = np.abs(mean) + chroma
    cover = np.ones((n, n), np.float32) if share == 1 else _blocks(inside.astype(np.float32), n)
    off = _blocks(apart if share == 1 else apart * inside, n) / np.maximum(cover, 1e-3)
    plain = off[(cover > 0.99) & (spread < 3)]
    off = np.maximum(off - 0.2 * spread, 0)  # edges differ by how they were sampled
    blocks = np.where(cover > 0.6, off, -1).astype(np.float32)
    facts = gain, offset, is_gray, chroma, spread, sampled, plain, blocks
    return _Comparison((y, z), inside, share, matrix, *facts)


def _unexplained(one: Floats, other: Floats, gain: float, offset: float) -> tuple[Floats, Floats]:
    """Give what differs between pictures beside gain and offset, and its mean of the channels."""
    expected = one * gain
    expected += offset
    is_cut = gain > 1.05  # near the cut, the mean of what is cut is not the cut mean
    near = (np.maximum(other, expected) > 232) | (np.minimum(other, expected) < 12) if is_cut else 0
    np.clip(expected, 0, 255, out=expected)
    difference = np.subtract(other, expected, out=expected)
    if is_cut:
        less = np.sign(difference) * np.maximum(np.abs(difference) - 20, 0)
        difference = np.where(near, less, difference)
    difference /= max(gain, 1)
    return difference, _mean(difference)


def _moved(large: Array, matrix: Array, small: Array) -> tuple[Array, Array]:
    """Take the part of a picture that a map shows, and tell which pixels of it there are."""
    if small.shape == large.shape and np.array_equal(matrix, np.eye(3)):
        return large, np.ones(large.shape[:2], bool)
    pixels, size = _pixel_matrix(matrix, small, large), small.shape[1::-1]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    whole = np.full(large.shape[:2], 255, np.uint8)
    seen = cv2.warpPerspective(large, pixels, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return seen, cv2.warpPerspective(whole, pixels, size, flags=flags) > 127


def _is_one_gray(*pixels: Array) -> bool:
    """Tell whether one of two lists of pixels has colours, and the other has none."""
    colourful = []
    for red, green, blue in (p.T for p in pixels):
        greatest, least = np.maximum(red, green), np.minimum(red, green)
        colourful.append(float((np.maximum(greatest, blue) - np.minimum(least, blue)).mean()))
    return min(colourful) < 2.5 and max(colourful) > 5


def _mean(pixels: Array) -> Floats:
    """Mean of the channels: (height, width, 3) → (height, width)."""
    return np.asarray(cv2.transform(pixels, np.full((1, 3), 1 / 3, np.float32)))


def _free(one: Array, other: Array) -> Array:
    """Tell which values are not cut off, where these are not too few."""
    low, high = _SATURATED, 255 - _SATURATED
    free: Array = (np.minimum(one, other) > low) & (np.maximum(one, other) < high)
    return free if free.mean() > 0.05 else np.ones(one.shape, bool)


def _fitted(x: Array, y: Array) -> tuple[float, float]:
    """Fit one gain and offset for all channels, without what differs most."""
    a, b = x, y
    for last in (False, False, True):
        mean_a, mean_b = float(a.mean()), float(b.mean())
        away = a - mean_a
        spread = float((away * away).mean())
        gain = float((away * (b - mean_b)).mean()) / spread if spread > 1e-3 else 1.0
        gain = min(max(gain, 0.5), 3.0)
        offset = mean_b - gain * mean_a
        if not last:
            off = np.abs(y - gain * x - offset)
            place = int(0.85 * (len(off) - 1))
            kept = off <= np.partition(off, place)[place] + 1
            a, b = x[kept], y[kept]
    return gain, offset


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


def _least_detail(one: Array, other: Array, inside: Array) -> float:
    """Correlate what is fine in each of the inner ones of 8 x 8 blocks; 1 where there is little."""
    n = min(8, *(side // 4 for side in one.shape))
    inner = slice(n // 4, n - n // 4)
    products = [one * one, other * other, one * other]
    if not inside.all():
        products = [v * inside for v in products]
    a, b, ab = (_blocks(v, n)[inner, inner] for v in products)
    rich = np.minimum(a, b) > 64
    rich |= np.maximum(a, b) > 256
    return float((ab[rich] / np.sqrt(a[rich] * b[rich] + 1)).min()) if rich.any() else 1.0


def _correlation(a: Array, b: Array) -> tuple[float, float]:
    """Correlate pixels, and give the lesser deviation."""
    a, b = a - a.mean(), b - b.mean()
    squares = float(np.vdot(a, a)), float(np.vdot(b, b))
    norm = math.sqrt(squares[0] * squares[1])
    deviation = math.sqrt(min(squares) / max(a.size, 1))
    return float(np.vdot(a, b)) / norm if norm > 0 else 0.0, deviation
