"""The cache of compiled models: used, guarded, bounded, and never in the way."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datumaro_embed.encoders import ClipEncoder, runtime
from datumaro_embed.encoders.base import Float32Array
from datumaro_embed.encoders.runtime import Runtime

pytestmark = pytest.mark.slow


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


class Counting(ClipEncoder):
    """Counts the texts that it computes."""

    n_texts = 0

    def embed_texts(self, texts: Sequence[str]) -> Float32Array:
        self.n_texts += len(texts)
        return super().embed_texts(texts)


TEXTS = ["a photo", "thing", "12345"]


def test_fixed_texts_are_computed_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runtime, "caches", False)
    first, second, other = (Counting.load("demo", precision=p) for p in ("f32", "f32", "bf16"))
    expected = first.embed_texts(TEXTS)
    found = [encoder.embed_fixed_texts(TEXTS) for encoder in (first, second)]
    assert [rows.tobytes() for rows in found] == [expected.tobytes()] * 2
    assert (first.n_texts, second.n_texts) == (2 * len(TEXTS), 0)
    other.embed_fixed_texts(TEXTS)
    assert second.embed_fixed_texts(TEXTS[:2]).tobytes() == expected[:2].tobytes()
    assert (other.n_texts, second.n_texts, len(list(cache.iterdir()))) == (len(TEXTS), 2, 3)


@pytest.mark.parametrize("damage", [flip_a_bit, cut])
def test_damaged_vectors_of_fixed_texts_are_computed_again(
    damage: Callable[[Path], None], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Runtime, "caches", False)
    encoder = Counting.load("demo")
    expected = encoder.embed_fixed_texts(TEXTS)
    (kept,) = cache.glob("*/vectors.npy")
    damage(kept)
    assert encoder.embed_fixed_texts(TEXTS).tobytes() == expected.tobytes()
    assert encoder.n_texts == 2 * len(TEXTS)
    encoder.embed_fixed_texts(TEXTS)
    assert encoder.n_texts == 2 * len(TEXTS)


def test_vectors_of_fixed_texts_are_no_part_of_a_file(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk: nothing is kept, and the vectors are right."""
    monkeypatch.setattr(Runtime, "caches", False)
    encoder = Counting.load("demo")
    expected = encoder.embed_texts(TEXTS)

    def full(path: Path, rows: Float32Array, **_: object) -> None:
        path.write_bytes(rows.tobytes()[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(np, "save", full)
        assert encoder.embed_fixed_texts(TEXTS).tobytes() == expected.tobytes()
    assert list(cache.iterdir()) == []
    assert encoder.embed_fixed_texts(TEXTS).tobytes() == expected.tobytes()
