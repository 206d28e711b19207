"""Every call of the system failing: a clear error, nothing committed lost, and it goes on."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from crash.runs import FEW, N_ITEMS, QuickFiles, content, embed, rows, source, visible
from datumaro_embed.errors import StoreWriteError
from datumaro_embed.files import FileSystem, publish
from datumaro_embed.store import open_store

CALLS = (
    "free_bytes",
    "make_directory",
    "create",
    "write",
    "fsync",
    "close",
    "replace",
    "fsync_directory",
    "unlink",
    "remove_directory",
)


class Faulty(QuickFiles):
    """Fails at one call, or from it on."""

    def __init__(self, at: int, number: int, *, lasting: bool) -> None:
        self.n_calls = 0
        self._at, self._number, self._lasting = at, number, lasting

    def __getattribute__(self, name: str) -> object:
        method = super().__getattribute__(name)
        if name not in CALLS:
            return method

        def call(*arguments: object) -> object:
            number, self.n_calls = self.n_calls, self.n_calls + 1
            if number == self._at or (self._lasting and number > self._at >= 0):
                raise OSError(self._number, os.strerror(self._number))
            return method(*arguments)

        return call


class Short(QuickFiles):
    """Writes a few bytes at a time."""

    def write(self, descriptor: int, data: memoryview) -> int:
        return super().write(descriptor, data[:4097])


@pytest.fixture(scope="module", params=["store.h5", "store"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


Whole = tuple[int, dict, dict]
"""How many calls a run makes, and its content."""


def run_whole(target: Path, numbers: Sequence[int]) -> Whole:
    files = Faulty(-1, 0, lasting=False)
    embed(target, source(numbers), files)
    with open_store(target) as store:
        return files.n_calls, rows(store), content(store)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, name: str) -> Whole:
    return run_whole(tmp_path_factory.mktemp("whole") / name, FEW)


def faults(n_calls: int, every: int) -> Iterator[tuple[int, int, bool]]:
    kinds = [(number, lasting) for number in (errno.ENOSPC, errno.EIO) for lasting in (True, False)]
    for at in range(n_calls):
        for place, (number, lasting) in enumerate(kinds):
            if (at + place * 7) % every == 0:
                yield at, number, lasting


def check(
    folder: Path, name: str, whole: Whole, *, every: int, numbers: Sequence[int] = FEW
) -> int:
    n_calls, all_rows, expected = whole
    n_faults = 0
    for at, number, lasting in faults(n_calls, every):
        target = folder / f"{at}-{number}-{lasting}" / name
        n_faults += 1
        error = None
        try:
            embed(target, source(numbers), Faulty(at, number, lasting=lasting))
        except StoreWriteError as caught:
            error = caught
        store = visible(target)
        if error is None:  # only the removal of what is not needed any more may fail in silence
            assert store is not None, (at, number, lasting)
            assert len(store) == len(numbers)
        else:
            assert os.strerror(number) in str(error)
            assert error.os_errno == number  # type: ignore[attr-defined]
        if store is not None:
            with store:
                assert store.verify() == []
                assert rows(store).items() <= all_rows.items()
        embed(target, source(numbers), QuickFiles())
        with open_store(target) as store:
            assert content(store) == expected, (at, number, lasting)
        assert [path.name for path in target.parent.iterdir()] == [target.name]
    return n_faults


def test_calls_that_fail(tmp_path: Path, name: str, whole: Whole) -> None:
    assert check(tmp_path, name, whole, every=41) >= 8


@pytest.mark.slow
def test_every_call_fails_in_every_way(tmp_path: Path, name: str) -> None:
    numbers = range(N_ITEMS)
    whole = run_whole(tmp_path / "whole" / name, numbers)
    n_faults = check(tmp_path, name, whole, every=1, numbers=numbers)
    print(name, "faults:", n_faults)
    assert n_faults == 4 * whole[0]


def test_short_writes(tmp_path: Path, name: str, whole: Whole) -> None:
    embed(tmp_path / name, source(FEW), Short())
    with open_store(tmp_path / name) as store:
        assert content(store) == whole[2]


def test_a_disk_that_fills_keeps_what_fitted(tmp_path: Path, name: str, whole: Whole) -> None:
    """ENOSPC in the middle: the rows before it are there, and they are not embedded again."""
    with pytest.raises(StoreWriteError, match="Disk full"):
        embed(tmp_path / name, source(FEW), Faulty(60, errno.ENOSPC, lasting=True))
    store = visible(tmp_path / name)
    assert store is not None
    with store:
        n_rows = len(store)
    assert n_rows >= 6
    assert embed(tmp_path / name, source(FEW), QuickFiles()).n_reused >= n_rows - 2


PROGRAM = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from crash.runs import embed, source
from datumaro_embed.errors import StoreWriteError
from datumaro_embed.files import FileSystem
if len(sys.argv) > 3:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    embed(Path(sys.argv[1]), source(), FileSystem())
except StoreWriteError as error:
    print(error)
    sys.exit(1)
"""


def in_a_process(target: Path, *limit: int) -> subprocess.CompletedProcess[str]:
    folder = Path(__file__).parents[1]
    command = [sys.executable, "-c", PROGRAM, str(target), str(folder), *map(str, limit)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.skipif(sys.platform == "win32", reason="resource limits are POSIX")
def test_a_real_limit_on_file_size(tmp_path: Path) -> None:
    target = tmp_path / "store.h5"
    done = in_a_process(target, 28_000)  # enough for a shard, not for the whole
    assert done.returncode == 1, done.stderr
    assert "File too large" in done.stdout
    work = Path(f"{target}.work")
    if any(work.glob("*.json")):
        with open_store(work, partial=True) as store:
            assert store.verify() == []
    embed(target, source(), FileSystem())
    with open_store(target) as store:
        assert len(store) == N_ITEMS


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Mount a file system of 150 KiB, or as the parameter says."""
    disk = tmp_path / "disk"
    disk.mkdir()
    size = getattr(request, "param", "size=150k")
    command = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(disk)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no `mount` here")
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=False)


def test_a_real_small_disk(small_disk: Path) -> None:
    target = small_disk / "store.h5"
    done = in_a_process(target)
    assert done.returncode == 1, done.stderr
    assert "Disk full" in done.stdout
    with open_store(f"{target}.work", partial=True) as store:
        assert store.verify() == []
        assert 0 < len(store) < N_ITEMS
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    embed(target, source(), FileSystem())
    with open_store(target) as store:
        assert len(store) == N_ITEMS
    assert sorted(path.name for path in small_disk.iterdir()) == ["store.h5"]


@pytest.mark.parametrize("small_disk", ["nr_inodes=8"], indirect=True)
@pytest.mark.parametrize("name", ["store.h5", "new/store.h5"])
def test_a_file_system_without_inodes_is_not_a_full_disk(small_disk: Path, name: str) -> None:
    for number in range(os.statvfs(small_disk).f_favail):
        (small_disk / str(number)).touch()
    with pytest.raises(StoreWriteError, match=r"no free inodes\. Remove some files") as caught:
        publish(small_disk / name, [b"abc"], 3, FileSystem())
    assert "bytes" not in str(caught.value)
    for number in range(3):  # the file, the folder of its temporary file, and a parent
        (small_disk / str(number)).unlink()
    publish(small_disk / name, [b"abc"], 3, FileSystem())
