"""Pixels of two pictures → whether one is a copy of the other, and what was done to it.

The last and finest of three sieves, after `gates` and `mapping`; it alone proves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np

from .differences import Array, Comparison, Sizes, aligned, compared, lies_right, resized, turned
from .gates import LEAST_COVER, MARGIN
from .mapping import Map

__all__ = ["LONGEST_PX", "Kind", "Proof", "prove"]

Kind = Literal["bytes", "pixels", "picture", "overlap"]

LONGEST_PX = 256
"""Pixels of a picture to prove need not be more."""

_COMPARED_PX = 160
_WHOLE, _ALL = 0.9, 0.97  # share of each picture that the other shows
_OTHER = 12.0  # levels of chroma: other colours
_SAME_DETAIL, _SAME_LEVELS = 0.92, 4.0  # of whole pictures; less differs where JPEG is all
_TEXTURE_TO_WARP = 0.5  # on a plain ground, a thing that moved is like a change of perspective
_LEAST_WARPED = {"guess": 0, "signature": 0, "affine": 0.78, "warped": 0.85}  # cover
_NAMES = {"bytes": "the same file as", "pixels": "the same pixels as"}
_OTHER_SIDE = {
    "gray": "in color",
    "cropped": "with more around it",
    "overlaid": "without an overlay",
}
_WORDS = {"brightness": "with different brightness", "overlaid": "with an overlay"}
_DOUBTS = {
    "bits": " in the 8 bits that were compared",
    "frames": " in the first frames",
    "overlay": "",
    "place": ", except in one place",
    "details": ", but their details are not the same",
    "tones": ", but images with so few tones often look alike",
    "lines": ", but pages with the same lines often look alike",
}
_TONES, _SHARE_OF_TONES = 3, 0.975
_SHARE_OF_GRAY_TONES, _COLORED, _COLORED_SHARE = 0.94, 24, 0.1  # drawings in color are not so alike
_SAME_BESIDE_LINES, _ALIKE_BESIDE_LINES = 0.85, 0.5  # detail
_OF_ANY_TONES = {"resized", "recompressed"}  # what is believed of pictures of few tones


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
        ``gray``, ``brightness``, ``warped``, ``overlaid``.
    score : float
        Correlation of the pixels, in [0, 1].
    of_second : tuple of str
        Those of ``gray``, ``cropped`` and ``overlaid`` in `how` that were done to the second
        picture; the others of these were done to the first.
    doubts : tuple of str
        Why a person should look: ``bits``, ``frames`` (below the highest 8 bits of samples, and
        after the first frame, nothing was compared), ``tones`` (drawings and masks of few tones
        often look alike), ``lines`` (so do tables and forms), ``overlay``, ``place``
        (they differ in one place, which may be a date or a logo, or what matters: a defect, a
        filled-in field), ``details`` (what is fine in them is less alike than in most copies).
    """

    kind: Kind
    how: tuple[str, ...] = ()
    score: float = 1.0
    of_second: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    def swapped(self) -> Proof:
        """Give the same proof of the second picture and the first."""
        others = (name for name in self.how if name in _OTHER_SIDE and name not in self.of_second)
        return replace(self, of_second=tuple(others))

    def told_of_second(self, first: str) -> str:
        """Say what the second picture is: ``the same picture, mirrored, as train/1``."""
        words = [
            _OTHER_SIDE[name]
            if name in _OTHER_SIDE and name not in self.of_second
            else _WORDS.get(name, name)
            for name in self.how
        ]
        changed = f", {', '.join(words)}, as" if words else " as"
        doubts = "".join(_DOUBTS[name] for name in self.doubts)
        return f"{_NAMES.get(self.kind, f'the same picture{changed}')} {first}{doubts}"


def prove(first: Array, second: Array, sizes: Sizes, found: Map) -> Proof | None:
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
    small, large = turned(pictures[0], found.turn), pictures[1]
    small, large = _at_one_scale(small, large, found.matrix)
    size, other = sizes[found.swapped], sizes[not found.swapped]
    shape = (size[::-1] if found.turn % 2 else size), other
    doubtful: Proof | None = None  # of a part: before it is aligned, edges may seem to differ
    for matrix, motion in _finer(small, large, found):
        seen = compared(small, large, matrix)
        if seen is None or seen.correlation < 0.70:
            continue
        if motion == "warped" and seen.texture < _TEXTURE_TO_WARP:
            break
        kind = _kind_of(seen, *shape)
        if kind is None and (_is_other_text(seen) or lies_right(seen)):
            break  # no finer map changes that
        if kind is None and seen.chroma > _OTHER and seen.correlation > 0.93:
            break
        if seen.cover < _LEAST_WARPED[motion] and (kind is None or motion == "warped"):
            break
        if kind == "picture" or (kind == "overlap" and motion == "affine" and not doubtful):
            how = tuple(_changes(seen, found, sizes, motion, kind))
            of_second = {
                "gray": "gray" in how and _chroma(second).mean() < _chroma(first).mean(),
                "cropped": found.swapped == (seen.inside >= seen.cover),
                "overlaid": found.swapped == (seen.overlaid == "small"),
            }
            proof = Proof(
                kind,
                how,
                round(max(seen.correlation, 0.0), 4),
                tuple(name for name in how if of_second.get(name)),
                tuple(_doubts(seen, how, first, second)),
            )
            if "cropped" not in how or "place" not in proof.doubts:
                return proof
            doubtful = doubtful or proof
        if motion == "affine" and (doubtful or seen.texture < _TEXTURE_TO_WARP):
            break
    return doubtful


def _chroma(picture: Array) -> Array:
    """Greatest less least channel of every fourth pixel."""
    return np.asarray(np.ptp(picture[::4, ::4], axis=2))


def _doubts(seen: Comparison, how: tuple[str, ...], first: Array, second: Array) -> Iterator[str]:
    """Name why a person should look at pictures that are the same as a whole."""
    if not _OF_ANY_TONES.issuperset(how) and _has_few_tones(first):
        yield "tones"
    elif seen.detail_beside_lines < _SAME_BESIDE_LINES:
        yield "lines"
    if "overlaid" in how:
        yield "overlay"
    elif (
        seen.odd.any()
        or (seen.shared > _WHOLE and seen.has_odd_detail)
        or (seen.shared > _ALL and "resized" not in how and seen.has_odd_place)
    ):
        yield "place"
    elif "gray" in how and all(
        (_chroma(p) > _COLORED).mean() < _COLORED_SHARE for p in (first, second)
    ):
        yield "place"  # a thing in color, as bright as what is behind it
    elif seen.shared > _ALL and seen.detail < _SAME_DETAIL and seen.blocks.max() > _SAME_LEVELS:
        yield "details"


def _has_few_tones(picture: Array) -> bool:
    """Tell whether nearly all pixels have one of few gray levels: a mask, a line on paper.

    Where a tenth of them has a color, only if there is next to nothing else: an icon, a sign.
    """
    grays = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).reshape(-1)
    counts, found = np.bincount(grays, minlength=256), 0
    for _ in range(_TONES):
        near = np.convolve(counts, np.ones(5, np.int64), "same")
        peak = int(near.argmax())
        found += int(near[peak])
        counts[max(peak - 2, 0) : peak + 3] = 0
    if found <= _SHARE_OF_GRAY_TONES * grays.size:
        return False
    colored = np.ptp(picture, axis=2) > _COLORED
    is_gray = np.count_nonzero(colored) <= _COLORED_SHARE * grays.size
    return bool(is_gray or found > _SHARE_OF_TONES * grays.size)


def _finer(small: Array, large: Array, found: Map) -> Iterator[tuple[Array, str]]:
    """Yield maps, and how each was found, from coarse to fine."""
    yield found.start, "guess"
    if found.matrix is not found.start:
        yield found.matrix, "signature"
    affine = aligned(small, large, found.matrix, cv2.MOTION_AFFINE, 20)
    if affine is None:
        return
    yield affine, "affine"
    free = aligned(small, large, affine, cv2.MOTION_HOMOGRAPHY, 20)
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
        found.append(resized(picture, picture.shape[1] * scale, picture.shape[0] * scale, how))
    return found[0], found[1]


def _kind_of(seen: Comparison, small: tuple[int, ...], large: tuple[int, ...]) -> Kind | None:
    """Decide, from how the pictures differ; `small`, `large`: sizes of the images themselves."""
    if seen.deviation < 3 or seen.texture < 0.04 or seen.cover > 1.08 or seen.chroma > 5:
        return None
    contained = max(seen.inside, seen.cover if seen.cover <= 1.02 else 0.0)
    is_whole = seen.shared > _ALL
    if seen.cover < LEAST_COVER and seen.inside < 0.97:
        return None
    is_same = seen.correlation >= 0.9 and seen.detail >= 0.6
    if is_whole and _is_other_text(seen):
        return None
    if not is_whole:  # parts are more often alike than whole pictures
        is_same = (
            seen.correlation >= 0.975
            and seen.detail >= 0.85
            and _stretch(seen.matrix, small, large) <= 1.03
        )
        is_same |= seen.correlation >= 0.985 and seen.detail >= 0.93 and seen.share_off(12) < 0.01
        is_same &= (seen.shift < 2.5 and seen.plain_off < 3.5) or seen.texture >= 0.8
    is_near = seen.share_off(12) <= 0.02 and seen.share_off(20) <= 0.005
    if not (is_same and is_near):
        is_same = seen.correlation >= 0.995 and seen.detail >= 0.97
        is_same = is_same and seen.shift < 2.5 and seen.plain_off < 5
        is_near |= seen.share_off(12) <= 0.04 and seen.share_off(20) <= 0.01
    kind: Kind | None = None
    if is_same and is_near:
        if contained >= (0.99 if is_whole else 0.996):
            kind = "picture"
        elif contained >= 0.5 and seen.detail >= 0.8:
            kind = "overlap"
    elif is_whole and contained >= 0.99 and _is_overlaid(seen):
        kind = "picture"
    return kind if kind and seen.detail_beside_lines >= _ALIKE_BESIDE_LINES else None


def _is_other_text(seen: Comparison) -> bool:
    """Tell two pages of text, or two plots, that are alike but for details."""
    is_near = seen.shared > _ALL and abs(seen.gain - 1) < 0.05
    return is_near and seen.share_off(12) <= 0.02 and seen.least_detail < 0.8


def _is_overlaid(seen: Comparison) -> bool:
    """Tell whether all that differs is small and near the edges: a logo, a date, a frame line."""
    band = seen.blocks.copy()
    inner = band[MARGIN:-MARGIN, MARGIN:-MARGIN]
    return bool(
        inner.size
        and (inner > 10).sum() <= 1
        and seen.share_off(12) <= 0.05
        and (band[band >= 0] > 5).mean() <= 0.12
    )


def _changes(
    seen: Comparison,
    found: Map,
    sizes: Sizes,
    motion: str,
    kind: Kind,
) -> Iterator[str]:
    """Name what was done."""
    if found.turn >= 4:
        yield "mirrored"
    if found.turn % 4:
        yield "rotated"
    is_whole = seen.shared > _WHOLE
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
    if is_whole and seen.overlaid:
        yield "overlaid"
