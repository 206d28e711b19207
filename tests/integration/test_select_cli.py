"""`datumaro-embed select` with `apply`, and `datum transform -t clip_select`: the same subsets."""

from __future__ import annotations

from pathlib import Path

from datumaro.components.dataset import Dataset

from datumaro_embed import select
from datumaro_embed.findings import Findings
from support import SAMPLE, run


def subsets(dataset: Dataset) -> dict[str, set[str]]:
    return {name: {each.id for each in part} for name, part in dataset.subsets().items()}


def test_what_select_writes_apply_moves(coco_store: Path, tmp_path: Path) -> None:
    findings, out = tmp_path / "chosen.csv", tmp_path / "out"
    done = run("datumaro-embed", "select", coco_store, "-k", "7", "--accept", "-o", findings)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("7 of 69 items chosen\n")
    keys = select(coco_store, 7).keys
    assert [row.key for row in Findings.read(findings)] == [*keys]
    done = run("datumaro-embed", "apply", findings, SAMPLE / "coco", "-o", out)
    assert done.returncode == 0, done.stderr
    found = subsets(Dataset.import_from(str(out), "coco"))
    assert found["sample"] == {key.id for key in keys}
    assert {"train", "val"} <= set(found)


def test_clip_select_moves_what_could_be_chosen(coco_store: Path, tmp_path: Path) -> None:
    own = ["--store", coco_store, "--fraction", "0.2", "--subset", "train", "--given", "val"]
    words = ["-t", "clip_select", "-o", tmp_path / "out", SAMPLE / "coco", "--", *own]
    done = run("datum", "transform", *words)
    assert done.returncode == 0, done.stderr
    chosen = {
        key.id for key in select(coco_store, fraction=0.2, subsets=["train"], given=["val"]).keys
    }
    before = subsets(Dataset.import_from(str(SAMPLE / "coco"), "coco"))
    rest = before["train"] - chosen
    after = {**before, "sample": chosen, "unsampled": rest}
    del after["train"]
    assert subsets(Dataset.import_from(str(tmp_path / "out"), "coco")) == after
    dataset = Dataset.import_from(str(SAMPLE / "coco"), "coco")
    dataset.transform(
        "clip_select", store=coco_store, fraction=0.2, subsets=["train"], given=["val"]
    )
    assert subsets(dataset) == after


def test_clip_select_refuses_impossible_arguments(coco_store: Path, tmp_path: Path) -> None:
    words = ["-t", "clip_select", "-o", tmp_path / "out", SAMPLE / "coco", "--"]
    for own, message in (["-k", "0"], "k must be at least 1"), ([], "one of the arguments"):
        done = run("datum", "transform", *words, "--store", coco_store, *own)
        assert done.returncode != 0
        assert message in done.stderr
        assert "Traceback" not in done.stderr
