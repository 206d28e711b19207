"""A Ray that is not there, and a node that is of another version."""

from __future__ import annotations

import os
import pickle
import socket
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from datumaro_embed import __version__
from datumaro_embed.distributed import embed_on_ray, on_ray
from datumaro_embed.distributed.cluster import Cluster, address_here, connect
from datumaro_embed.distributed.worker import Task, Worker
from datumaro_embed.errors import ClusterError, MissingExtraError


def test_without_ray_the_error_has_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(MissingExtraError, match=r"pip install 'datumaro-embed\[ray\]'"),
        connect(""),
    ):
        pass


def test_nobody_at_the_address_is_one_line_in_seconds() -> None:
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    with socket.socket() as unused:  # bound and not listening: refused at once
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with (
            pytest.raises(ClusterError, match=rf"'{address}' cannot be reached .*Check") as caught,
            connect(address),
        ):
            pass
    assert "\n" not in str(caught.value)


def test_a_cluster_that_is_gone_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its address stays in Ray's folder when it does not end by `ray stop`."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    left = tmp_path / "ray" / "ray_current_cluster"
    left.parent.mkdir()
    assert address_here() == "local"
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        left.write_text(address, encoding="utf-8")
        assert address_here() == address
    assert address_here() == "local"


def test_a_dataset_may_be_a_path_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks: list[Task] = []

    class NoCrew:
        def __init__(self, _: object, task: Task, **__: object) -> None:
            tasks.append(task)
            raise InterruptedError

    monkeypatch.setattr(on_ray, "connect", lambda _: nullcontext(Cluster(None)))
    monkeypatch.setattr(on_ray, "Crew", NoCrew)
    with pytest.raises(InterruptedError):
        embed_on_ray(Path("some") / "data", tmp_path / "e.h5", shards=1, model="demo")
    assert tasks[0].dataset == os.path.abspath("some/data")


def test_a_node_of_another_version_says_so() -> None:
    task = Task("data", None, "e.h5", {"model": "demo"})
    assert task.version == __version__
    arrived = pickle.loads(pickle.dumps(replace(task, version="0.0.1")))
    with pytest.raises(ClusterError, match=r"0\.0\.1 where the run was started\. Install the same"):
        Worker(arrived).prepare()
