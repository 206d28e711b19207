"""The cache of pictures: bounded, and whole files only."""

from __future__ import annotations

import os
from pathlib import Path

from datumaro_embed.page.pictures import PictureCache
from explore_support import wait_for

JPEG = b"\xff\xd8" + bytes(996) + b"\xff\xd9"


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    cache = PictureCache(tmp_path)
    assert cache.get("ab12") is None
    cache.put("ab12", JPEG)
    assert cache.get("ab12") == JPEG
    assert PictureCache(tmp_path).get("ab12") == JPEG


def test_a_file_that_is_cut_is_none(tmp_path: Path) -> None:
    cache = PictureCache(tmp_path)
    cache.put("ab12", JPEG)
    (tmp_path / "ab" / "ab12").write_bytes(JPEG[:500])
    assert cache.get("ab12") is None


def test_the_cache_stays_below_its_limit_and_keeps_what_was_used_last(tmp_path: Path) -> None:
    cache = PictureCache(tmp_path, limit_bytes=20 * len(JPEG))
    for number in range(200):
        name = f"{number:04x}"
        cache.put(name, JPEG)
        os.utime(tmp_path / name[:2] / name, (number, number))
        cache.get("0000")  # used now
    wait_for(lambda: size_of(tmp_path) <= 20 * len(JPEG))
    assert cache.get("0000") == JPEG
    assert cache.get("0001") is None


def test_a_file_that_is_gone_when_it_is_looked_at_does_not_end_the_removal(tmp_path: Path) -> None:
    """Another process may remove a file between the listing and the look at it, as a link does."""
    for folder in ("00", "ff"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "gone").symlink_to("nowhere")
    cache = PictureCache(tmp_path, limit_bytes=20 * len(JPEG))
    for number in range(60):
        cache.put(f"{number:04x}", JPEG)
    wait_for(lambda: size_of(tmp_path) <= 20 * len(JPEG), timeout_s=60)


def test_a_folder_that_cannot_be_made_costs_nothing_but_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = PictureCache(tmp_path / "file")
    cache.put("ab12", JPEG)
    assert cache.get("ab12") is None
