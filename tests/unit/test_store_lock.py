"""The lock between two real processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datumaro_embed.errors import StoreLockedError
from datumaro_embed.files import StoreLock
from datumaro_embed.records import ItemKey, ItemRecord
from store_support import begin
from support import SAMPLE, run

HOLD = """
import sys, time
from pathlib import Path
from datumaro_embed.files import StoreLock
lock = StoreLock(Path(sys.argv[1]), Path("store"))
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_process_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreLockedError, match="Another process is writing"):
            StoreLock(path, tmp_path)
        holder.kill()
        holder.wait()
        StoreLock(path, tmp_path).release()


def test_two_writers_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    first = StoreLock(tmp_path / "lock", tmp_path)
    with pytest.raises(StoreLockedError):
        StoreLock(tmp_path / "lock", tmp_path)
    first.release()
    StoreLock(tmp_path / "lock", tmp_path).release()


@pytest.mark.parametrize("name", ["store.h5", "store"])
def test_a_second_embed_changes_not_a_byte(tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    with begin(target, dim=2, commit_rows=1) as first:
        for number in range(3):
            first.append(ItemRecord(ItemKey("", str(number))), np.array([0, 1], np.float32))
        first.suspend()
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        arguments = [SAMPLE / "yolo", "--store", target, "--model", "demo"]
        done = run("datumaro-embed", "embed", *arguments)
        after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert done.returncode == 1
    assert "Another process is writing" in done.stderr
    assert len(before) == 5  # three segments, the manifest and the lock
    assert after == before
