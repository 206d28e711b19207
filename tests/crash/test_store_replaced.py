"""A store that another takes the place of while it is open: never mixed, never called damaged."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import crash.readers
from crash.runs import QuickFiles
from datumaro_embed.errors import StoreReplacedError
from datumaro_embed.maintenance import compact_store
from datumaro_embed.records import ItemKey, ItemRecord
from datumaro_embed.store import open_store
from store_support import begin, create_store

N_ROWS = 6
VECTOR = np.array([1, 0], np.float32)


def write(path: Path, width: int) -> Path:
    """Write a store whose items all have one width: equal keys, other content."""
    records = [ItemRecord(ItemKey("train", f"{n}"), width=width) for n in range(N_ROWS)]
    if path.suffix:
        with create_store(path, dim=2, files=QuickFiles()) as writer:
            for record in records:
                writer.append(record, VECTOR)
            writer.seal({})
        return path
    with begin(path, dim=2, commit_rows=2, restart=True, files=QuickFiles()) as run:
        for record in records:
            run.append(record, VECTOR)
        run.seal({})
    return path


@pytest.mark.parametrize("n_read", [0, 1, 3])
def test_a_directory_swapped_under_a_reader_is_noticed(tmp_path: Path, n_read: int) -> None:
    with open_store(write(tmp_path / "a", 1)) as store:
        assert [store.item(row).width for row in range(n_read)] == [1] * n_read
        write(tmp_path / "b", 2)
        (tmp_path / "a").rename(tmp_path / "old")
        (tmp_path / "b").rename(tmp_path / "a")
        with pytest.raises(StoreReplacedError, match="Open it again"):
            [store.item(row).width for row in range(N_ROWS)]


def test_a_directory_that_grew_is_the_same_store(tmp_path: Path) -> None:
    """Another run over it keeps its shards; who has it open reads on."""
    target = write(tmp_path / "a", 1)
    with open_store(target) as store:
        with begin(target, dim=2, commit_rows=2, files=QuickFiles()) as run:
            for n in range(N_ROWS + 2):
                run.append(ItemRecord(ItemKey("train", f"{n}"), width=1), VECTOR, reused=True)
            run.seal({})
        assert [store.item(row).width for row in range(N_ROWS)] == [1] * N_ROWS


def test_a_file_with_a_used_inode_is_another_file(tmp_path: Path) -> None:
    """Written in place it keeps device and inode, as a new file may after the old one is gone."""
    path = write(tmp_path / "a.h5", 1)
    store = open_store(path)
    assert store.item(0).width == 1
    (part,) = store.parts
    part.close()
    store._cache.clear()
    other = write(tmp_path / "b.h5", 2).read_bytes()
    before = path.stat()
    with path.open("r+b") as stream:
        stream.write(other)
        stream.truncate()
    assert path.stat().st_ino == before.st_ino
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    with pytest.raises(StoreReplacedError):
        store.item(0)


def _restart(path: Path, width: int) -> None:
    write(path, width)


def _come_and_go(path: Path, width: int) -> None:
    if path.exists():
        path.rename(path.with_name(f"old-{width}"))
    write(path, width)


def _compact(path: Path, width: int) -> None:
    write(path, width)
    compact_store(path)


@pytest.mark.parametrize("n_times", [1, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("name", "publish", "n_opens"),
    [
        ("s", _restart, 100),
        ("s", _compact, 100),
        ("s.h5", _restart, 100),
        ("s.h5", _come_and_go, 1200),  # mostly there is nothing to read
    ],
)
def test_readers_see_whole_stores_while_one_is_published(
    tmp_path: Path, name: str, publish: Callable[[Path, int], None], n_opens: int, n_times: int
) -> None:
    path = write(tmp_path / name, 7)
    n_stores = 4 * min(n_times, 25)
    script = [sys.executable, crash.readers.__file__, path, n_opens * n_times, n_stores]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    reader = subprocess.Popen(
        list(map(str, script)), stdout=subprocess.PIPE, text=True, env=environment
    )
    assert reader.stdout
    assert reader.stdout.readline() == "reading\n"  # what it imports has been imported
    width = 8
    while reader.poll() is None:
        publish(path, width)
        width += 1
        time.sleep(0.002)
    found = ast.literal_eval(reader.communicate()[0])
    expected = {"whole", "replaced while it was read"}
    if publish is _come_and_go:
        expected |= {"not there yet", "unfinished"}
    print(name, publish.__name__, width - 8, "publications:", found)
    assert found.keys() <= expected, found
    assert found["whole"] >= n_stores
    assert sum(found.values()) >= n_opens * n_times
