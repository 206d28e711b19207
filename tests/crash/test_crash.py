"""After any crash: what was committed is there, nothing is invented, the next run completes it."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import pytest

from crash.lab import (
    Call,
    NoDirectoryFsync,
    NoFsync,
    NoRename,
    Recorder,
    fingerprint,
    n_promised,
    read_state,
    states_of,
    write_state,
)
from crash.runs import (
    FEW,
    N_ITEMS,
    QuickFiles,
    content,
    embed,
    rows,
    source,
    visible,
    write_tables,
)
from datumaro_embed.errors import StoreError
from datumaro_embed.files import FileSystem
from datumaro_embed.store import open_store

FULL = {"every": 1, "n_losses": 4}
QUICK = {"every": 27, "n_losses": 1}


NAMES = ["file", "directory", "file again", "directory again", "file with tables again"]
NAMES += ["directory with tables", "directory with tables again", "file with rows of no segment"]
SLOW = {"directory", "file again", "directory with tables again"}  # others have each part of these


def write_source(
    target: Path, files: FileSystem, *, numbers: Iterable[int] = FEW, box: float = 1.0
) -> None:
    """Embed with the pipeline."""
    embed(target, source(numbers, box=box), files)


class Scenario:
    """One recorded run, and what must be found after each way that it can end early."""

    def __init__(
        self,
        folder: Path,
        name: str,
        files: type[Recorder] = Recorder,
        numbers: Sequence[int] = FEW,
    ) -> None:
        self._folder = folder
        self.name = name
        place = folder / "place"
        place.mkdir(parents=True)
        self.target = "store.h5" if name.startswith("file") else "store"
        self.before: dict[str, int] | None = None
        write = write_tables if "tables" in name else write_source
        n_items = len(numbers) - ("no segment" in name)  # the last ones go straight into the file
        self._write = partial(write, numbers=numbers[:n_items])
        if name.endswith("again"):
            self._write(place / self.target, QuickFiles(), numbers=numbers[:-4], box=9.0)
            with open_store(place / self.target) as store:
                self.before = rows(store)
        self.initial = read_state(place)
        recorder = files(place)
        self._write(place / self.target, recorder)
        self.calls: list[Call] = recorder.calls
        with open_store(place / self.target) as store:
            self.after, self.content = rows(store), content(store)

    def problems(
        self, *, every: int, n_losses: int, seed: int = 0, most: int = 100, first_call: int = 0
    ) -> tuple[Counter[str], list[str]]:
        """Look at each state (or one of every few); count them by kind, and say what is wrong.

        A state that was looked at already, with as much promised, is counted and not looked at.
        """
        kinds: Counter[str] = Counter()
        seen: dict[str, int] = {}
        found = []
        states = states_of(self.calls, self.initial, seed=seed, n_losses=n_losses)
        for number, (kind, n_calls, state, disk) in enumerate(states):
            if len(found) >= most:
                break
            if number % every or n_calls < first_call:
                continue
            kinds[kind] += 1
            promised, digest = n_promised(disk, len(self.after)), fingerprint(state)
            if seen.get(digest, -1) >= promised:
                continue
            seen[digest] = promised
            kinds["distinct"] += 1
            place = self._folder / f"state-{number}"
            write_state(place, state)
            try:
                self._look(place / self.target, promised)
            except (AssertionError, StoreError) as error:
                found.append(f"{kind} after {n_calls} calls: {type(error).__name__} {error}")
            shutil.rmtree(place)
        return kinds, found

    def _look(self, target: Path, promised: int) -> None:
        store = visible(target)
        there: dict[str, int] = {}
        if store is not None:
            with store:
                assert store.verify() == []
                there = rows(store)
        if self.before is None or there != self.before:
            assert there.items() <= self.after.items(), "rows were invented"
            if self.before is not None:
                assert there == self.after, "neither the store before nor the one after"
        assert self.before is not None or len(there) >= promised, "committed rows were lost"
        self._write(target, QuickFiles())
        with open_store(target) as resumed:
            assert resumed.verify() == []
            assert content(resumed) == self.content, "the resumed store differs"
        assert {path.name for path in target.parent.iterdir()} == {target.name}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in NAMES],
)
def test_every_crash_is_survived(tmp_path: Path, name: str) -> None:
    scenario = Scenario(tmp_path, name)
    assert sum(call.name == "rename" for call in scenario.calls) >= 12
    kinds, found = scenario.problems(**QUICK)
    assert found == []
    assert min(kinds[kind] for kind in ("kill", "torn write", "power loss")) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_crash_is_survived_in_full(tmp_path: Path, name: str) -> None:
    kinds, found = Scenario(tmp_path, name, numbers=range(N_ITEMS)).problems(**FULL)
    print(name, dict(kinds))
    assert found == []
    assert kinds["power loss"] >= 500


@pytest.mark.parametrize(
    ("broken", "looks"),
    [
        (NoFsync, {"every": 7, "n_losses": 2}),
        # only when segments are removed, and then seldom
        (NoDirectoryFsync, {"every": 1, "n_losses": 8, "first_call": 75}),
        (NoRename, {"every": 7, "n_losses": 2}),
    ],
)
def test_the_laboratory_finds_what_is_left_out(
    tmp_path: Path, broken: type[Recorder], looks: dict[str, int]
) -> None:
    _, found = Scenario(tmp_path, "file", broken).problems(**looks, most=1)
    assert found != []
