"""What the explorer does in the background ends with it, whenever it ends."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from datumaro_embed.errors import DatumaroEmbedError
from datumaro_embed.page import session as sessions
from datumaro_embed.page import tasks
from datumaro_embed.page.serving import explore
from datumaro_embed.page.tasks import Task


def test_task_that_is_stopped_while_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    starting = threading.Event()

    class SlowToStart(threading.Thread):
        def start(self) -> None:
            starting.set()
            time.sleep(0.2)
            super().start()

    task, done = Task(), []
    other = threading.Thread(target=task.start, args=(lambda: done.append(1),))
    monkeypatch.setattr(tasks.threading, "Thread", SlowToStart)
    other.start()
    assert starting.wait(10)
    task.stop()
    other.join()
    assert (task.state, done) == ("done", [1])


def test_stopped_task_starts_nothing(tmp_path: Path) -> None:
    task, done = Task(), []
    task.stop()
    task.start(lambda: done.append(1))
    assert (task.state, done) == ("idle", [])
    with pytest.raises(DatumaroEmbedError, match="has ended"):
        task.call("lay_out", store="none.h5", of="items", out=str(tmp_path / "out.npy"))


def test_process_of_a_task_ends_when_it_is_stopped(tmp_path: Path, coco_store: Path) -> None:
    task = Task()
    out = tmp_path / "findings.parquet"
    task.start(
        lambda: task.call("make_findings", store=str(coco_store), media_root=None, out=str(out))
    )
    while task._process is None:
        assert task.state == "running"
    process = task._process
    task.stop()
    assert process.poll() is not None
    assert task.state == "failed"
    assert not out.exists()


def test_explorer_that_ends_as_it_loads_its_encoder(
    coco_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_ENCODER_AFTER_S", 0.0)
    for _ in range(5):
        explore(coco_store, findings=tmp_path / "f.csv").stop()
