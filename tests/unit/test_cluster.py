"""A Ray that is not there, and a node that is of another version."""

from __future__ import annotations

import pickle
import sys
from dataclasses import replace

import pytest

from datumaro_embed import __version__
from datumaro_embed.distributed.cluster import connect
from datumaro_embed.distributed.worker import Task, Worker
from datumaro_embed.errors import ClusterError, MissingExtraError


def test_without_ray_the_error_has_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(MissingExtraError, match=r"pip install 'datumaro-embed\[ray\]'"),
        connect(""),
    ):
        pass


def test_a_node_of_another_version_says_so() -> None:
    task = Task("data", None, "e.h5", {"model": "demo"})
    assert task.version == __version__
    arrived = pickle.loads(pickle.dumps(replace(task, version="0.0.1")))
    with pytest.raises(ClusterError, match=r"0\.0\.1 where the run was started\. Install the same"):
        Worker(arrived).prepare()
