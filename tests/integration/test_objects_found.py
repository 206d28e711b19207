"""`embed --objects --captions`, then search, duplicates and clip_search of objects: real runs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from datumaro.components.dataset import Dataset

from datumaro_embed import ClipEncoder, ItemKey, ObjectKey, open_store, search
from support import SAMPLE, run

pytestmark = pytest.mark.slow


@pytest.fixture
def store(objects_store: Path) -> Path:
    return objects_store


def test_objects_of_a_label_are_found_by_its_name(
    store: Path, tmp_path: Path, demo_as_used: ClipEncoder
) -> None:
    words = ["search", store, "a banana", "--of", "objects", "-k", "4"]
    done = run("datumaro-embed", *words, "--json", "--save-to", tmp_path / "crops")
    assert done.returncode == 0, done.stderr
    hits = json.loads(done.stdout)["hits"]
    assert [hit["label"] for hit in hits].count("banana") >= 3
    crops = sorted((tmp_path / "crops").iterdir())
    assert len(crops) == 4
    with open_store(store) as opened:
        vectors = opened.objects.embeddings([hit["row"] for hit in hits])
        for hit in hits:
            key = ObjectKey(ItemKey(hit["subset"], hit["id"]), hit["number"])
            assert opened.objects.row(key) == hit["row"]
            assert tuple(hit["box"]) == opened.objects.record(hit["row"]).box
    again = demo_as_used.embed_images(crops)  # each crop alone is what was embedded
    assert ((again * vectors).sum(axis=1) > 0.999).all()


def test_an_object_finds_itself_first_in_three_spellings(store: Path) -> None:
    with open_store(store) as opened:
        row = int(np.flatnonzero(opened.objects.has_vector)[5])
        key = opened.objects.key(row)
    for own in (["--object", key], ["--item", key.item, "--object", key.number]):
        done = run("datumaro-embed", "search", store, "--of", "objects", "-k", "1", *own)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[1].split()[1:3] == ["1.0000", str(key)]
    assert search(store, key, of="objects", k=1)[0].row == row


def test_duplicates_of_objects_cross_the_planted_leaks(store: Path, tmp_path: Path) -> None:
    words = ["duplicates", store, "--of", "objects", "--across-splits"]
    done = run("datumaro-embed", *words, "--csv", tmp_path / "p.csv")
    assert done.returncode == 0, done.stderr
    assert "LEAKAGE" in done.stdout
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    assert {("scene_012", "scene_041")} <= {(row["first_id"], row["second_id"]) for row in rows}
    assert all(row["first_w"] and row["second_number"] for row in rows)


def test_clip_search_keeps_items_that_hold_a_hit(store: Path, tmp_path: Path) -> None:
    own = ["--store", store, "--query", "a banana", "--of", "objects", "-k", "6"]
    out = tmp_path / "out"
    done = run("datum", "transform", "-t", "clip_search", "-o", out, SAMPLE / "coco", "--", *own)
    assert done.returncode == 0, done.stderr
    kept = {(each.subset, each.id) for each in Dataset.import_from(str(out), "coco")}
    hits = search(store, "a banana", of="objects", k=6)
    assert kept == {(hit.key.subset, hit.key.id) for hit in hits}
    assert f"6 objects found, {len(kept)} of 69 items kept" in done.stderr


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ["search", "{bare}", "a cat", "--of", "objects"],
            "has no objects. Embed the dataset with",
        ),
        (["search", "{bare}", "--object", "train/photo_01#0"], "has no objects. Embed the dataset"),
        (["duplicates", "{bare}", "--of", "captions"], "has no captions. Embed the dataset with"),
        (["search", "{store}", "--object", "train/photo_01"], "Write SUBSET/ID#N"),
        (["search", "{store}", "--object", "train/photo_01#99"], "and no number 99"),
        (["search", "{store}", "--of", "objects", "a", "--label", "cta"], "Nearest: 'cat'"),
    ],
)
def test_one_line_where_it_cannot_be(
    store: Path, coco_store: Path, command: list[str], message: str
) -> None:
    done = run("datumaro-embed", *(word.format(bare=coco_store, store=store) for word in command))
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_transforms_of_items_refuse_another_table(store: Path, tmp_path: Path) -> None:
    words = ["-t", "clip_duplicates", "-o", tmp_path / "out", SAMPLE / "coco", "--"]
    done = run("datum", "transform", *words, "--store", store, "--of", "objects")
    assert done.returncode != 0
    assert "unrecognized arguments: --of" in done.stderr
    assert not (tmp_path / "out").exists()
