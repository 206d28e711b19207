"""The cache of compiled models: used, guarded, bounded, and never in the way."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datumaro_embed.encoders import ClipEncoder, runtime
from datumaro_embed.encoders.runtime import Runtime


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty user cache, and cache what the CPU compiles too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setattr(Runtime, "caches", True)
    return tmp_path / "datumaro-embed" / "compiled"


def vectors(encoder: ClipEncoder) -> Any:
    side = encoder.image_size_px
    pixels = np.random.default_rng(0).integers(0, 256, (5, side, side, 3), dtype=np.uint8)
    return np.concatenate(list(encoder.embed_pixels([pixels])))


def from_cache(encoder: ClipEncoder) -> bool:
    return bool(encoder._images._compiled.get_property("LOADED_FROM_CACHE"))


def blobs(cache: Path) -> list[Path]:
    return sorted(cache.glob("*/*.blob"))


def test_the_second_load_comes_from_the_cache_with_equal_bits(cache: Path) -> None:
    first, second = ClipEncoder.load("demo"), ClipEncoder.load("demo")
    assert (from_cache(first), from_cache(second)) == (False, True)
    assert vectors(first).tobytes() == vectors(second).tobytes()
    assert len(blobs(cache)) == 1
    assert not list(cache.glob(".*"))


def test_other_options_are_other_entries(cache: Path) -> None:
    for options in ({}, {"batch_size": 3}, {"precision": "bf16"}, {"streams": 1}):
        assert not from_cache(ClipEncoder.load("demo", **options))
    assert len(list(cache.iterdir())) == 4


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[2000] ^= 0x40
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def forget_sums(path: Path) -> None:
    (path.parent / "sha256.json").unlink()


@pytest.mark.parametrize("damage", [flip_a_bit, cut, forget_sums, os.unlink])
def test_a_damaged_entry_is_made_again(cache: Path, damage: Any) -> None:
    expected = vectors(ClipEncoder.load("demo"))
    damage(blobs(cache)[0])
    mended = ClipEncoder.load("demo")
    assert not from_cache(mended)
    assert vectors(mended).tobytes() == expected.tobytes()
    assert from_cache(ClipEncoder.load("demo"))


def test_a_cache_that_cannot_be_written_is_not_used(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file is in the way")
    assert not from_cache(ClipEncoder.load("demo"))
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/nowhere")
    assert not from_cache(ClipEncoder.load("demo"))


def test_old_entries_make_room(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ClipEncoder.load("demo", batch_size=1)
    (old,) = cache.iterdir()
    os.utime(old, (1, 1))
    monkeypatch.setattr(runtime, "MAX_BYTES", int(1.5 * blobs(cache)[0].stat().st_size))
    ClipEncoder.load("demo", batch_size=2)
    assert [p for p in cache.iterdir() if p == old] == []
    assert len(list(cache.iterdir())) == 1


def test_the_cpu_needs_none(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert not Runtime("CPU", "f32", None).caches
    assert Runtime("GPU", "f32", None).caches
    assert Runtime("AUTO", "f32", None).caches
