"""What the demo model finds in the sample data: concepts, the planted duplicates, the leak."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from datumaro.components.dataset import Dataset

from datumaro_embed import ItemKey, find_duplicates, open_store, search
from datumaro_embed.models import resolve_model
from support import SAMPLE, run

SOURCE = json.loads((resolve_model("demo") / "model.json").read_text())["source"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        SOURCE == "placeholder-random", reason="the demo model here has random weights"
    ),
]

# The labels that most images show.
N_QUERIES = 30
PLANTED = {
    (ItemKey("train", "photo_02"), ItemKey("val", "photo_06")),
    (ItemKey("train", "scene_012"), ItemKey("val", "scene_041")),
}


def images_of(store: Path) -> dict[str, int]:
    """Give for each label the number of images that show it."""
    with open_store(store) as opened:
        labels = opened.categories.labels
        shown = [{ann.label for ann in opened.item(row).annotations} for row in range(len(opened))]
    return {name: sum(code in seen for seen in shown) for code, name in enumerate(labels)}


def shares(store: Path, hits_of: Callable[[str], list]) -> tuple[float, float]:
    """Share of queries whose first hit shows the concept, and one of whose first three does."""
    counts = images_of(store)
    concepts = sorted(counts, key=lambda name: (-counts[name], name))[:N_QUERIES]
    assert len(concepts) == N_QUERIES
    shows = [[concept in hit.labels for hit in hits_of(concept)[:3]] for concept in concepts]
    return sum(first for first, *_ in shows) / N_QUERIES, sum(map(any, shows)) / N_QUERIES


def test_concepts_are_found_by_text(coco_store: Path, demo_as_used) -> None:
    first, of_three = shares(
        coco_store,
        lambda name: search(coco_store, f"a photo of a {name}", k=3, encoder=demo_as_used),
    )
    print(f"first hit {first:.2f}, one of three {of_three:.2f}")
    assert first >= 0.60
    assert of_three >= 0.85


def test_planted_duplicates_are_found_and_no_others(coco_store: Path) -> None:
    report = find_duplicates(coco_store)
    assert {(pair.first, pair.second) for pair in report.pairs} == PLANTED
    assert {(pair.first, pair.second) for pair in report.leaks} == PLANTED
    assert len(report.groups) == 2
    assert not any(group.conflicting_labels for group in report.groups)


def test_an_item_finds_its_twin(coco_store: Path) -> None:
    for first, second in PLANTED:
        assert [hit.key for hit in search(coco_store, first, k=2)] == [first, second]


@pytest.mark.parametrize("action", ["drop", "move"])
def test_the_leak_is_closed(coco_store: Path, tmp_path: Path, action: str) -> None:
    out = tmp_path / "out"
    own = ["--", "--store", coco_store, "--action", action]
    done = run("datum", "transform", "-t", "clip_duplicates", "-o", out, SAMPLE / "coco", *own)
    assert done.returncode == 0, done.stderr
    again = run("datumaro-embed", "embed", out, "--store", tmp_path / "e.h5", "--model", "demo")
    assert again.returncode == 0, again.stderr
    report = find_duplicates(tmp_path / "e.h5")
    assert report.leaks == ()
    assert report.n_rows == (69 if action == "move" else 67)
    assert len(report.groups) == (2 if action == "move" else 0)
    assert len(Dataset.import_from(str(out), "coco")) == report.n_rows
