"""A file beside a store that is no index of it is refused, with the way out."""

from __future__ import annotations

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
        StoreIndexError, match="Make it again with `datumaro-embed index`"
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
    assert "no index of this version" in refuse(path)


def test_bytes_added_or_taken_away(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(b"more" + data)
    assert "another size" in refuse(path)
    path.write_bytes(data[100:])
    assert "another size" in refuse(path)


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
    assert "cannot be read" in refuse(path)
