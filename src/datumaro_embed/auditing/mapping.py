"""Signatures of a pair → where the one picture may lie in the other; the second sieve.

A map takes places of the first picture to places of the second, each as shares of width and height:
it does not depend on their sizes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ..signatures import SIGNATURE_SIDE
from .differences import (
    GRAY,
    Array,
    Sizes,
    aligned,
    compared,
    is_one_gray,
    lies_right,
    resized,
    turned,
)
from .gates import LEAST_COLOURS, LEAST_COVER, LEAST_WHOLE

__all__ = ["Map", "likely_maps"]

_LEAST_WINDOW, _LEAST_ROUGH = 0.70, 0.55
_STEP = 0.93
_SCALES = 0.97 * _STEP ** np.arange(9)
_FAR_OFF = 18.0  # levels
_SURE = 0.995


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


def likely_maps(
    first: Array,
    second: Array,
    sizes: Sizes,
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
    as_given = np.eye(3)
    pictures = [p.reshape(SIGNATURE_SIDE, SIGNATURE_SIDE, 3) for p in (first, second)]
    if whole >= _SURE:
        yield Map(turn, as_given, as_given, score=whole)
    elif whole >= LEAST_WHOLE:
        found = _refined(turned(pictures[0], turn), pictures[1], Map(turn, as_given, as_given))
        if found is not None:
            yield found
    for swapped in (False, True):
        if windows[swapped] < LEAST_COLOURS:
            continue
        small, large = pictures[swapped], pictures[not swapped]

        # The window of the large picture that is most like the small one, or its mirror image.
        small_size, large_size = sizes[swapped], sizes[not swapped]
        ratios = small_size[0] / large_size[0], small_size[1] / large_size[1]
        longest = max(ratios)
        uncut = [longest] if 0.4 < longest < 1 else []  # cut out, and not resized
        half = SIGNATURE_SIDE // 2, SIGNATURE_SIDE // 2
        rough = [cv2.resize(p, half, interpolation=cv2.INTER_AREA) for p in (small, large)]
        scales = (*_SCALES[::2], *uncut)
        scale, turn, score = _best_window(rough[0], rough[1], scales, (0, 4), ratios)[:3]
        if score < _LEAST_ROUGH:
            continue
        near = (*(scale * _STEP ** np.array([-1, -0.5, 0, 0.5, 1])), *uncut)
        scale, turn, score, matrix = _best_window(small, large, near, (turn,), ratios)
        if score > _LEAST_WINDOW:
            found = _refined(turned(small, turn), large, Map(turn, matrix, matrix))
            if found is not None:
                yield replace(found, swapped=swapped)


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
        if min(w, h) < side * 10 / SIGNATURE_SIDE or w * h < LEAST_COVER * side**2:
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


def _refined(small: Array, large: Array, start: Map) -> Map | None:
    """Align two signatures; None where they are not alike then."""
    (w, _, x), (_, h, y) = (start.start[:2] * SIGNATURE_SIDE).round().astype(int)
    small = resized(small, w, h)

    # First, as it is far cheaper: may they be alike where they are seen from afar?
    n = 4
    cells = [
        cv2.resize(p, (n, n), interpolation=cv2.INTER_AREA).reshape(-1, 3).astype(np.float32)
        for p in (small, large[y : y + h, x : x + w])
    ]
    if is_one_gray(*cells):
        cells = [p @ GRAY[:, None] for p in cells]
    cells.sort(key=lambda p: float(p.std()))
    a, b = (p - p.mean() for p in cells)
    product, square = float((a * b).sum()), float((a * a).sum())
    gain = min(max(product / max(square, 1.0), 0.5), 3.0)
    off = np.abs(b - gain * a).mean(axis=1) / max(gain, 1)
    is_like = product > 0.7 * float(np.sqrt(square * (b * b).sum()))
    if not (is_like and np.median(off) < _FAR_OFF):
        return None

    best: Map | None = None
    least = 0.80
    matrix: Array | None = start.start
    while matrix is not None:
        seen = compared(small, large, matrix)
        if seen is not None and seen.correlation >= least:
            # Pixels decide: cells of a window lie between those of the whole.
            most_off = 0.25 if seen.correlation >= 0.93 else 0.15
            if seen.share_off(20) <= most_off:
                best = replace(start, matrix=matrix, score=seen.correlation)
                least = seen.correlation
        if matrix is not start.start or least > _SURE or (seen is not None and lies_right(seen)):
            break
        matrix = aligned(small, large, matrix, cv2.MOTION_AFFINE, 30)
    return best
