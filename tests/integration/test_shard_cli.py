"""``--shard`` and ``--ray`` on the command line: what is refused, and what is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import SAMPLE, run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--shard", "0/3"], 1, "--shard is 0/3, but shards are numbered from 1 to N"),
        (["--shard", "4/3"], 1, "--shard is 4/3, but shards are numbered from 1 to N"),
        (["--shard", "/"], 1, "--shard must be I/N"),
        (["--shard", ""], 1, "--shard must be I/N"),
        (["--shards", "4"], 1, "--shards requires --ray"),
        (["--shard", "1/2", "--ray"], 2, "not allowed with"),
    ],
)
def test_nonsense_is_refused_before_anything_is_read(
    tmp_path: Path, words: list[str], status: int, message: str
) -> None:
    store = tmp_path / "e.h5"
    done = run("datumaro-embed", "embed", SAMPLE / "coco", "--store", store, *words)
    assert done.returncode == status
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_shards_of_the_sample_are_merged_as_the_last_one_says(
    coco_store: Path, tmp_path: Path
) -> None:
    for number in (1, 2):
        done = run(
            *("datumaro-embed", "embed", SAMPLE / "coco", "--store", "e.h5", "--model", "demo"),
            *("--shard", f"{number}/2"),
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    said, command = last.split("Join them: ")
    assert said == "All shards are finished. "
    assert run(*command.split(), cwd=tmp_path).stdout == "69 rows in e.h5\n"
    verified = run("datumaro-embed", "verify", tmp_path / "e.h5", "--dataset", SAMPLE / "coco")
    assert verified.stdout == "69 rows: sound\n"
