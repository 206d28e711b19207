"""The loops over pixels that OpenCV makes, and those that numba compiles: the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

from datumaro_embed import pixel_loops

numba_loops = pytest.importorskip("datumaro_embed.pixel_loops_numba")

SHAPES = [(3, 3), (3, 60), (17, 4), (64, 64), (113, 171), (240, 320)]


def noise(shape: tuple[int, ...], *, smooth: bool) -> np.ndarray:
    values = np.random.default_rng(len(shape)).integers(0, 256, shape, np.uint8)
    if smooth:
        values = (np.cumsum(values % 3, axis=1, dtype=np.int64) % 256).astype(np.uint8)
    return values


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("every", [1, 4])
def test_counts_and_sums_are_equal(shape: tuple[int, int], smooth: bool, every: int) -> None:
    gray = noise(shape, smooth=smooth)
    margin = 3 * len(gray) // 8 if len(gray) > 100 else 0
    counts = pixel_loops.count_levels(gray, every, margin)
    assert np.array_equal(counts, numba_loops.count_levels(gray, every, margin))
    assert counts[0].sum() == gray[::every].size
    assert counts[4].sum() == gray[margin : len(gray) - margin].size
    for levels in ((1, 1), (30, 200), (256, 256)):
        sums = pixel_loops.edge_sums(gray, every, levels)
        assert sums == numba_loops.edge_sums(gray, every, levels)
    assert sums == (0, 0)


@pytest.mark.parametrize("shape", [(2, 2), (7, 9), (480, 640)])
def test_halves_are_equal(shape: tuple[int, int]) -> None:
    pixels = noise((*shape, 4), smooth=False)
    pixels.flags.writeable = False  # as Pillow's are
    halved = pixel_loops.halved(pixels)
    assert halved.shape == (shape[0] // 2, shape[1] // 2, 4)
    assert np.array_equal(halved, numba_loops.halved(pixels))


def test_steps_and_noise_of_a_known_picture() -> None:
    gray = np.zeros((6, 8), np.uint8)
    gray[:, 4:] = 100
    counts = pixel_loops.count_levels(gray, 1, 0)
    assert (counts[1, 100], counts[2, 0], counts[3, 100]) == (2 * 4, 6 * 4, 2 * 4)
    assert counts[4, 0] == 6 * 8  # edges and planes are no noise
    across, down = pixel_loops.edge_sums(gray, 1, (100, 100))
    assert across / pixel_loops.FIXED == pytest.approx(8 * 100 / 104)
    assert down == 0
