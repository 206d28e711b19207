"""Run-length encodings: equal to pycocotools', where it is defined what they mean."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from datumaro_embed.rle import MAX_MASK_PIXELS, Rle, RleError


def masks() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    noise = [rng.random(rng.integers(1, 60, 2)) < density for density in rng.random(60)]
    flat = [np.full((7, 5), value) for value in (False, True)]
    block = np.zeros((300, 200), bool)
    block[40:290, 3:190] = True
    return [*noise, *flat, block, block.T[::-1], np.ones((1, 1), bool)]


def test_compressed_and_listed_runs_are_read_as_pycocotools_reads_them() -> None:
    for mask in masks():
        rle = Rle.of_mask(mask)
        encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
        assert rle.counts == encoded["counts"].decode()
        np.testing.assert_array_equal(rle.mask(), mask)
        assert rle.area() == np.count_nonzero(mask)
        assert rle.box() == coco_mask.toBbox(encoded).tolist()
        assert Rle.of(encoded) == Rle.of(rle.to_coco()) == Rle.from_json(rle.to_json()) == rle
        bounded = np.flatnonzero(np.diff(mask.ravel("F").astype(int))) + 1
        runs = np.diff([0, *bounded, mask.size]).tolist()
        listed = {"size": list(mask.shape), "counts": runs if not mask[0, 0] else [0, *runs]}
        assert Rle.of(listed) == rle


BAD = {
    "[0, 0]": {"size": [0, 0], "counts": "11"},
    "no rows": {"size": [0, 5], "counts": "5"},
    "no columns": {"size": [5, 0], "counts": [0]},
    "negative": {"size": [-4, 6], "counts": "H0"},
    "both negative": {"size": [-4, -6], "counts": "h0"},
    "huge": {"size": [2**40, 6], "counts": "5"},
    "larger than the limit": {"size": [MAX_MASK_PIXELS, 2], "counts": "5"},
    "an infinite size": {"size": [float("inf"), 6], "counts": "5"},
    "half a pixel": {"size": [1.5, 4], "counts": "6"},
    "a size of text": {"size": ["4", "6"], "counts": "h0"},
    "one side": {"size": [24], "counts": "h0"},
    "three sides": {"size": [2, 3, 4], "counts": "h0"},
    "no size": {"counts": "h0"},
    "no counts": {"size": [4, 6]},
    "counts of None": {"size": [4, 6], "counts": None},
    "counts of a number": {"size": [4, 6], "counts": 24},
    "too few": {"size": [4, 6], "counts": "34"},
    "too many": {"size": [4, 6], "counts": "3X1"},
    "none": {"size": [4, 6], "counts": ""},
    "an empty list": {"size": [4, 6], "counts": []},
    "cut in a run": {"size": [4, 6], "counts": "h"},
    "not ASCII": {"size": [4, 6], "counts": "é" * 4},
    "a lone surrogate": {"size": [4, 6], "counts": "\ud800"},
    "blanks": {"size": [4, 6], "counts": "h0  "},
    "NUL": {"size": [4, 6], "counts": "1\x001"},
    "a run of 50 bits": {"size": [4, 6], "counts": "o" * 10 + "0"},
    "a negative run": {"size": [4, 6], "counts": [30, -6]},
    "a run above 64 bits": {"size": [4, 6], "counts": [2**70]},
    "runs that wrap to the sum": {"size": [4, 6], "counts": [2**62, 2**62, 2**62, 2**62, 24]},
    "half a run": {"size": [4, 6], "counts": [12.5, 11.5]},
    "runs of text": {"size": [4, 6], "counts": ["24"]},
    "a list": [4, 6],
    "text": "h0",
    "nothing": None,
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_mask_is_refused(name: str) -> None:
    with pytest.raises(RleError):
        Rle.of(BAD[name])


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "null", '{"size": [1e400, 1]}'])
def test_json_that_is_no_mask_is_refused(text: str) -> None:
    with pytest.raises(RleError):
        Rle.from_json(text)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (4,), (2, 3, 4), ()])
def test_arrays_that_are_no_mask_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(RleError):
        Rle.of_mask(np.zeros(shape, bool))


def test_whatever_is_accepted_can_be_decoded() -> None:
    rng = np.random.default_rng(0)
    n_accepted = 0
    for _ in range(5_000):
        counts = rng.integers(46, 114, rng.integers(0, 4), dtype=np.uint8).tobytes()
        size = rng.integers(0, 5, 2).tolist()
        try:
            rle = Rle.of({"size": size, "counts": counts})
        except RleError:
            continue
        n_accepted += 1
        assert rle.mask().shape == tuple(size)
        assert rle.area() == np.count_nonzero(rle.mask())
    assert n_accepted > 10
