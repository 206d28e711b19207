"""A real `datum transform -t clip_embed` over the sample data, COCO and YOLO."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image as DmImage

from datumaro_embed import Split, Status, open_store
from datumaro_embed.errors import DatasetReadError
from datumaro_embed.vectors import unit_rows
from store_support import row_content
from support import SAMPLE, picture, run, write_coco, write_pictures


def test_store_has_every_item_sorted_with_unit_vectors(coco_store: Path) -> None:
    source = Dataset.import_from(str(SAMPLE / "coco"), "coco")
    with open_store(coco_store) as store:
        assert [(key.subset, key.id) for key in store.keys()] == sorted(
            (item.subset, item.id) for item in source
        )
        assert set(store.statuses.tolist()) == {Status.OK}
        norms = np.linalg.norm(store.embeddings().astype(np.float64), axis=1)
        np.testing.assert_allclose(norms, 1, atol=1e-3)
        assert {
            store.subset_names[code]: split
            for code, split in zip(store.subset_codes.tolist(), store.splits.tolist(), strict=True)
        } == {"train": Split.TRAIN, "val": Split.VAL}
        assert store.verify() == []


def test_items_pass_through_unchanged(coco_store: Path) -> None:
    before = Dataset.import_from(str(SAMPLE / "coco"), "coco")
    after = Dataset.import_from(str(coco_store.parent), "coco")

    def content(dataset: Dataset) -> dict:
        return {
            (item.subset, item.id): (
                item.media.bytes,
                sorted((ann.id, ann.label, *ann.points) for ann in item.annotations),
            )
            for item in dataset
        }

    assert content(after) == content(before)


@pytest.mark.slow
def test_the_written_images_are_those_that_were_embedded(tmp_path: Path) -> None:
    """Datumaro's own media encode a .JPG anew, so the store would not be of the dataset."""
    data, out = tmp_path / "data", tmp_path / "out"
    write_coco(data, [("DSC1.JPG", (48, 40)), ("b.PNG", (48, 40))])
    for number, name in enumerate(("DSC1.JPG", "b.PNG")):
        picture(number).save(data / "images" / "train" / name)
    words = ["transform", "-t", "clip_embed", "-o", out, f"{data}:coco", "--", "--model", "demo"]
    done = run("datum", *words, "--store", tmp_path / "e.h5")
    assert done.returncode == 0, done.stderr
    for path in (data / "images" / "train").iterdir():
        assert (out / "images" / "train" / path.name).read_bytes() == path.read_bytes()


def test_coco_and_yolo_of_the_same_data_give_equal_tables(
    coco_store: Path, yolo_store: Path
) -> None:
    with open_store(coco_store) as coco, open_store(yolo_store) as yolo:
        assert list(coco.keys()) == list(yolo.keys())
        for name in ("width", "height", "split", "status", "content_sha256", "annotations_offsets"):
            columns = [store.column(f"items/{name}") for store in (coco, yolo)]
            np.testing.assert_array_equal(*columns, name)
        coco_names, yolo_names = coco.categories.labels, yolo.categories.labels
        assert [coco_names[label] for label in coco.column("annotations/label")] == [
            yolo_names[label] for label in yolo.column("annotations/label")
        ]
        np.testing.assert_allclose(
            coco.column("annotations/coords"), yolo.column("annotations/coords"), atol=0.01
        )
        cosine = (unit_rows(coco.embeddings()) * unit_rows(yolo.embeddings())).sum(axis=1)
        assert cosine.min() >= 0.9999
        assert coco.kind.fingerprint == yolo.kind.fingerprint


def test_vectors_are_those_of_the_encoder(coco_store: Path, demo_as_used) -> None:
    with open_store(coco_store) as store:
        rows = range(0, store.n_rows, 7)
        paths = [SAMPLE / "coco" / "images" / Path(store.item(row).path) for row in rows]
        alone = np.concatenate([demo_as_used.embed_images([path]) for path in paths])
        np.testing.assert_array_equal(store.embeddings(list(rows)), alone.astype(np.float16))


def test_label_names_are_embedded_through_the_prompt(coco_store: Path, demo_as_used) -> None:
    with open_store(coco_store) as store:
        expected = demo_as_used.embed_texts(
            [f"a photo of a {name}" for name in store.categories.labels]
        )
        np.testing.assert_allclose(store.label_embeddings, expected, atol=1e-6)


def test_plain_h5py_reads_the_documented_paths(coco_store: Path) -> None:
    with h5py.File(coco_store) as file:
        assert file.attrs["format"] == b"datumaro-embed"
        assert file["items/vector"].shape[0] == 69
        assert file["annotations/coords"].shape == (4 * len(file["annotations/label"]),)


def test_from_python_the_transform_is_lazy_and_equal(coco_store: Path, tmp_path: Path) -> None:
    target = tmp_path / "lazy.h5"
    dataset = Dataset.import_from(str(SAMPLE / "coco"), "coco")

    dataset.transform("clip_embed", store=str(target), model="demo")
    assert not target.exists()
    assert len(list(dataset)) == 69

    with open_store(target) as lazy, open_store(coco_store) as store:
        assert row_content(lazy) == row_content(store)


def datum(out: Path, *own: str | Path, source: str | Path = SAMPLE / "coco", fork: bool = True):
    words = ["transform", "-t", "clip_embed", "-o", out, source, "--", *own]
    return run("datum", *words, fork=fork)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (["--store", "{tmp}/e.h5", "--model", "no-such-model"], "no-such-model"),
        (["--store", "{tmp}/e.h5"], "clip-vit-base-patch32"),
        (["--store", "{tmp}", "--model", "demo"], "is a folder"),
        (["--store", "{tmp}/file/e.h5", "--model", "demo"], "not a directory"),
        (["--store", "{tmp}/e.h5", "--model", "demo", "--batch-size", "0"], "--batch-size must be"),
        (["--store", "{tmp}/file", "--model", "demo"], "exists"),
    ],
)
def test_wrong_arguments_end_datum_with_one_line_and_nothing_written(
    tmp_path: Path, own: list[str], message: str
) -> None:
    (tmp_path / "file").write_text("in the way")

    done = datum(tmp_path / "out", *(word.format(tmp=tmp_path) for word in own))

    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "own", [["--model", "demo"], ["--store", "e.h5", "--dtype", "int4"], ["--nonsense"]]
)
def test_wrong_flags_are_usage_errors(tmp_path: Path, own: list[str]) -> None:
    done = datum(tmp_path / "out", *own)
    assert done.returncode == 2
    assert "usage: clip_embed" in done.stderr
    assert not (tmp_path / "out").exists()


def test_error_while_embedding_ends_datum_with_one_line(tmp_path: Path) -> None:
    """A model directory that is found, but damaged, is noticed when the transform runs."""
    done = datum(
        tmp_path / "out",
        "--store",
        tmp_path / "out" / "e.h5",
        "--model",
        "demo",
        "--device",
        "NOSUCH",
    )
    assert done.returncode == 1
    assert "NOSUCH" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_datumaro_warns_of_a_thing_once_however_often_it_is_wrong(tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "data", 6, (8, 8))
    file = root / "annotations" / "instances_train.json"
    file.write_text(file.read_text().replace('"segmentation"', '"other"'), encoding="utf-8")

    # no fork: Datumaro's log is set up before our plugins are imported
    own = ["--store", tmp_path / "e.h5", "--model", "demo"]
    done = datum(tmp_path / "out", *own, source=root, fork=False)

    assert done.returncode == 0, done.stderr
    said = [line.partition(": ")[2] for line in done.stderr.splitlines() if "segmentat" in line]
    assert said == [
        "Missing annotation field 'segmentation'",
        "Missing annotation field 'segmentation' (6 times)",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("place", ["masks/train/a.png", "runs/a.jpg"])
@pytest.mark.parametrize("alone", [False, True])
def test_another_image_of_the_same_name_is_refused(tmp_path: Path, place: str, alone: bool) -> None:
    """Datumaro's YOLO importer takes whichever it finds last; here the wrong one."""
    other, right, wrong = (
        tmp_path / name for name in ("images/b.jpg", "images/train/a.jpg", place)
    )
    for file in (other, right, wrong):
        file.parent.mkdir(parents=True, exist_ok=True)
        DmImage.from_numpy(np.zeros((8, 8, 3), np.uint8)).save(str(file))
    (tmp_path / "data.yaml").write_text("train: images/train\nnames: [cat]\n")
    for file in (wrong, right):
        items = [
            DatasetItem(each.stem, subset="train", media=DmImage.from_file(path=str(each)))
            for each in ([file] if alone else [file, other])
        ]
        dataset = Dataset.from_iterable(items, categories=["cat"])
        dataset.transform("clip_embed", store=str(tmp_path / "e.hdf5"), model="demo")
        # Nothing leads from an item in runs/ alone to the dataset.
        if file == right or (alone and place == "runs/a.jpg"):
            assert len([*dataset]) == len(items)
            (tmp_path / "e.hdf5").unlink()
            continue
        with pytest.raises(DatasetReadError, match="as the image of train/a") as caught:
            list(dataset)
        assert str(right) in str(caught.value)
        assert str(wrong) in str(caught.value)
