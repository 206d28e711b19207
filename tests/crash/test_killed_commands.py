"""A command killed after any call: the same command again succeeds and leaves nothing."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from crash.lab import Recorder, fingerprint, read_state, states_of, write_state
from crash.runs import QuickFiles, embed, rows, source
from datumaro_embed.errors import StoreExistsError
from datumaro_embed.maintenance import compact as compact_module
from datumaro_embed.maintenance import compact_store, merge_stores, repair_store
from datumaro_embed.maintenance import output as output_module
from datumaro_embed.records import ItemKey, ItemRecord
from datumaro_embed.store import open_store
from store_support import begin

Command = Callable[[Path], object]

COMMANDS: dict[str, tuple[Command, str]] = {
    "merge": (lambda root: merge_stores([root / "a.h5", root / "b.h5"], root / "out.h5"), "out.h5"),
    "merge to a directory": (
        lambda root: merge_stores([root / "a.h5", root / "b.h5"], root / "out"),
        "out",
    ),
    "merge and replace": (
        lambda root: merge_stores([root / "a.h5", root / "b.h5"], root / "old.h5", replace=True),
        "old.h5",
    ),
    "repair": (lambda root: repair_store(root / "dir", root / "out.h5"), "out.h5"),
    "repair to a directory": (lambda root: repair_store(root / "dir", root / "out"), "out"),
    "compact": (lambda root: compact_store(root / "dir"), "dir"),
}


QUICK = ["index@7", "convert to csv@7", "search --save-to@7", "import of npy@23"]
QUICK += ["convert to faiss@31", "apply@41", "convert to coco@1"]  # two files: each call


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores to work on."""
    root = tmp_path_factory.mktemp("before")
    embed(root / "a.h5", source(range(9)), QuickFiles())
    embed(root / "b.h5", source(range(9, 15)), QuickFiles())
    embed(root / "old.h5", source(range(2)), QuickFiles())
    embed(root / "dir", source(range(12)), QuickFiles())
    return root


def names(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()}


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_after_any_call_the_same_command_succeeds_and_cleans_up(
    name: str, every: int, before: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, output = COMMANDS[name]
    place = tmp_path / "whole"
    shutil.copytree(before, place)
    recorder = Recorder(place)
    for module in (output_module, compact_module):
        monkeypatch.setattr(module, "FileSystem", lambda: recorder)
    initial = read_state(place)
    command(place)
    for module in (output_module, compact_module):
        monkeypatch.setattr(module, "FileSystem", QuickFiles)
    with open_store(place / output) as store:
        expected = rows(store)
    left = names(place) - {"lock"}

    seen = set()
    for kind, number, state, _ in states_of(recorder.calls, initial, seed=0, n_losses=0):
        if fingerprint(state) in seen or number == len(recorder.calls):
            continue
        seen.add(fingerprint(state))
        if len(seen) % every:
            continue
        root = tmp_path / f"{len(seen)}"
        write_killed(root, state, output)
        try:
            command(root)
        except StoreExistsError:  # it had done all of its work
            assert (root / output).exists(), (kind, number)
        with open_store(root / output) as store:
            assert rows(store) == expected, (kind, number)
            assert store.verify() == []
        assert names(root) == left, (kind, number)
        assert shard_names(root / output) == shard_names(place / output) or name == "compact"
    assert len(seen) > 15


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="ptrace, calls by number"
)
@pytest.mark.parametrize(
    ("commands", "how"),
    [
        (QUICK, ["kill", "EIO"]),
        pytest.param([], ["kill", "torn"], marks=pytest.mark.slow),
        pytest.param([], ["ENOSPC", "EIO+"], marks=pytest.mark.slow),
    ],
)
def test_killed_at_any_system_call(tmp_path: Path, commands: list[str], how: list[str]) -> None:
    script = Path(__file__).with_name("kills.py")
    program = [sys.executable, str(script), str(tmp_path), "--how", *how]
    program += ["--commands", *commands] if commands else []
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def test_another_store_is_not_taken_for_ones_own(before: Path, tmp_path: Path) -> None:
    """Leftovers of a merge do not let another one replace a store that somebody made since."""
    shutil.copytree(before, tmp_path / "x")
    root = tmp_path / "x"
    with begin(root / "old.h5", dim=8, restart=True, purpose="merge", commit_rows=1) as killed:
        killed.append(ItemRecord(ItemKey("a", "b")), np.eye(8, dtype=np.float32)[0])
        killed.suspend()
    kept = (root / "old.h5").read_bytes()
    with pytest.raises(StoreExistsError, match=r"old\.h5' already exists"):
        merge_stores([root / "a.h5"], root / "old.h5")
    assert (root / "old.h5").read_bytes() == kept


def write_killed(root: Path, state: dict[str, bytes | None], output: str) -> None:
    """Write what a killed process leaves: its lock file stays where it was."""
    write_state(root, state)
    for folder in (root / f"{output}.work", root / output):
        if folder.is_dir():
            (folder / "lock").touch()


def shard_names(path: Path) -> int:
    return len(list(path.glob("shards/*"))) if path.is_dir() else 0
