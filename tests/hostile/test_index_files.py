"""A file beside a store that is no index of it is refused, with the way out."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from datumaro_embed.errors import StoreIndexError
from datumaro_embed.similarity import build_graph, open_graph, write_graph
from datumaro_embed.vectors import unit_rows

VECTORS = unit_rows(np.random.default_rng(0).normal(size=(300, 16))).astype(np.float16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An index file that is sound."""
    target = tmp_path / "e.h5.usearch"
    write_graph(build_graph(VECTORS, np.arange(300)), target, uuid="u", n_rows=300)
    return target


def refuse(path: Path) -> str:
    with pytest.raises(
        StoreIndexError, match="Build it again with `datumaro-embed index`"
    ) as caught:
        open_graph(path, uuid="u", n_rows=300, dim=16)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_sound_one_opens(path: Path) -> None:
    assert len(open_graph(path, uuid="u", n_rows=300, dim=16)) == 300


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.99, 0.9999])
def test_cut_short(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    refuse(path)


@pytest.mark.parametrize(
    "data", [b"", b"x", b"DTMEMBIX", bytes(16), b"\xff" * 8 + b"DTMEMBIX", bytes(10**5)]
)
def test_not_ours(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    assert "not an index of this version" in refuse(path)


def test_bytes_added_or_taken_away(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(b"more" + data)
    assert "size differs" in refuse(path)
    path.write_bytes(data[100:])
    assert "size differs" in refuse(path)


def test_a_trailer_that_is_no_json(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-30] = 0xFF
    path.write_bytes(data)
    refuse(path)


def test_a_header_that_is_not_usearchs(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[: len(data) // 2] = bytes(len(data) // 2)
    path.write_bytes(data)
    assert "damaged" in refuse(path)


def test_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    assert "is not a file" in refuse(path)


def test_a_pipe_is_refused_and_not_waited_for(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)
    assert "is not a file" in refuse(path)


@pytest.mark.parametrize("seed", range(40))
def test_any_damage_is_refused_before_usearch_sees_it(path: Path, seed: int) -> None:
    """A flipped bit made USearch crash in 5 % of trials, and find other rows in some."""
    rng = np.random.default_rng(seed)
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    n_bytes = int(rng.choice([1, 1, 1, 64, 4096]))
    start = int(rng.integers(0, len(data) - n_bytes))
    hit = data[start : start + n_bytes]
    if n_bytes == 1:
        hit ^= 1 << rng.integers(8, dtype=np.uint8)
    else:
        fill = rng.choice([0, 255])
        hit[:] = 255 - fill if (hit == fill).all() else fill
    path.write_bytes(data)
    refuse(path)


def test_exchanged_pages_are_refused(path: Path) -> None:
    data = path.read_bytes()
    assert data[:4096] != data[4096:8192]
    path.write_bytes(data[4096:8192] + data[:4096] + data[8192:])
    refuse(path)
