"""Pictures of bad quality, from the statistics of signatures.py and the sizes of the pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..signatures import STATISTICS
from ..similarity.cosine import BoolArray, Float32Array, Float64Array

KINDS = {  # kind → what is measured, and from which value on a picture is named
    "dark": ("-p99 of the gray levels", -90.0),
    "bright": ("p01 of the gray levels", 150.0),
    "blurry": ("-sharpness of the edges", -0.5),
    "uninformative": ("-(log of the gray levels' deviation + a quarter of their entropy)", -2.95),
    "uniform": ("-deviation of the gray levels", -6.0),
    "noisy": ("noise in gray levels", 6.0),
    "odd_shape": ("log ratio of the aspect to the usual one", 1.1),
    "odd_size": ("log ratio of the side to the usual one", 0.9),
    "gray": ("-difference of the color channels", -2.0),
}
_STYLE = 1 / 3  # share of the pictures from which on a kind is how the dataset looks


@dataclass(frozen=True, slots=True)
class Quality:
    """One kind: badness of each picture, NaN where nothing is known, and which are named."""

    values: Float64Array
    named: BoolArray


def measure_quality(statistics: Float32Array, sizes: npt.NDArray[np.integer]) -> dict[str, Quality]:
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
    shape, side = np.abs(np.log(width / height)), np.log(width * height) / 2
    values = {
        "dark": -of["p99"],
        "bright": of["p01"],
        "blurry": -of["sharpness"],
        "uninformative": -(np.log1p(of["deviation"]) + of["entropy"] / 4),
        "uniform": -of["deviation"],
        "noisy": of["noise"],
        "odd_shape": np.maximum(shape - np.median(shape), 0),
        "odd_size": np.abs(side - np.median(side)),
        "gray": -of["channel_difference"],
    }
    found = {}
    for kind, (_, least) in KINDS.items():
        named = values[kind] >= least
        is_style = np.count_nonzero(named) > _STYLE * np.count_nonzero(np.isfinite(values[kind]))
        found[kind] = Quality(values[kind], named & (not is_style))
    return found
