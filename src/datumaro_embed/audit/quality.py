"""Pictures of bad quality, from the statistics of signatures.py and the sizes of the pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..signatures import STATISTICS

Float64Array = npt.NDArray[np.float64]

KINDS = {  # kind → value from which on a picture is named (sign: the more, the worse), and its name
    "dark": (-90.0, "p99 of the gray levels"),
    "bright": (160.0, "p05 of the gray levels"),
    "blurry": (-0.35, "sharpness of the edges"),
    "uninformative": (-4.0, "entropy of the gray levels, in bits"),
    "uniform": (-8.0, "deviation of the gray levels"),
    "noisy": (6.0, "noise, in gray levels"),
    "odd_shape": (1.0, "aspect, as log ratio to the usual"),
    "odd_size": (1.2, "side, as log ratio to the usual"),
    "gray": (-2.0, "difference of the color channels"),
}
_STYLE = 1 / 3  # share of the pictures from which on a kind is how the dataset looks


@dataclass(frozen=True, slots=True)
class Quality:
    """One kind: badness of each picture, NaN where nothing is known, and which are named."""

    values: Float64Array
    named: npt.NDArray[np.bool_]


def measure_quality(
    statistics: npt.NDArray[np.float32], sizes: npt.NDArray[np.integer]
) -> dict[str, Quality]:
    """Judge pictures in each of `KINDS`.

    Parameters
    ----------
    statistics : array of shape (n, n_statistics), float32
        See `signatures.STATISTICS`; NaN where a picture has none.
    sizes : array of shape (n, 2), integers
        Width and height in pixels.
    """
    of = dict(zip(STATISTICS, statistics.T.astype(np.float64), strict=True))
    width, height = np.maximum(sizes, 1).T.astype(np.float64)
    shape, side = np.log(width / height), np.log(width * height) / 2
    values = {
        "dark": -of["p99"],
        "bright": of["p05"],
        "blurry": -of["sharpness"],
        "uninformative": -of["entropy"],
        "uniform": -of["deviation"],
        "noisy": of["noise"],
        "odd_shape": np.abs(shape),
        "odd_size": np.abs(side - np.median(side)),
        "gray": -of["channel_difference"],
    }
    return {kind: Quality(values[kind], _named(values[kind], KINDS[kind][0])) for kind in KINDS}


def _named(values: Float64Array, least: float) -> npt.NDArray[np.bool_]:
    named = values >= least
    return named & (np.count_nonzero(named) <= _STYLE * np.count_nonzero(np.isfinite(values)))
