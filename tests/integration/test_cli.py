"""The `datumaro-embed` command, as a real process."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from datumaro_embed import ItemKey, open_store
from datumaro_embed.records import AnnotationRecord, ItemRecord
from store_support import begin, row_content
from support import REPO, SAMPLE, picture, run, write_coco, write_pictures


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the COCO sample that a test may change."""
    return Path(shutil.copytree(SAMPLE / "coco", tmp_path / "coco"))


def test_embed_writes_what_the_transform_writes(coco_store: Path, tmp_path: Path) -> None:
    target = tmp_path / "new folder" / "e.h5"
    done = run("datumaro-embed", "embed", SAMPLE / "coco", "--store", target, "--model", "demo")
    assert done.returncode == 0, done.stderr
    assert "69 rows in" in done.stdout
    with open_store(target) as store, open_store(coco_store) as transformed:
        np.testing.assert_array_equal(store.embeddings(), transformed.embeddings())
        # Datumaro's own importer rounds
        np.testing.assert_allclose(
            store.column("annotations/coords"), transformed.column("annotations/coords"), atol=0.01
        )


def test_info_prints_model_counts_and_vectors(coco_store: Path) -> None:
    done = run("datumaro-embed", "info", coco_store, "--items", "2")
    assert done.returncode == 0, done.stderr
    assert "train (train): 48" in done.stdout
    assert "ok: 69" in done.stdout
    assert "label        cat: 4 annotations" in done.stdout
    with open_store(coco_store) as store:
        for row in (0, 1):
            assert store.key(row).id in done.stdout
            assert f"  {store.item(row).path}  " in done.stdout
            assert f"{float(store.embeddings([row])[0][0]):+.4f}" in done.stdout


def test_info_of_a_run_that_has_not_ended_and_of_a_name_that_is_no_utf8(tmp_path: Path) -> None:
    record = ItemRecord(
        ItemKey("train", "a\udcff\x1b[31m"), annotations=(AnnotationRecord("bbox", label=3),)
    )
    with begin(tmp_path / "e.h5", dim=2) as begun:
        begun.append(record, np.array([0, 1], np.float32))
        begun.suspend()
    done = run("datumaro-embed", "info", tmp_path / "e.h5.work", "--items", "1")
    assert done.returncode == 3, done.stderr
    assert "e.h5.work is unfinished: 1 row read" in done.stderr
    assert "label 3: 1" in done.stdout
    assert "a\\udcff\\x1b[31m" in done.stdout


@pytest.mark.parametrize("name", ["coco", "yolo"])
def test_verify_passes_against_both_formats(coco_store: Path, name: str) -> None:
    done = run("datumaro-embed", "verify", coco_store, "--dataset", SAMPLE / name)
    assert (done.returncode, done.stdout) == (0, "69 rows: sound\n")


def edit_annotations(copy: Path, change) -> str:
    """Apply ``change`` to the first train annotation; return the item's name."""
    path = copy / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    annotation = content["annotations"][0]
    change(annotation)
    path.write_text(json.dumps(content))
    (name,) = [i["file_name"] for i in content["images"] if i["id"] == annotation["image_id"]]
    return f"train/{Path(name).stem}"


def move_box(annotation: dict) -> None:
    annotation["bbox"][0] += 0.5


def change_label(annotation: dict) -> None:
    annotation["category_id"] = annotation["category_id"] % 40 + 1


@pytest.mark.parametrize("change", [move_box, change_label])
def test_verify_names_the_item_whose_annotation_changed(
    coco_store: Path, copy: Path, change
) -> None:
    item = edit_annotations(copy, change)
    done = run("datumaro-embed", "verify", coco_store, "--dataset", copy)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [item, item, "69 rows"]


def test_verify_names_the_item_whose_image_changed(coco_store: Path, copy: Path) -> None:
    path = copy / "images" / "val" / "scene_041.jpg"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    done = run("datumaro-embed", "verify", coco_store, "--dataset", copy)
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == "val/scene_041: the image's bytes have changed"


def test_verify_names_the_flag_for_links(coco_store: Path, copy: Path, tmp_path: Path) -> None:
    path = copy / "images" / "val" / "scene_041.jpg"
    path.rename(tmp_path / "cached")
    path.symlink_to(tmp_path / "cached")
    words = ["verify", coco_store, "--dataset", f"{copy}:coco"]
    done = run("datumaro-embed", *words)
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == (
        "val/scene_041: the image is not read: a symbolic link leads out of the dataset folder; "
        "--follow-symlinks allows such links"
    )
    assert run("datumaro-embed", *words, "--follow-symlinks").returncode == 0


def test_verify_names_items_added_and_removed(coco_store: Path, copy: Path) -> None:
    path = copy / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    image = next(entry for entry in content["images"] if entry["file_name"] == "photo_01.jpg")
    image["file_name"] = "photo_1000.jpg"
    path.write_text(json.dumps(content))
    done = run("datumaro-embed", "verify", coco_store, "--dataset", copy)
    assert done.returncode == 1
    assert "train/photo_01: in the store, not in the dataset" in done.stdout
    assert "train/photo_1000: in the dataset, not in the store" in done.stdout


def test_verify_finds_a_changed_byte_of_the_store(coco_store: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.h5"
    data = bytearray(coco_store.read_bytes())
    with open_store(coco_store) as store:
        place = data.find(store.embeddings([3]).tobytes())
    data[place + 1] ^= 0x04
    broken.write_bytes(data)
    done = run("datumaro-embed", "verify", broken)
    assert done.returncode == 1
    assert "items/vector: rows 0 to 68 differ from their checksum" in done.stdout


def test_verify_and_repair_name_the_flag_of_a_damaged_file(
    coco_store: Path, tmp_path: Path
) -> None:
    made = tmp_path / "directory"
    model = ["--model", "demo", "--commit-rows", "40"]
    done = run("datumaro-embed", "embed", SAMPLE / "coco", "--store", f"{made}/", *model)
    assert done.returncode == 0, done.stderr
    segment = sorted((made / "segments").iterdir())[0]
    segment.write_bytes(segment.read_bytes()[:20_000])
    broken = tmp_path / "broken.h5"
    broken.write_bytes(coco_store.read_bytes()[:20_000])
    for command in (
        ["verify", made],
        ["repair", made, "-o", tmp_path / "rest.h5"],
        ["repair", broken, "-o", tmp_path / "none.h5"],
    ):
        done = run("datumaro-embed", *command)
        assert "embed again with --restart" in done.stdout + done.stderr, command


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["embed", "{tmp}/nowhere", "--store", "{tmp}/e.h5", "--model", "demo"], "no such dataset"),
        (
            ["embed", "{tmp}/empty", "--store", "{tmp}/e.h5", "--model", "demo"],
            "no known dataset format",
        ),
        (["embed", "{sample}:nonsense", "--store", "{tmp}/e.h5", "--model", "demo"], "'nonsense'"),
        (["embed", "{sample}:voc", "--store", "{tmp}/e.h5", "--model", "demo"], "voc"),
        (["embed", "{tmp}/none", "--store", "{tmp}/e.h5", "--model", "demo"], "no items"),
        (["embed", "{sample}", "--store", "{tmp}/e.h5", "--model", "nope"], "nope"),
        (["embed", "{sample}", "--store", "{tmp}/e.h5"], "--model demo"),
        (["embed", "{sample}", "--store", "/proc/e.h5", "--model", "demo"], "/proc/e.h5"),
        (["info", "{tmp}/nowhere.h5"], "nowhere.h5"),
        (["verify", "{sample}/annotations/instances_val.json"], "instances_val.json"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(
    tmp_path: Path, command: list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    write_coco(tmp_path / "none", [])
    before = sorted(path.name for path in tmp_path.iterdir())

    words = [word.format(tmp=tmp_path, sample=SAMPLE / "coco") for word in command]
    done = run("datumaro-embed", *words)

    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_the_same_command_again_re_uses_every_vector(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "data", [("a.png", (48, 40))])
    picture(1).save(root / "images" / "train" / "a.png")
    command = ["datumaro-embed", "embed", root, "--store", tmp_path / "e.h5", "--model", "demo"]
    assert run(*command).returncode == 0
    with open_store(tmp_path / "e.h5") as store:
        first = row_content(store)

    again = run(*command)
    assert again.returncode == 0
    assert "0 computed, 1 reused, 0 failed" in again.stdout
    assert "has 1 row; unchanged images are not embedded again" in again.stderr

    anew = run(*command, "--restart")
    assert anew.returncode == 0
    assert "1 computed, 0 reused, 0 failed" in anew.stdout
    with open_store(tmp_path / "e.h5") as store:
        assert row_content(store) == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "e.h5"]


@pytest.mark.slow
def test_ctrl_c_commits_what_is_embedded_and_says_how_to_go_on(tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "data", 200, (64, 48))
    store = tmp_path / "e.h5"
    words = ["embed", root, "--store", store, "--model", "demo", "--commit-rows", "16"]
    process = subprocess.Popen(
        [sys.executable, "-m", "datumaro_embed.cli", *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 300
    while not (tmp_path / "e.h5.work" / "next.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors
    assert "Run the same command again to continue." in errors
    assert "Stopped by SIGINT; nothing is lost" in errors
    assert not store.exists()
    with open_store(tmp_path / "e.h5.work", partial=True) as so_far:
        n_rows = so_far.n_rows
        assert so_far.verify() == []
    assert 16 <= n_rows < 200

    done = run("datumaro-embed", *words)
    assert done.returncode == 0, done.stderr
    assert f"{n_rows:,} rows are kept from an earlier run" in done.stderr
    assert f"{200 - n_rows:,} computed, {n_rows:,} reused, 0 failed" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "e.h5"]


@pytest.mark.slow
def test_a_directory_of_shards_is_a_store(tmp_path: Path) -> None:
    words = ["embed", SAMPLE / "coco", "--store", f"{tmp_path}/s/", "--model", "demo"]
    assert run("datumaro-embed", *words, "--commit-rows", "16").returncode == 0
    verified = run("datumaro-embed", "verify", tmp_path / "s", "--dataset", SAMPLE / "yolo")
    assert (verified.returncode, verified.stdout) == (0, "69 rows: sound\n")
    assert "ok: 69" in run("datumaro-embed", "info", tmp_path / "s").stdout


def test_help_names_every_command() -> None:
    done = run("datumaro-embed", "--help")
    assert done.returncode == 0
    for command in ("embed", "info", "verify", "merge", "repair", "compact", "export-model"):
        assert command in done.stdout
    assert run("datumaro-embed").returncode == 2


def test_readme_and_version_agree() -> None:
    done = run("datumaro-embed", "--version")
    assert done.stdout.strip() in (REPO / "CHANGELOG.md").read_text()
