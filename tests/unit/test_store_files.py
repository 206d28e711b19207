"""Publishing through the file-system seam: the order of calls, and every call failing."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datumaro_embed.errors import StoreWriteError
from datumaro_embed.files import FileSystem, new_path, publish, write_errors
from datumaro_embed.records import ItemKey, ItemRecord
from datumaro_embed.store import open_store
from store_support import create_store

CALLS = (
    "free_bytes",
    "make_directory",
    "create",
    "write",
    "fsync",
    "close",
    "replace",
    "fsync_directory",
)


class RecordingFiles(FileSystem):
    """Notes every call; makes the call named `failing` fail, and writes a few bytes at a time."""

    def __init__(self, failing: str = "", number: int = errno.EIO) -> None:
        self.calls: list[str] = []
        self._failing = failing
        self._number = number

    def __getattribute__(self, name: str) -> Any:
        if name not in (*CALLS, "unlink", "remove_directory"):
            return super().__getattribute__(name)
        method = super().__getattribute__(name)

        def noted(*arguments: Any) -> Any:
            self.calls.append(name)
            if name == self._failing:
                raise OSError(self._number, os.strerror(self._number))
            return method(*arguments)

        return noted


class ShortWrites(FileSystem):
    def write(self, descriptor: int, data: memoryview) -> int:
        return super().write(descriptor, data[:7])


def fill(path: Path, files: FileSystem) -> None:
    publish(path, [b"whole"], 5, files)


def test_calls_come_in_the_order_that_survives_a_power_loss(tmp_path: Path) -> None:
    files = RecordingFiles()
    fill(tmp_path / "new" / "store.h5", files)
    assert files.calls == [
        "make_directory",
        "free_bytes",
        "create",
        "write",
        "fsync",
        "close",
        "replace",
        "fsync_directory",
        "fsync_directory",
    ]


@pytest.mark.parametrize("failing", CALLS)
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EACCES])
def test_a_failing_call_leaves_nothing(tmp_path: Path, failing: str, number: int) -> None:
    path = tmp_path / "new" / "store.h5"
    with pytest.raises(StoreWriteError, match=r"store\.h5") as caught:
        fill(path, RecordingFiles(failing, number))
    assert os.strerror(number) in str(caught.value)
    assert caught.value.os_errno == number  # type: ignore[attr-defined]
    if failing == "fsync_directory":  # the file is in place by then, and whole
        assert path.read_bytes() == b"whole"
    else:
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failing", [call for call in CALLS if call != "make_directory"])
def test_a_failing_call_keeps_what_was_there(tmp_path: Path, failing: str) -> None:
    path = tmp_path / "store.h5"
    fill(path, FileSystem())
    path.write_bytes(before := b"before")
    with pytest.raises(StoreWriteError):
        fill(path, RecordingFiles(failing))
    assert [entry.name for entry in tmp_path.iterdir()] == ["store.h5"]
    if failing != "fsync_directory":
        assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["store.h5", "store"])
def test_sealing_again_after_a_failure(tmp_path: Path, name: str) -> None:
    files = RecordingFiles()
    with create_store(tmp_path / name, dim=2, files=files) as writer:
        writer.append(ItemRecord(ItemKey("", "a")), np.array([0, 1], dtype=np.float32))
        files._failing, files._number = "write", errno.ENOSPC
        with pytest.raises(StoreWriteError, match="Disk full"):
            writer.seal({})
        files._failing = ""
        writer.seal({})
    with open_store(tmp_path / name) as store:
        assert len(store) == 1


class NoFile(FileSystem):
    """Refuses the file of the store; segments and manifests can be written."""

    def replace(self, source: Path, target: Path) -> None:
        if target.name == "store.h5":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().replace(source, target)


def test_rows_are_committed_where_their_file_cannot_be_published(tmp_path: Path) -> None:
    """Until then the last rows were in no segment."""
    row = ItemRecord(ItemKey("", "a")), np.array([0, 1], dtype=np.float32)
    with create_store(tmp_path / "store.h5", dim=2, files=NoFile()) as writer:
        writer.append(*row)
        for _ in range(2):
            with pytest.raises(StoreWriteError, match="Disk full"):
                writer.seal({})
            assert writer.n_committed == 1
    with create_store(tmp_path / "store.h5", dim=2) as writer:
        assert [store.n_rows for store in writer.earlier] == [1]
        writer.append(*row, reused=True)
        writer.seal({})
    with open_store(tmp_path / "store.h5") as store:
        assert (len(store), store.verify()) == (1, [])
    assert [path.name for path in tmp_path.iterdir()] == ["store.h5"]


def test_short_writes_are_continued(tmp_path: Path) -> None:
    fill(tmp_path / "store.h5", ShortWrites())
    assert (tmp_path / "store.h5").read_bytes() == b"whole"


def test_a_write_of_nothing_is_an_error(tmp_path: Path) -> None:
    class NoWrites(FileSystem):
        def write(self, descriptor: int, data: memoryview) -> int:
            return 0

    with pytest.raises(StoreWriteError, match="wrote no byte"):
        fill(tmp_path / "store.h5", NoWrites())
    assert list(tmp_path.iterdir()) == []


def test_free_space_is_checked_first(tmp_path: Path) -> None:
    class Full(FileSystem):
        def free_bytes(self, directory: Path) -> int:
            return 1234

        def create(self, path: Path) -> int:
            raise AssertionError("nothing may be created")

    with pytest.raises(StoreWriteError, match=r"Disk full .* 5,000 bytes and 1,234 are free"):
        publish(tmp_path / "store.h5", [bytes(5000)], 5000, Full())


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "Disk full"),
        (errno.EDQUOT, "quota is used up"),
        (errno.EFBIG, "too large for the system"),
        (errno.EROFS, "Check the path and its permissions"),
    ],
)
def test_what_is_used_up_is_named_and_what_is_unknown_left_out(number: int, words: str) -> None:
    with pytest.raises(StoreWriteError, match=words) as caught, write_errors(Path("x.h5")):
        raise OSError(number, os.strerror(number))
    assert "x.h5" in str(caught.value)
    assert not re.search(r"unknown|\b0 bytes|None", str(caught.value))


def test_free_space_that_would_do_is_not_the_reason(tmp_path: Path) -> None:
    full = pytest.raises(StoreWriteError, match=r"it needs 5 bytes\. Free some")
    with full, write_errors(tmp_path / "x.h5", 5, 1_000):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    class Interrupted(FileSystem):
        def fsync(self, descriptor: int) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(tmp_path / "new" / "x", [b"abc"], 3, Interrupted())
    assert list(tmp_path.iterdir()) == []


def test_a_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreWriteError, match="not a directory"):
        create_store(tmp_path / "file" / "deep" / "store.h5", dim=2)


def test_a_parent_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(StoreWriteError, match="permission"):
        create_store(tmp_path / "store.h5", dim=2)


@pytest.mark.skipif(sys.platform == "win32", reason="resource limits are POSIX")
def test_a_real_limit_on_file_size(tmp_path: Path) -> None:
    code = """
import resource, signal, sys
from pathlib import Path
from datumaro_embed.errors import StoreWriteError
from datumaro_embed.files import FileSystem, publish
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    publish(Path(sys.argv[1]), [bytes(5000)], 5000, FileSystem())
except StoreWriteError as error:
    print(error)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "store.h5")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "File too large" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_directory_is_there_before_and_after_each_call_that_replaces_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    """Killed between two calls, a command leaves the whole old directory or the whole new one."""
    out = tmp_path / "model"
    out.mkdir()
    (out / "old.xml").touch()
    seen: list[list[str]] = []

    def watched(name: str) -> Any:
        call = getattr(FileSystem(), name)

        def run(_: FileSystem, *paths: Path) -> Any:
            done = call(*paths) if can_exchange or name != "exchange" else False
            seen.append(sorted(path.name for path in out.iterdir()) if out.is_dir() else [])
            return done

        return run

    for name in ("replace", "exchange"):
        monkeypatch.setattr(FileSystem, name, watched(name))
    with new_path(out, directory=True, replace=True) as new:
        (new / "new.xml").touch()
    if not can_exchange:
        assert seen == [["old.xml"], [], ["new.xml"]]
    elif seen[0] == ["old.xml"]:
        pytest.skip("the file system of temporary files cannot exchange two names")
    else:
        assert seen == [["new.xml"]]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert [path.name for path in out.iterdir()] == ["new.xml"]


def test_what_cannot_be_exchanged_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(FileNotFoundError, match="b"):
        FileSystem().exchange(tmp_path / "a", tmp_path / "b")
