"""`datumaro-embed explore` as a process that is killed, or told to end."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path

import numpy as np
import pytest

from datumaro_embed import Findings, open_store
from explore_support import Client


@contextmanager
def running(store: Path) -> Iterator[tuple[subprocess.Popen[str], Client]]:
    """Run the command, and give a client of it once it says where it is."""
    command = [sys.executable, "-m", "datumaro_embed.cli", "explore", store, "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, Client(process.stdout.readline().strip())
        finally:
            process.kill()


@pytest.fixture
def own(object_store: Path, tmp_path: Path) -> Path:
    for path in object_store.parent.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path / object_store.name


def test_every_decision_that_was_answered_survives_kill_9(own: Path) -> None:
    rng = np.random.default_rng(0)
    saved: dict[int, str] = {}
    n_before = len(Findings.read(f"{own}.findings.csv"))
    for turn in range(4):
        with running(own) as (process, page):
            assert page.json("api/store")["decided"] == len(saved)
            timer = threading.Timer(float(rng.uniform(0.05, 0.6)), process.kill)
            timer.start()
            row, last = 0, dict[int, str]()
            with suppress(OSError, HTTPException):
                while True:
                    row, action = (row + 1) % 69, f"subset turn{turn}"
                    last = {row: action}
                    page.decide({"of": "items", "row": row, "action": action})
                    saved |= last
            assert process.wait() == -signal.SIGKILL
        found = Findings.read(f"{own}.findings.csv")
        with open_store(own) as store:
            kept = {store.row(row.key): row.action for row in found.filter(kind="picked")}
        assert kept in (saved, saved | last)  # the last one may have no answer
        assert len(found) - len(kept) == n_before
        saved = kept
    assert saved


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_and_another_one_can_decide(
    own: Path, sent: signal.Signals, status: int
) -> None:
    with running(own) as (process, page):
        page.decide({"of": "items", "row": 1, "action": "drop"})
        process.send_signal(sent)
        assert process.wait(timeout=300) == status
    assert sorted(path.name for path in own.parent.iterdir()) == ["e.h5", "e.h5.findings.csv"]
    with running(own) as (_, page):
        store = page.json("api/store")
        assert (store["decided"], store["read_only"]) == (1, "")
