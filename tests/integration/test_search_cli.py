"""`datumaro-embed search | index | duplicates`, as real processes on the sample data."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from datumaro_embed import ItemKey, open_store, search
from model_support import sign
from support import SAMPLE, run


@pytest.fixture
def store(coco_store: Path, tmp_path: Path) -> Path:
    """Return a copy of the sample's store that a test may put an index beside."""
    return Path(shutil.copy(coco_store, tmp_path / "e.h5"))


def test_search_prints_what_python_finds(store: Path, demo_as_used) -> None:
    done = run("datumaro-embed", "search", store, "a cat", "-k", "4")
    assert done.returncode == 0, done.stderr
    hits = search(store, "a cat", k=4, encoder=demo_as_used)
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    for line, hit in zip(lines[1:], hits, strict=True):
        assert f"{hit.similarity:.4f}  {hit.key}" in line


def test_search_equals_brute_force_on_the_stored_vectors(store: Path, demo_as_used) -> None:
    done = run("datumaro-embed", "search", store, "a red apple", "-k", "69", "--json")
    found = json.loads(done.stdout)
    assert found["exact"]
    with open_store(store) as opened:
        rows = opened.embeddings().astype(np.float64)
    query = demo_as_used.embed_texts(["a red apple"])[0].astype(np.float64)
    cosines = rows @ query / np.linalg.norm(rows, axis=1) / np.linalg.norm(query)
    np.testing.assert_array_equal(
        [hit["row"] for hit in found["hits"]], np.argsort(-cosines, kind="stable")
    )


def test_queries_may_stand_among_flags(store: Path, demo_as_used) -> None:
    image = SAMPLE / "coco" / "images" / "train" / "photo_01.jpg"
    words = ["-k", "3", "a dog", "--not", "a bus", "a cat", "--image", image, "--split", "train"]
    done = run("datumaro-embed", "search", store, *words, "--item", "val/scene_041", "--json")
    assert done.returncode == 0, done.stderr
    expected = search(
        store,
        *("a dog", "a cat", image, ItemKey("val", "scene_041")),
        k=3,
        minus=["a bus"],
        splits=["train"],
        encoder=demo_as_used,
    )
    found = [(hit["subset"], hit["id"]) for hit in json.loads(done.stdout)["hits"]]
    assert found == [(hit.key.subset, hit.key.id) for hit in expected]


def test_save_to_copies_the_right_files(store: Path, tmp_path: Path) -> None:
    words = ["search", store, "--item", "train/photo_01", "-k", "3", "--save-to", tmp_path / "out"]
    done = run("datumaro-embed", *words, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    hits = json.loads(done.stdout)["hits"]
    with open_store(store) as opened:
        copies = sorted((tmp_path / "out").iterdir())
        assert len(copies) == 3
        for rank, (copy, hit) in enumerate(zip(copies, hits, strict=True), start=1):
            assert copy.name.startswith(f"{rank:03}_{hit['similarity']:.4f}_{hit['id']}.")
            digest = hashlib.sha256(copy.read_bytes()).digest()
            assert digest == opened.content_sha256[hit["row"]].tobytes()


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (["a cat"], "2 of 2 images cannot be copied"),
        (["a cat", "--skip-stale"], "None of the images found can be copied"),
        (["--item", "train/photo_01"], "'train/photo_01' cannot be a query: there is no file"),
    ],
)
def test_save_to_tells_what_is_missing(
    store: Path, tmp_path: Path, own: list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    words = ["search", store, *own, "-k", "2", "--save-to", tmp_path / "out"]
    done = run("datumaro-embed", *words, "--media-root", tmp_path / "empty")
    assert done.returncode == 1
    assert message in done.stderr
    assert "there is no file" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_index_is_used_and_says_so(store: Path) -> None:
    exact = run("datumaro-embed", "search", store, "a cat", "--json")
    made = run("datumaro-embed", "index", store)
    assert (made.returncode, made.stdout[:10]) == (0, "69 rows in")
    assert "up to date" in run("datumaro-embed", "index", store).stdout
    assert "69 rows in" in run("datumaro-embed", "index", store, "--rebuild").stdout
    by_index = run("datumaro-embed", "search", store, "a cat", "--json")
    assert not json.loads(by_index.stdout)["exact"]
    assert json.loads(by_index.stdout)["hits"] == json.loads(exact.stdout)["hits"]
    assert (
        run("datumaro-embed", "search", store, "a cat", "--json", "--exact").stdout == exact.stdout
    )


def test_csv_is_written_even_where_the_reader_of_the_print_stops(
    store: Path, tmp_path: Path
) -> None:
    program = f"'{sys.executable}' -m datumaro_embed.cli"
    done = run("bash", "-c", f"{program} duplicates '{store}' --csv '{tmp_path}/p.csv' | head -0")
    assert done.stdout == ""
    assert (tmp_path / "p.csv").read_text().startswith("group,similarity")


def test_duplicates_in_three_forms(store: Path, tmp_path: Path) -> None:
    words = ["duplicates", store, "--threshold", "0.9"]
    table = run("datumaro-embed", *words, "--csv", tmp_path / "pairs.csv")
    assert table.returncode == 0, table.stderr
    content = json.loads(run("datumaro-embed", *words, "--json").stdout)
    assert f"\nLEAKAGE: {content['n_leaks']} pairs" in table.stdout
    with (tmp_path / "pairs.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == content["n_pairs"] == len(content["pairs"])
    assert [float(row["similarity"]) for row in rows] == [p["similarity"] for p in content["pairs"]]
    across = json.loads(run("datumaro-embed", *words, "--across-splits", "--json").stdout)
    assert across["pairs"] == content["pairs"][: content["n_leaks"]]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["search", "{tmp}/nowhere.h5", "a"], "No store at"),
        (["search", "{foreign}", "a"], "not an embedding store"),
        (["search", "{store}"], "There is no query"),
        (["search", "{store}", ""], "A query is empty"),
        (["search", "{store}", "a", "--not", " "], "A query is empty"),
        (["search", "{store}", "a", "-k", "0"], "k must be at least 1, not 0"),
        (["search", "{store}", "a", "--label", "cta"], "Nearest: 'cat'"),
        (["search", "{store}", "a", "--subset", "trian"], "Nearest: 'train'"),
        (["search", "{store}", "a", "--split", "valid"], "Nearest: 'val'"),
        (["search", "{store}", "a", "--not", "a"], "cancel each other out"),
        (["search", "{store}", "--item", "photo_01"], "Write SUBSET/ID"),
        (["search", "{store}", "--item", "train/nope"], "No item 'train/nope'"),
        (["search", "{store}", "--image", "{tmp}/nope.png"], "no image file"),
        (["search", "{store}", "--image", "{store}"], "cannot be embedded"),
        (["search", "{store}", "a", "--model", "nope"], "no model 'nope'"),
        (["search", "{store}", "a", "--save-to", "{sample}"], "already exists. Choose a path"),
        (
            ["search", "{store}", "a", "--save-to", "{tmp}/o", "--media-root", "{tmp}/no"],
            "no folder",
        ),
        (["index", "{tmp}/nowhere.h5"], "No store at"),
        (["duplicates", "{tmp}/nowhere.h5"], "No store at"),
        (["duplicates", "{foreign}"], "not an embedding store"),
        (["duplicates", "{store}", "--threshold", "2"], "above 0 and at most 1, not 2"),
        (["duplicates", "{store}", "--threshold", "0"], "above 0 and at most 1, not 0"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(
    coco_store: Path, tmp_path: Path, command: list[str], message: str
) -> None:
    import h5py

    foreign = tmp_path / "foreign.h5"
    with h5py.File(foreign, "w") as file:
        file["x"] = [1, 2, 3]
    before = sorted(path.name for path in tmp_path.iterdir())
    places = {"tmp": tmp_path, "foreign": foreign, "store": coco_store, "sample": SAMPLE}

    done = run("datumaro-embed", *(word.format(**places) for word in command))

    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stdout == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_another_model_is_refused(store: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    from datumaro_embed.models import resolve_model

    shutil.copytree(resolve_model("demo"), model)
    image = json.loads((model / "model.json").read_text())["image"]
    sign(model, name="other", image={**image, "resample": "bilinear"})
    done = run("datumaro-embed", "search", store, "a cat", "--model", model)
    assert done.returncode == 1
    assert "are of model demo" in done.stderr
    assert "not of other" in done.stderr


def test_help_describes_every_flag() -> None:
    for command in ("search", "index", "duplicates"):
        assert command in run("datumaro-embed", "--help").stdout
    text = run("datumaro-embed", "search", "--help").stdout
    for flag in ("--image", "--item", "--not", "-k", "--label", "--save-to", "--exact", "--json"):
        assert flag in text
