"""The lock between two real processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from datumaro_embed.errors import StoreLockedError
from datumaro_embed.store.lock import StoreLock

HOLD = """
import sys, time
from pathlib import Path
from datumaro_embed.store.lock import StoreLock
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
