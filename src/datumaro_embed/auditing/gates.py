"""Signatures of all pairs at once → which pairs may be copies; the first and coarsest sieve."""

from __future__ import annotations

import cv2
import numpy as np

from ..signatures import SIGNATURE_SIDE
from .differences import GRID, Array, Floats, turned_all

__all__ = ["LEAST_COLOURS", "LEAST_COVER", "LEAST_WHOLE", "MARGIN", "are_still", "gates", "passing"]

LEAST_WHOLE, LEAST_COLOURS = 0.72, 0.97
LEAST_COVER = 0.28  # of a picture, by what is cut out of it
MARGIN = 3  # blocks along each edge, where logos and dates are
_TURNS = 8  # quarter turns counterclockwise, and from 4 on those of the mirrored picture
_MUCH_ALIKE = 0.97  # as a whole: no window of one is sought in the other
_STILL = 6.0  # levels


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
    gray = _quarters(grays)
    gray -= gray.mean(axis=(1, 2), keepdims=True)
    gray = gray / np.maximum(np.linalg.norm(gray, axis=(1, 2), keepdims=True), 1e-3)
    correlations = np.stack(
        [
            np.einsum("nij,nij->n", turned_all(gray, turn)[one], gray[other])
            for turn in range(_TURNS)
        ]
    )
    turns, wholes = correlations.argmax(axis=0), correlations.max(axis=0)
    differ = wholes < _MUCH_ALIKE
    for turn in np.unique(turns):
        near = np.flatnonzero((turns == turn) & (wholes >= LEAST_WHOLE))
        # Frames of a camera that stands: most does not differ, and a thing in their midst does.
        mine, theirs = turned_all(grays[one[near]], turn), grays[other[near]]
        blocks, textured, gain = _differences(mine, theirs)
        n_still = (textured & (blocks < 1.5)).sum(axis=(1, 2))
        lie_right = n_still > 0.6 * np.maximum(textured.sum(axis=(1, 2)), 0.4 * GRID**2)
        lie_right &= np.abs(gain - 1) < 0.1  # what is made brighter may be cut off
        inner = (blocks[:, MARGIN:-MARGIN, MARGIN:-MARGIN] > 12).sum(axis=(1, 2))
        far, very_far = ((blocks > levels).mean(axis=(1, 2)) for levels in (12, 20))
        lie_right &= ((far > 0.03) | (very_far > 0.01)) & ((inner > 1) | (far > 0.08))
        moved = near[lie_right]
        wholes[moved], differ[moved] = 0, False
    found = np.zeros((len(one), 4), np.float32)
    found[:, 0], found[:, 1] = turns, wholes
    apart = np.flatnonzero(differ)
    used, places = np.unique(np.concatenate([one[apart], other[apart]]), return_inverse=True)
    one, other = np.split(places.reshape(-1), 2)
    colours = _colours(some[used])
    for way, (a, b) in enumerate(((one, other), (other, one))):
        found[apart, 2 + way] = np.minimum(colours[a], colours[b] / LEAST_COVER).sum(axis=1)
    return found


def passing(gated: Floats) -> Array:
    """Tell which pairs are worth a comparison of their signatures, by what `gates` gives."""
    found: Array = (gated[:, 1] >= LEAST_WHOLE) | (gated[:, 2:] >= LEAST_COLOURS).any(axis=1)
    return found


def are_still(signatures: Array, first: Array, second: Array) -> Array:
    """Tell pairs of signatures, as they are, that hardly differ anywhere: (m,), bool."""
    blocks = _differences(*(_grays(signatures[rows]) for rows in (first, second)))[0]
    found: Array = (blocks > _STILL).sum(axis=(1, 2)) <= 1
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
