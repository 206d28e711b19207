"""No bad image stops a run or shifts a row: each has its row, its status and a reason."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from datumaro.components.annotation import Bbox
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image, PointCloud, Video

from datumaro_embed import (
    EmbeddingStore,
    EmbedSummary,
    ItemKey,
    Status,
    embed_dataset,
    open_store,
)
from datumaro_embed.errors import EmbedWarning
from datumaro_embed.tally import counted
from hostile.conftest import CASES
from support import SAMPLE, run, write_coco


def check_rows(store: EmbeddingStore) -> None:
    assert [key.id for key in store.keys()] == sorted(Path(name).stem for name in CASES)
    for name, (_, expected) in CASES.items():
        record = store.item(store.row(ItemKey("train", Path(name).stem)))
        vector = store.embeddings([store.row(record.key)])[0]
        assert record.status.name == expected, (name, record.error)
        assert bool(record.error) == (expected != "OK"), name
        assert float(np.linalg.norm(vector.astype(np.float32))) == pytest.approx(
            1.0 if expected == "OK" else 0.0, abs=1e-3
        ), name
        assert [annotation.coords for annotation in record.annotations] == [(1, 2, 3, 4)]
    assert store.verify() == []


def test_every_case_has_its_row_and_status(
    hostile_coco: Path, tmp_path: Path, demo_as_used
) -> None:
    target = tmp_path / "e.h5"
    done = run("datumaro-embed", "embed", hostile_coco, "--store", target, "--model", "demo")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "15 rows" in done.stdout
    assert "7 failed" in done.stdout
    assert "unreadable: 5" in done.stdout
    with open_store(target) as store:
        check_rows(store)
        good = store.row(ItemKey("train", "p_good"))
        alone = demo_as_used.embed_images([hostile_coco / "images" / "train" / "p_good.jpg"])
        np.testing.assert_array_equal(store.embeddings([good]), alone.astype(np.float16))
    verified = run("datumaro-embed", "verify", target, "--dataset", hostile_coco)
    assert verified.stdout == "15 rows: sound\n"


def test_the_transform_writes_the_same_rows(hostile_coco: Path, tmp_path: Path) -> None:
    """From Python: `datum` itself re-saves media and cannot copy some of these."""
    target = tmp_path / "e.h5"
    dataset = Dataset.import_from(str(hostile_coco), "coco")
    dataset.transform("clip_embed", store=str(target), model="demo")
    assert len(list(dataset)) == len(CASES)
    with open_store(target) as store:
        check_rows(store)


def test_on_error_fail_stops_at_the_first_with_exit_1(hostile_coco: Path, tmp_path: Path) -> None:
    target = tmp_path / "e.h5"
    command = ["embed", hostile_coco, "--store", target, "--model", "demo", "--on-error", "fail"]
    done = run("datumaro-embed", *command)
    assert done.returncode == 1
    kept, error = done.stderr.strip().splitlines()
    assert kept.startswith("1 row is kept for ")
    assert error.startswith("datumaro-embed: train/b_missing: ")
    assert not target.exists()


@pytest.mark.slow
def test_links_out_of_the_dataset_are_rows_without_a_vector_unless_asked_for(
    tmp_path: Path,
) -> None:
    """In YOLO; of COCO, Datumaro's own importer drops such an image (the test below)."""
    root = Path(shutil.copytree(SAMPLE / "yolo", tmp_path / "yolo"))
    image = root / "images" / "train" / "photo_01.jpg"
    image.rename(tmp_path / "elsewhere.jpg")
    image.symlink_to(tmp_path / "elsewhere.jpg")
    command = ["embed", root, "--model", "demo", "--store"]

    refused = run("datumaro-embed", *command, tmp_path / "refused.h5")
    allowed = run("datumaro-embed", *command, tmp_path / "allowed.h5", "--follow-symlinks")

    assert "1 failed" in refused.stdout
    assert "unsafe_path: 1" in refused.stdout
    assert "--follow-symlinks" in refused.stdout
    assert "0 failed" in allowed.stdout
    with open_store(tmp_path / "refused.h5") as store:
        record = store.item(store.row(ItemKey("train", "photo_01")))
        assert (record.status, record.content_sha256) == (Status.UNSAFE_PATH, bytes(32))


def test_a_link_that_datumaro_would_drop_is_a_row(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "data", [("a.jpg", (48, 40)), ("b.jpg", (48, 40))])
    (root / "images" / "train" / "a.jpg").symlink_to("/etc/passwd")
    done = run("datumaro-embed", "embed", root, "--store", tmp_path / "e.h5", "--model", "demo")
    assert done.returncode == 0, done.stderr
    assert "2 rows in" in done.stdout
    assert "out of the dataset folder; --follow-symlinks allows such links (train/a)" in done.stdout


@pytest.mark.parametrize(
    "name", ["../../../../etc/passwd", "/etc/passwd", "x/../../../../etc/passwd"]
)
def test_names_that_datumaro_refuses_are_counted_and_told(tmp_path: Path, name: str) -> None:
    root = write_coco(tmp_path / "data", [(name, (48, 40)), ("good.jpg", (48, 40))])
    shutil.copy(
        SAMPLE / "coco" / "images" / "train" / "photo_01.jpg",
        root / "images" / "train" / "good.jpg",
    )
    target = tmp_path / "e.h5"

    done = run("datumaro-embed", "embed", root, "--store", target, "--model", "demo")

    assert done.returncode == 0, done.stderr
    assert "1 row" in done.stdout
    lost = "image entries whose path leaves the images' folder"
    assert f"{counted(1, lost)} (instances_train.json: {name})" in done.stdout
    with open_store(target) as store:
        assert [key.id for key in store.keys()] == ["good"]
        assert store.provenance["lost_on_import"][lost]["count"] == 1


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "{root}/../outside.png", "{root}/sub/../../outside.png"]
)
def test_paths_of_items_made_in_python_that_leave_the_root(tmp_path: Path, path: str) -> None:
    root = tmp_path / "data"
    root.mkdir()
    shutil.copy(SAMPLE / "coco" / "images" / "train" / "photo_01.jpg", tmp_path / "outside.png")
    item = DatasetItem("a", subset="train", media=Image.from_file(path.format(root=root)))
    dataset = Dataset.from_iterable([item])
    with pytest.warns(EmbedWarning, match="1 of 1 item failed .*1 unsafe_path"):
        store = embed_dataset(dataset, tmp_path / "e.h5", root=root, model="demo")
    with store:
        record = store.item(0)
    assert record.status is Status.UNSAFE_PATH
    assert "leaves the dataset folder" in record.error


def test_media_that_are_no_image_and_callables_that_raise(tmp_path: Path) -> None:
    def broken() -> np.ndarray:
        raise RuntimeError("camera unplugged")

    media = {
        "a_none": None,
        "b_points": PointCloud.from_file("x.pcd"),
        "c_video": Video("x.avi"),
        "d_raises": Image.from_numpy(broken),
        "e_empty": Image.from_numpy(lambda: None),
        "f_fine": Image.from_numpy(np.full((9, 7, 3), 90, np.uint8)),
        "g_garbage": Image.from_bytes(b"\x89PNG\r\n\x1a\ngarbage"),
        "h_flat": Image.from_numpy(np.zeros((0, 5, 3), np.uint8)),
    }
    expected = {
        "a_none": Status.UNSUPPORTED,
        "b_points": Status.UNSUPPORTED,
        "c_video": Status.UNSUPPORTED,
        "d_raises": Status.UNREADABLE,
        "e_empty": Status.MISSING,
        "f_fine": Status.OK,
        "g_garbage": Status.UNREADABLE,
        "h_flat": Status.UNREADABLE,
    }

    class Mixed(list):
        def categories(self):
            return {}

    items = Mixed(
        DatasetItem(id_, media=medium, annotations=[Bbox(0, 0, 1, 1)])
        for id_, medium in media.items()
    )
    summaries: list[EmbedSummary] = []
    with pytest.warns(EmbedWarning, match=r"7 of 8 items failed .*info .*e.h5 --failed` lists"):
        store = embed_dataset(items, tmp_path / "e.h5", model="demo", on_summary=summaries.append)
    (summary,) = summaries
    assert (summary.n_computed, summary.n_failed) == (1, 7)
    with store:
        found = {store.key(row).id: store.item(row) for row in range(store.n_rows)}
    assert {id_: record.status for id_, record in found.items()} == expected
    assert "camera unplugged" in found["d_raises"].error
    assert "PointCloud" in found["b_points"].error


def test_a_dataset_of_only_bad_images_is_still_a_store(tmp_path: Path) -> None:
    root = write_coco(tmp_path / "data", [("a.jpg", (5, 6)), ("b.jpg", (5, 6))])
    done = run("datumaro-embed", "embed", root, "--store", tmp_path / "e.h5", "--model", "demo")
    assert done.returncode == 0
    with open_store(tmp_path / "e.h5") as store:
        assert store.statuses.tolist() == [Status.MISSING] * 2
        assert (store.widths.tolist(), store.heights.tolist()) == ([5, 5], [6, 6])
        assert not store.embeddings().any()
