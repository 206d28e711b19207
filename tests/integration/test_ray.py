"""Shards on a Ray cluster of this machine: the bytes of one run, with workers lost and stopped.

One small cluster without a dashboard serves all tests.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crash.runs import content
from datumaro_embed import open_store
from datumaro_embed.errors import ItemFailedError, RunInterruptedError, StoreExistsError, UsageError
from datumaro_embed.pipeline.progress import EmbedSummary
from datumaro_embed.sharding import Parts
from support import picture, run, write_coco, write_pictures

pytestmark = pytest.mark.slow

N_IMAGES = 240


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("ray") / "data", N_IMAGES, (40, 32))


OPTIONS = {"model": "demo", "commit_rows": 4, "batch_size": 4}


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    store = tmp_path_factory.mktemp("whole") / "e.h5"
    options = ["--model", "demo", "--commit-rows", "4", "--batch-size", "4"]
    done = run("datumaro-embed", "embed", f"{data}:coco", "--store", store, *options)
    assert done.returncode == 0, done.stderr
    with open_store(store) as opened:
        return content(opened)


@pytest.fixture(scope="module")
def embed(data: Path) -> Iterator[Callable[..., EmbedSummary]]:
    """Return `embed_on_ray` with the data, connected to a cluster of two processors."""
    before = dict(os.environ)
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    import ray

    from datumaro_embed.distributed import embed_on_ray

    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    ray.init("local", num_cpus=2, **quiet)

    def embed(store: Path, **options: Any) -> EmbedSummary:
        what = {"dataset": f"{data}:coco", "progress": False} | OPTIONS | options
        return embed_on_ray(store=store, **what)

    yield embed
    assert ray.is_initialized()
    ray.shutdown()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Ray leaves a handler
    os.environ.clear()  # and variables, with which no command of a later test would be a fork
    os.environ.update(before)


def committed(store: Path) -> bool:
    return any(Parts.of(store).folder.glob("*.work/next.json"))


def once(condition: Callable[[], bool], action: Callable[[], None]) -> threading.Thread:
    """Do something from another thread as soon as something is so."""

    def wait() -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            if condition():
                action()
                return
            time.sleep(0.002)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_two_workers_make_the_store_of_one_run(
    embed: Callable[..., EmbedSummary], tmp_path: Path, whole: dict
) -> None:
    store = tmp_path / "e.h5"
    summary = embed(store, shards=5, workers_per_node=2)
    assert (summary.n_items, summary.n_failed, summary.store) == (N_IMAGES, 0, str(store))
    with open_store(store) as opened:
        assert content(opened) == whole
        assert opened.verify() == []
        assert len(opened.provenance["merged"]) == 5
    again = embed(store, shards=2)
    assert (again.n_reused, again.n_computed, again.n_removed) == (N_IMAGES, 0, 0)
    with open_store(store) as opened:
        assert content(opened) == whole
    assert [path.name for path in tmp_path.iterdir()] == ["e.h5"]


def test_captions_are_joined_too(embed: Callable[..., EmbedSummary], tmp_path: Path) -> None:
    """Most shards have none."""

    def dataset() -> Any:  # pickled by value: workers know nothing of the tests
        import numpy as np
        from datumaro.components.annotation import Caption
        from datumaro.components.dataset import Dataset
        from datumaro.components.dataset_base import DatasetItem
        from datumaro.components.media import Image

        black = np.zeros((8, 8, 3), np.uint8)
        return Dataset.from_iterable(
            DatasetItem(f"{i}", media=Image.from_numpy(black), annotations=texts)
            for i, texts in enumerate([[Caption("the only one")], *[[]] * 11])
        )

    summary = embed(tmp_path / "e.h5", dataset=dataset, captions=True)
    assert (summary.captions.n_computed, summary.captions.n_reused) == (1, 0)
    with open_store(tmp_path / "e.h5") as store:
        assert (store.n_rows, store.captions.texts) == (12, ["the only one"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.h5"]


def test_a_killed_actor_is_replaced_and_its_shard_goes_on(
    embed: Callable[..., EmbedSummary], data: Path, tmp_path: Path, whole: dict
) -> None:
    store, workers = tmp_path / "e.h5", tmp_path / "workers"
    workers.mkdir()

    def load() -> Any:  # in each worker, which so tells its process
        from datumaro.components.dataset import Dataset

        (workers / str(os.getpid())).touch()
        return Dataset.import_from(str(data), "coco")

    def kill() -> None:
        (pid,) = (int(path.name) for path in workers.iterdir())
        os.kill(pid, signal.SIGKILL)

    said: list[str] = []
    killer = once(lambda: committed(store), kill)
    summary = embed(store, dataset=load, root=data, shards=2, notify=said.append)
    killer.join()
    assert len(list(workers.iterdir())) == 2
    on_time = [message for message in said if not message.startswith("No worker is ready")]
    lost, found = on_time
    assert lost.startswith("A worker was lost (")
    assert "; retrying " in lost
    assert "rows are kept from an earlier run" in found
    assert 4 <= summary.n_reused < N_IMAGES
    with open_store(store) as opened:
        assert content(opened) == whole
        assert opened.verify() == []


def test_ctrl_c_keeps_what_is_embedded(
    embed: Callable[..., EmbedSummary], tmp_path: Path, whole: dict
) -> None:
    store = tmp_path / "store"
    interrupt = once(
        lambda: any(Parts.of(store).folder.glob("*/next.json")),
        lambda: os.kill(os.getpid(), signal.SIGINT),
    )
    with pytest.raises(RunInterruptedError, match="SIGINT"):
        embed(store, shards=2, workers_per_node=2)
    interrupt.join()
    assert not store.exists()
    assert {shard.count for shard in Parts.of(store).found()} == {2}
    summary = embed(store)  # into as many shards
    assert summary.n_reused >= 4
    with open_store(store) as opened:
        assert content(opened) == whole
        assert len(opened.provenance["merged"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_an_error_in_a_worker_is_ours(embed: Callable[..., EmbedSummary], tmp_path: Path) -> None:
    root = write_coco(tmp_path / "data", [("a.png", (8, 8)), ("b.png", (8, 8))])
    picture(1).save(root / "images" / "train" / "a.png")
    with pytest.raises(ItemFailedError, match=r"train/b: .*run with on_error record") as caught:
        embed(tmp_path / "e.h5", dataset=f"{root}:coco", shards=1, on_error="fail")
    assert str(caught.value.key) == "train/b"
    assert not (tmp_path / "e.h5").exists()


def test_what_cannot_be_is_refused_before_a_worker_starts(
    embed: Callable[..., EmbedSummary], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="shards must be at least 1, not 0"):
        embed(tmp_path / "e.h5", shards=0)
    (tmp_path / "e.h5").write_bytes(b"mine")
    with pytest.raises(StoreExistsError):
        embed(tmp_path / "e.h5")
    assert (tmp_path / "e.h5").read_bytes() == b"mine"
