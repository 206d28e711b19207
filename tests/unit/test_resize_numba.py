"""resize_numba.py against Pillow itself, and what happens where it cannot be used."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from datumaro_embed.encoders import preprocess as chooser
from datumaro_embed.encoders import resize_numba
from datumaro_embed.encoders.resize_numba import FILTERS, resize_and_crop

SAMPLE_DATA = Path(__file__).parents[2] / "sample_data"
PHOTOGRAPHS = sorted((SAMPLE_DATA / "coco").rglob("*.jpg"))[:6]


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def pillows(
    image: Image.Image,
    size: tuple[int, int],
    box: tuple[int, int, int, int],
    resample: Image.Resampling,
) -> np.ndarray:
    return np.asarray(image.resize(size, resample).crop(box))


@pytest.mark.parametrize("seed", range(300))
def test_pixels_equal_pillows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    most = int(rng.choice([4, 40, 400]))
    width, height, to_width, to_height = (int(n) for n in rng.integers(1, most + 1, 4))
    left, top = int(rng.integers(to_width)), int(rng.integers(to_height))
    right = int(rng.integers(left, to_width)) + 1
    bottom = int(rng.integers(top, to_height)) + 1
    resample = list(FILTERS)[seed % 2]
    asked = noise(width, height, seed), (to_width, to_height), (left, top, right, bottom), resample
    found = resize_and_crop(*asked)
    assert (found.flags.c_contiguous, found.dtype) == (True, np.uint8)
    assert np.array_equal(found, pillows(*asked)), asked


@pytest.mark.parametrize("resample", list(FILTERS))
@pytest.mark.parametrize("size", [(4000, 3000), (3001, 17), (17, 3001), (224, 224), (225, 224)])
def test_a_models_square_of_an_image_of_any_size(
    size: tuple[int, int], resample: Image.Resampling
) -> None:
    image = noise(*size)
    to = (224, 224 * size[1] // size[0]) if size[0] < size[1] else (224 * size[0] // size[1], 224)
    left, top = (to[0] - 224) // 2, (to[1] - 224) // 2
    asked = image, to, (left, top, left + 224, top + 224), resample
    assert np.array_equal(resize_and_crop(*asked), pillows(*asked))


def test_extremes_of_light_are_cut_alike() -> None:
    """Bicubic weights are negative too: sums go below 0 and above 255."""
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[::3], stripes[:, ::4] = 255, 255
    asked = Image.fromarray(stripes), (90, 100), (0, 0, 90, 100), Image.Resampling.BICUBIC
    assert np.array_equal(resize_and_crop(*asked), pillows(*asked))


@pytest.mark.parametrize("strip_bytes", [1, 3 * 90 * 40, 10**9])
def test_strips_join_without_a_seam(strip_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resize_numba, "_STRIP_BYTES", strip_bytes)
    asked = noise(90, 333), (50, 185), (3, 20, 47, 140), Image.Resampling.BICUBIC
    assert np.array_equal(resize_and_crop(*asked), pillows(*asked))


def test_an_image_in_several_blocks_of_memory() -> None:
    whole = Image.core.get_block_size()
    Image.core.set_block_size(1 << 14)
    try:
        image = noise(90, 333)
        with pytest.raises(ValueError, match="multiple array blocks"):
            pa.array(image)
        asked = image, (50, 185), (3, 20, 47, 140), Image.Resampling.BICUBIC
        assert np.array_equal(resize_and_crop(*asked), pillows(*asked))
    finally:
        Image.core.set_block_size(whole)


def test_photographs_in_many_threads() -> None:
    assert PHOTOGRAPHS
    images = [Image.open(path).convert("RGB") for path in PHOTOGRAPHS] * 10

    def differs(image: Image.Image) -> bool:
        asked = image, (80, 64), (8, 0, 72, 64), Image.Resampling.BICUBIC
        return not np.array_equal(resize_and_crop(*asked), pillows(*asked))

    with ThreadPoolExecutor(8) as pool:
        assert not any(pool.map(differs, images))


def test_pillow_resizes_where_the_pixels_would_be_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def off_by_one(*asked: object) -> np.ndarray:
        return resize_and_crop(*asked) ^ 1  # type: ignore[arg-type]

    monkeypatch.setattr(resize_numba, "resize_and_crop", off_by_one)
    chooser._fastest.cache_clear()
    try:
        assert chooser.resizing_library() == "Pillow"
    finally:
        chooser._fastest.cache_clear()


def test_a_few_images_do_not_wait_for_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chooser, "_FIRST_IMAGES", 3)
    monkeypatch.setattr(chooser, "_seen", itertools.count())
    chooser._fastest.cache_clear()
    used = [chooser._chosen() is chooser._with_pillow for _ in range(5)]
    assert used == [True, True, True, False, False]


def test_once_loaded_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chooser, "_seen", itertools.count())
    assert chooser.resizing_library() == "numba"
    assert chooser._chosen() is not chooser._with_pillow


SAY_WHO_RESIZES = """
from datumaro_embed.encoders import resizing_library
print(resizing_library())
"""
NO_NUMBA = "import sys; sys.modules['numba'] = None"
OLD_NUMBA = "import sys, types; sys.modules['numba'] = types.ModuleType('numba')"
FULL_DISK = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
"""


def who_resizes(cache: Path, before: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", before + SAY_WHO_RESIZES],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache that numba has filled."""
    cache = tmp_path_factory.mktemp("compiled")
    assert who_resizes(cache) == "numba"
    return cache


@pytest.mark.slow
@pytest.mark.parametrize("kept", [b"damaged", b""])
def test_damage_to_what_numba_keeps(kept: bytes, compiled: Path, tmp_path: Path) -> None:
    shutil.copytree(compiled, tmp_path, dirs_exist_ok=True)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 6
    for path in files:
        path.write_bytes(kept)
    assert who_resizes(tmp_path) == "numba"


@pytest.mark.parametrize(
    ("before", "cache", "expected"),
    [
        (NO_NUMBA, "cache", "Pillow"),
        (OLD_NUMBA, "cache", "Pillow"),
        pytest.param(FULL_DISK, "cache", "numba", marks=pytest.mark.slow),  # compiles in vain
        ("", "/proc/none", "numba"),
    ],
    ids=["without numba", "numba that fails", "full disk", "no folder to write"],
)
def test_who_resizes(before: str, cache: str, expected: str, tmp_path: Path) -> None:
    assert who_resizes(tmp_path / cache, before) == expected
