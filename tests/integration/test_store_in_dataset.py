"""A store in the folder of its dataset: every command, and `datum`, still read the dataset."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from datumaro.components.dataset import Dataset

from datumaro_embed.cli import main
from datumaro_embed.plugins.clip_embed import ClipEmbed
from support import REPO, SAMPLE, run


def test_the_readmes_first_command_and_what_may_follow_it(tmp_path: Path) -> None:
    readme = (REPO / "README.md").read_text(encoding="utf-8")
    command = re.search(r"&& (datum transform .*)", readme)
    assert command is not None
    words = command[1].split()
    store = words[words.index("--store") + 1]
    (tmp_path / "sample_data").symlink_to(SAMPLE)

    first = run(*words, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "69 rows" in first.stderr
    assert "nyu_depth_v2" not in first.stderr
    stats = run("datum", "stats", "out", cwd=tmp_path)
    assert stats.returncode == 0, stats.stderr
    verified = run("datumaro-embed", "verify", store, "--dataset", "out", cwd=tmp_path)
    assert verified.stdout == "69 rows: sound\n"
    again = run(*words, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "69 reused" in again.stderr


@pytest.mark.slow
def test_an_h5_file_in_a_dataset_is_warned_of_and_does_no_harm_here(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(SAMPLE / "coco", "D")
    for _ in range(2):
        assert main(["embed", "D", "--store", "D/clip.h5", "--model", "demo"]) == 0
        assert "Name the store clip.hdf5" in capsys.readouterr().err
    assert main(["verify", "D/clip.h5", "--dataset", "D"]) == 0

    own = ["--", "--store", "out/e.h5", "--model", "demo"]
    monkeypatch.setattr(
        "sys.argv", ["datum", "transform", "-t", "clip_embed", "-o", "out", "D", *own]
    )
    dataset = Dataset.import_from("D", "coco")
    list(ClipEmbed(dataset, store="out/e.h5", model="demo", from_datum=True))
    assert "Name the store e.hdf5" in caplog.text
