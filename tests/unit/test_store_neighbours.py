"""What is not the store's own is left alone; what cannot be read now is not called damaged."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crash.runs import N_ITEMS, Counting, QuickFiles, content, embed, source
from datumaro_embed import cli
from datumaro_embed.errors import (
    InferenceError,
    StoreError,
    StoreForeignError,
    StoreNotFoundError,
    StoreReadError,
    UsageError,
)
from datumaro_embed.maintenance import compact_store
from datumaro_embed.place import StorePlace
from datumaro_embed.store import open_store

OTHERS = ("mine.h5", "0-1.h5", "backup-000001.h5", "0-000001.h5.bak", ".datumaro-embed-x.tmp")


def shards_of(target: Path) -> Path:
    return (target if target.suffix == "" else Path(f"{target}.work")) / "segments"


@pytest.fixture(params=["store", "store.h5"])
def target(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return tmp_path / request.param


def test_files_of_others_beside_the_shards_stay_and_are_named(
    target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InferenceError):
        embed(target, source(), QuickFiles(), encoder=Counting(stop_after=3))
    folder = shards_of(target)
    for name in OTHERS:
        (folder / name).write_bytes(b"precious")
    elsewhere = target.with_name("elsewhere.h5")
    elsewhere.write_bytes(b"precious")
    (folder / "0-999999.h5").symlink_to(elsewhere)
    with caplog.at_level(logging.WARNING, logger="datumaro_embed"):
        embed(target, source(), QuickFiles())
    for name in OTHERS:
        assert (folder / name).read_bytes() == b"precious"
    assert (folder / "0-999999.h5").is_symlink()
    assert elsewhere.read_bytes() == b"precious"
    assert "left alone: 0-1.h5, 0-999999.h5, backup-000001.h5, mine.h5" in caplog.text
    with open_store(target) as store:
        assert store.n_rows == N_ITEMS


def test_compact_leaves_files_of_others(tmp_path: Path) -> None:
    embed(tmp_path / "store", source(), QuickFiles())
    (tmp_path / "store" / "segments" / "mine.h5").write_bytes(b"precious")
    assert compact_store(tmp_path / "store").n_after == 1
    assert (tmp_path / "store" / "segments" / "mine.h5").read_bytes() == b"precious"


def test_shards_behind_a_link_are_refused_and_untouched(target: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "0-000001.h5").write_bytes(b"precious")
    shards_of(target).parent.mkdir()
    shards_of(target).symlink_to(mine)
    with pytest.raises(StoreForeignError, match="is a symbolic link"):
        embed(target, source(), QuickFiles())
    assert (mine / "0-000001.h5").read_bytes() == b"precious"


class FailingReads:
    """`os.open` that fails for the files of one folder."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder, self.number, self.open = str(folder), number, os.open
        self.active = True

    def __call__(self, path: Any, flags: int, *arguments: Any, **named: Any) -> int:
        is_read = not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if self.active and is_read and os.fspath(path).startswith(self.folder):
            raise OSError(self.number, os.strerror(self.number))
        return self.open(path, flags, *arguments, **named)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.EACCES])
def test_an_error_of_the_system_is_no_damage(
    target: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """201 sound shards were once deleted, and everything embedded again, for such an error."""
    with pytest.raises(InferenceError):
        embed(target, source(), QuickFiles(), encoder=Counting(stop_after=4))
    folder = shards_of(target)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    failing = FailingReads(folder, number)
    monkeypatch.setattr(os, "open", failing)
    with pytest.raises(StoreReadError, match="may be intact"):
        embed(target, source(), QuickFiles())
    with pytest.raises(StoreReadError), open_store(folder.parent, partial=True) as store:
        store.verify()
    failing.active = False
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    encoder = Counting()
    embed(target, source(), QuickFiles(), encoder=encoder)
    assert encoder.n_images < N_ITEMS // 2
    with open_store(target) as store:
        assert store.verify() == []


def test_a_manifest_that_cannot_be_read_is_no_missing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "store"
    embed(target, source(), QuickFiles())
    before = sorted(path.name for path in (target / "segments").iterdir())
    monkeypatch.setattr(os, "open", FailingReads(target / "manifest", errno.EACCES))
    for attempt in (lambda: open_store(target), lambda: embed(target, source(), QuickFiles())):
        with pytest.raises(StoreReadError, match="Permission denied"):
            attempt()
    assert sorted(path.name for path in (target / "segments").iterdir()) == before


@pytest.mark.parametrize("name", ["store.h5", "store/manifest.json", "store/segments/0-000001.h5"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    embed(tmp_path / "store", source(), QuickFiles())
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(StoreError), open_store(tmp_path / Path(name).parts[0]) as store:
        store.item(0)


@pytest.mark.parametrize("path", ["a\ud800.h5", "a\0.h5"])
def test_a_path_that_cannot_be_is_one_sentence(tmp_path: Path, path: str) -> None:
    for command in (["info"], ["verify"], ["search", "--item", "a/b"], ["duplicates"]):
        assert cli.main([command[0], str(tmp_path / path), *command[1:]]) == 1
    with pytest.raises((StoreNotFoundError, UsageError)):
        open_store(tmp_path / path)


@pytest.mark.parametrize("path", ["a\ud800.h5", "a\0.h5", "x" * 249 + ".h5", "é" * 121])
def test_a_path_that_no_store_can_have_is_refused_before_anything_is_done(
    tmp_path: Path, path: str
) -> None:
    with pytest.raises(UsageError, match="Choose a"):
        embed(f"{tmp_path}/{path}", source(), QuickFiles())
    assert list(tmp_path.iterdir()) == []


def test_the_longest_name_works(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 237 + ".h5")
    embed(target, source(range(3)), QuickFiles())
    assert cli.main(["index", str(target)]) == 0


def test_a_store_behind_a_link_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    real, link = tmp_path / "real" / "store.h5", tmp_path / "link.h5"
    embed(real, source(range(3)), QuickFiles())
    link.symlink_to(real)
    embed(link, source(range(5)), QuickFiles())
    assert link.is_symlink()
    with open_store(real) as store:
        assert store.n_rows == 5
    assert StorePlace.of(link).directory == StorePlace.of(real).directory


def test_a_directory_behind_a_link_has_one_lock(tmp_path: Path) -> None:
    embed(tmp_path / "real", source(range(3)), QuickFiles())
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert StorePlace.of(tmp_path / "link").directory == tmp_path / "real"
    embed(tmp_path / "link", source(range(5)), QuickFiles())
    with open_store(tmp_path / "real") as store, open_store(tmp_path / "link") as same:
        assert content(store) == content(same)
        assert np.array_equal(store.embeddings(), same.embeddings())
