"""Three real processes, one for each shard, killed at random and started again, then merged."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crash.runs import content
from datumaro_embed import open_store
from datumaro_embed.sharding import Parts
from support import run, write_pictures

N_IMAGES = 180
N_SHARDS = 3
N_KILLS = 2


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_pictures(tmp_path_factory.mktemp("killed") / "data", N_IMAGES, (40, 32))
    (root / "images" / "train" / "00007.png").write_bytes(b"no image")
    return root


def words(data: Path, store: Path) -> list[str]:
    options = ["--model", "demo", "--commit-rows", "4", "--batch-size", "4"]
    return ["embed", f"{data}:coco", "--store", str(store), *options]


def begin(data: Path, store: Path, number: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "datumaro_embed.cli", *words(data, store)]
    command += ["--shard", f"{number}/{N_SHARDS}"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def n_commits(store: Path, number: int) -> int:
    work = Parts.of(store).folder / f"{number}-of-{N_SHARDS}.h5.work"
    return len(list((work / "segments").glob("*.h5")))


@pytest.mark.slow
def test_killed_shards_go_on_and_merge_to_the_store_of_one_run(data: Path, tmp_path: Path) -> None:
    rng = random.Random(20)
    store, single = tmp_path / "e.h5", tmp_path / "single.h5"
    running = {number: begin(data, store, number) for number in range(1, N_SHARDS + 1)}
    kill_at = {number: rng.randrange(1, 8) for number in running}
    n_kills = 0
    deadline = time.monotonic() + 600
    while running and time.monotonic() < deadline:
        time.sleep(0.002)
        for number, process in list(running.items()):
            if process.poll() is not None:
                errors = process.communicate()[1]
                assert process.returncode == 0, errors
                del running[number]
            elif n_kills < N_KILLS and n_commits(store, number) >= kill_at[number]:
                process.kill()
                process.communicate()
                n_kills += 1
                kill_at[number] += rng.randrange(1, 8)
                running[number] = begin(data, store, number)
    assert not running
    assert n_kills == N_KILLS

    names = [f"{number}-of-{N_SHARDS}.h5" for number in range(1, N_SHARDS + 1)]
    assert sorted(path.name for path in Parts.of(store).folder.iterdir()) == names
    merged = run("datumaro-embed", "merge", Parts.of(store).folder, "-o", store)
    assert (merged.returncode, merged.stdout) == (0, f"{N_IMAGES} rows in {store}\n")
    assert run("datumaro-embed", *words(data, single)).returncode == 0
    with open_store(store) as one, open_store(single) as other:
        assert content(one) == content(other)
        assert one.verify() == []
    assert run("datumaro-embed", "verify", store, "--dataset", data).stdout.endswith("sound\n")
