"""`datum transform -t clip_search | clip_duplicates`, as real processes and from Python."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from datumaro.components.dataset import Dataset

from datumaro_embed import ItemKey, find_duplicates, search
from datumaro_embed.errors import ModelMismatchError, UsageError
from search_support import file_store, item
from support import SAMPLE, picture, run, write_coco


def datum(
    name: str, out: Path, *own: str | Path, source: str | Path = SAMPLE / "coco"
) -> subprocess.CompletedProcess[str]:
    return run("datum", "transform", "-t", name, "-o", out, source, "--", *own)


def keys(dataset: Dataset | Path) -> set[tuple[str, str]]:
    if isinstance(dataset, Path):
        dataset = Dataset.import_from(str(dataset), "coco")
    return {(each.subset, each.id) for each in dataset}


def test_clip_search_keeps_the_nearest_items(
    coco_store: Path, tmp_path: Path, demo_as_used
) -> None:
    own = ["--store", coco_store, "--query", "a cat", "--not", "a bus", "-k", "5"]
    done = datum("clip_search", tmp_path / "out", *own)
    assert done.returncode == 0, done.stderr
    hits = search(coco_store, "a cat", minus=["a bus"], k=5, encoder=demo_as_used)
    assert keys(tmp_path / "out") == {(hit.key.subset, hit.key.id) for hit in hits}
    assert len(list((tmp_path / "out" / "images").rglob("*.*"))) == 5


def test_clip_search_from_python(coco_store: Path) -> None:
    dataset = Dataset.import_from(str(SAMPLE / "coco"), "coco")
    dataset.transform(
        "clip_search", store=str(coco_store), item=["val/scene_041"], k=4, split=["val"]
    )
    hits = search(coco_store, ItemKey("val", "scene_041"), k=4, splits=["val"])
    assert keys(dataset) == {(hit.key.subset, hit.key.id) for hit in hits}
    assert len(dataset) == 4
    assert set(dataset.subsets()) == {"val"}


@pytest.mark.parametrize(
    ("name", "own", "message"),
    [
        ("clip_search", ["--store", "{tmp}/no.h5", "--query", "a"], "No store at"),
        ("clip_search", ["--store", "{store}", "--query", ""], "A query is empty"),
        ("clip_search", ["--store", "{store}"], "There is no query"),
        ("clip_search", ["--store", "{store}", "--query", "a", "-k", "0"], "k must be at least 1"),
        ("clip_search", ["--store", "{store}", "--item", "nope"], "Write SUBSET/ID"),
        ("clip_duplicates", ["--store", "{tmp}/no.h5"], "No store at"),
        ("clip_duplicates", ["--store", "{store}", "--threshold", "2"], "at most 1, not 2"),
    ],
)
def test_wrong_arguments_end_datum_with_one_line(
    coco_store: Path, tmp_path: Path, name: str, own: list[str], message: str
) -> None:
    done = datum(
        name, tmp_path / "out", *(word.format(tmp=tmp_path, store=coco_store) for word in own)
    )
    assert done.returncode != 0
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not (tmp_path / "out").exists()


def test_what_only_the_run_can_tell_ends_datum_with_one_line_too(
    coco_store: Path, tmp_path: Path
) -> None:
    own = ["--store", coco_store, "--query", "a", "--label", "cta"]
    done = datum("clip_search", tmp_path / "out", *own)
    assert done.returncode != 0
    assert "Nearest: 'cat'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_from_python_errors_are_typed(leaking: tuple[Path, Path]) -> None:
    root, store = leaking
    dataset = Dataset.import_from(str(root), "coco")
    with pytest.raises(ModelMismatchError):
        list(dataset.transform("clip_search", store=str(store), query="a", model="demo"))
    dataset = Dataset.import_from(str(root), "coco")
    with pytest.raises(UsageError, match="no action 'burn'"):
        list(dataset.transform("clip_duplicates", store=str(store), action="burn"))


def sha_of(root: Path, subset: str, name: str) -> bytes:
    return hashlib.sha256((root / "images" / subset / f"{name}.png").read_bytes()).digest()


@pytest.fixture
def leaking(tmp_path: Path) -> tuple[Path, Path]:
    """A COCO dataset and its store: a, b of train and a of val show the same; c does not."""
    root = tmp_path / "data"
    for subset, names in {"train": ["a", "b", "c"], "val": ["a", "d"]}.items():
        write_coco(root, [(f"{name}.png", (48, 40)) for name in names], subset)
        for seed, name in enumerate(names):
            picture(seed).save(root / "images" / subset / f"{name}.png")
    vectors = np.array([[1, 0, 0], [1, 0.1, 0], [0, 1, 0], [1, 0, 0.1], [0, 0, 1]])
    records = [item("train", name, sha=sha_of(root, "train", name)) for name in "abc"]
    records += [item("val", name, sha=sha_of(root, "val", name)) for name in "ad"]
    store = tmp_path / "e.h5"
    file_store(store, vectors, records).close()
    assert len(find_duplicates(store).groups) == 1
    return root, store


@pytest.mark.parametrize(
    ("own", "left"),
    [
        (["--action", "drop"], {"train": "ac", "val": "d"}),
        (["--action", "drop", "--across-splits"], {"train": "ac", "val": "d"}),
        (["--action", "drop", "--keep-split", "val"], {"train": "c", "val": "ad"}),
        ([], {"train": "ac", "val": "d", "duplicated": ["b", "a"]}),
    ],
)
def test_clip_duplicates_writes_a_dataset_that_imports_again(
    leaking: tuple[Path, Path], tmp_path: Path, own: list[str], left: dict[str, str]
) -> None:
    root, store = leaking
    done = datum("clip_duplicates", tmp_path / "out", "--store", store, *own, source=root)
    assert done.returncode == 0, done.stderr
    expected = {(subset, name) for subset, names in left.items() for name in names}
    assert keys(tmp_path / "out") == expected
    images = {
        (path.parent.name, path.stem) for path in (tmp_path / "out" / "images").rglob("*.png")
    }
    assert images == expected


def test_move_leaves_no_group_in_two_splits_and_loses_nothing(
    leaking: tuple[Path, Path], tmp_path: Path
) -> None:
    root, store = leaking
    done = datum(
        "clip_duplicates", tmp_path / "out", "--store", store, "--action", "move", source=root
    )
    assert done.returncode == 0, done.stderr
    assert keys(tmp_path / "out") == {
        *(("train", name) for name in ("a", "a_val", "b", "c")),
        ("val", "d"),
    }
    after = Dataset.import_from(str(tmp_path / "out"), "coco")
    moved = after.get("a_val", "train")
    assert moved.media.bytes == (root / "images" / "val" / "a.png").read_bytes()
    assert all(len(each.annotations) == 1 for each in after)
    content = json.loads((tmp_path / "out" / "annotations" / "instances_train.json").read_text())
    for kind in ("images", "annotations"):
        numbers = [entry["id"] for entry in content[kind]]
        assert len(set(numbers)) == len(numbers) == 4


def test_tags_are_attributes(leaking: tuple[Path, Path]) -> None:
    root, store = leaking
    dataset = Dataset.import_from(str(root), "coco")
    dataset.transform("clip_duplicates", store=str(store), action="tag")
    tags = {f"{each.subset}/{each.id}": each.attributes for each in dataset}
    assert tags["train/a"]["duplicate_group"] == tags["val/a"]["duplicate_group"] == 1
    assert tags["val/a"]["duplicate_of"] == "train/a"
    assert "duplicate_of" not in tags["train/a"]
    assert "duplicate_group" not in tags["val/d"]


def test_drop_may_empty_a_subset(leaking: tuple[Path, Path]) -> None:
    root, store = leaking
    dataset = Dataset.import_from(str(root), "coco")
    dataset.transform("clip_search", store=str(store), item=["val/d"], k=1)
    dataset.transform("clip_duplicates", store=str(store), action="drop")
    assert keys(dataset) == {("val", "d")}
    assert set(dataset.subsets()) == {"val"}
