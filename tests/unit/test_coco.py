"""COCO datasets that Datumaro's importer reads wrongly, in part or not at all."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datumaro.components import annotation as dm
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image
from pycocotools import mask as coco_mask

from adapter_support import (
    CATEGORIES,
    as_datumaro,
    coco_box,
    coco_image,
    described,
    draw,
    import_all,
    lost,
    records,
    write_coco_dataset,
    write_document,
)
from datumaro_embed import open_store
from datumaro_embed.adapter import ImportedDataset, SourceDataset, import_dataset
from datumaro_embed.encoders import FakeEncoder
from datumaro_embed.errors import DatasetReadError
from datumaro_embed.pipeline import EmbedOptions, embed_source
from datumaro_embed.records import Status
from support import SAMPLE

ANNOTATIONS = "annotations/instances_train.json"
TRIANGLE = [1.0, 2.0, 11.0, 2.0, 11.0, 22.0]
KEYPOINTS = [3, 4, 2, 5, 6, 1]
PEOPLE = [{"id": 1, "name": "cat", "keypoints": ["nose", "tail"], "skeleton": [[1, 2]]}]


def rle(size: tuple[int, int] = (64, 96)) -> dict[str, Any]:
    height, width = size
    counts = [10, 20, height * width - 30]
    encoded = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return {"size": [height, width], "counts": encoded["counts"].decode()}


# --- sound files: what Datumaro gives ---------------------------------------------------------


def sound(task: str) -> list[dict[str, Any]]:
    if task == "captions":
        return [{"id": 7, "image_id": 1, "caption": "a cat"}, *captions(2, 2)]
    if task == "labels":
        return [{"id": 7, "image_id": 1, "category_id": 2}]
    if task == "panoptic":
        return [
            {
                "image_id": 1,
                "file_name": "1.png",
                "segments_info": [{"id": 3, "category_id": 1, "iscrowd": 1}],
            }
        ]
    if task == "person_keypoints":
        return [coco_box(4, 1, keypoints=KEYPOINTS, num_keypoints=2, segmentation=[TRIANGLE])]
    uncompressed = {"size": [64, 96], "counts": [10, 20, 64 * 96 - 30]}
    return [
        coco_box(1, 1, 2, segmentation=[TRIANGLE, [0, 0, 5, 0, 5, 5, 0, 5]], score=0.5),
        coco_box(2, 1, 1, segmentation=rle(), iscrowd=1),
        coco_box(3, 1, 1, segmentation=uncompressed, attributes={"occluded": True, "n": 3}),
        coco_box(9, 2, 0, bbox=[0.125, 1.5, 2, 3]),
        coco_box(10, 2, 2, bbox=[], segmentation=[TRIANGLE]),
    ]


def captions(image: int, n_captions: int) -> list[dict[str, Any]]:
    return [
        {"id": 100 + image * 10 + number, "image_id": image, "caption": f"caption {number}"}
        for number in range(n_captions)
    ]


@pytest.mark.parametrize(
    "task", ["instances", "person_keypoints", "captions", "labels", "panoptic", "stuff"]
)
@pytest.mark.parametrize("detected", [True, False])
def test_what_is_sound_is_what_datumaro_gives(tmp_path: Path, task: str, detected: bool) -> None:
    images = [coco_image(1, "1.jpg"), coco_image(2, "deep/2.png"), coco_image(5, "none.jpg")]
    draw(tmp_path / "images/val/1.jpg", tmp_path / "images/val/deep/2.png")
    draw(tmp_path / f"annotations/{task}_val/1.png")
    categories = [*reversed(CATEGORIES), {"id": 90, "name": "cow", "supercategory": "beast"}]
    if task == "person_keypoints":
        categories = PEOPLE
    write_document(tmp_path / f"annotations/{task}_val.json", images, sound(task), categories)

    imported = import_dataset(str(tmp_path) if detected else f"{tmp_path}:coco_{task}")

    theirs = SourceDataset(Dataset.import_from(str(tmp_path), f"coco_{task}"), root=tmp_path)
    ours = as_datumaro(imported.source)
    assert ours == as_datumaro(theirs)
    assert sum(len(record.annotations) for record in ours[1]) >= 1
    assert lost(imported) == {}


def test_the_sample_is_what_datumaro_gives() -> None:
    root = SAMPLE / "coco"
    theirs = SourceDataset(Dataset.import_from(str(root)), root=root)
    ours = import_all(root)
    assert as_datumaro(ours.source) == as_datumaro(theirs)
    assert ours.source.root == theirs.root


def test_datumaros_own_list_of_labels_says_their_order(tmp_path: Path) -> None:
    root = write_coco_dataset(tmp_path, [coco_image(1, "1.jpg")], [coco_box(1, 1, 2)])
    meta = {"label_map": {"0": "dog", "1": "cat"}, "segmentation_colors": []}
    (root / "dataset_meta.json").write_text(json.dumps(meta))
    imported = import_all(root)
    assert imported.source.categories.labels == ("dog", "cat")
    assert described(imported) == {"train/1": [("bbox", "dog")]}  # category 2 of the file


# --- images ------------------------------------------------------------------------------------


def test_two_images_of_one_id_are_two_rows(tmp_path: Path) -> None:
    images = [coco_image(1, "a.jpg"), coco_image(1, "b.jpg"), coco_image(2, "c.jpg")]
    root = write_coco_dataset(tmp_path, images, [coco_box(1, 1), coco_box(2, 2, 2)])
    imported = import_all(root)
    assert described(imported) == {"train/a": [], "train/b": [], "train/c": [("bbox", "dog")]}
    assert lost(imported) == {"annotations whose image id belongs to two images": 1}


def test_an_image_listed_twice_is_one_row_with_all_annotations(tmp_path: Path) -> None:
    images = [coco_image(1, "a.jpg"), coco_image(7, "a.jpg"), coco_image(1, "a.jpg")]
    root = write_coco_dataset(tmp_path, images, [coco_box(1, 1, 1), coco_box(2, 7, 2)])
    imported = import_all(root)
    assert described(imported) == {"train/a": [("bbox", "cat"), ("bbox", "dog")]}
    assert lost(imported) == {"images listed twice, read as one": 2}
    assert records(imported)["train/a"].attributes["id"] == 1


def test_two_extensions_are_two_rows(tmp_path: Path) -> None:
    images = [coco_image(1, "a.png"), coco_image(2, "a.jpg"), coco_image(3, "x/a.jpg")]
    root = write_coco_dataset(tmp_path, images, [coco_box(1, 1, 1), coco_box(2, 2, 2)])
    imported = import_all(root)
    assert lost(imported) == {}
    assert {key: record.path for key, record in records(imported).items()} == {
        "train/a": "images/train/a.jpg",
        "train/a.png": "images/train/a.png",
        "train/x/a": "images/train/x/a.jpg",
    }
    assert described(imported)["train/a.png"] == [("bbox", "cat")]


@pytest.mark.parametrize(
    ("ids", "of_annotations", "attributes"),
    [
        (("1", "2"), ("1", "2"), (1, 2)),
        ((1.0, 2.0), (1, 2), (1, 2)),
        ((1, 2), ("1", 2.0), (1, 2)),
        (("a", "007"), ("a", "007"), ("a", "007")),
        ((0, -5), (0, -5), (0, -5)),
    ],
)
def test_ids_may_be_text_or_floats(
    tmp_path: Path, ids: tuple[Any, Any], of_annotations: tuple[Any, Any], attributes: Any
) -> None:
    images = [coco_image(ids[0], "a.jpg"), coco_image(ids[1], "b.jpg")]
    boxes = [coco_box("x1", of_annotations[0], 1), coco_box("x2", of_annotations[1], 2)]
    imported = import_all(write_coco_dataset(tmp_path, images, boxes))
    assert described(imported) == {"train/a": [("bbox", "cat")], "train/b": [("bbox", "dog")]}
    assert lost(imported) == {}
    assert tuple(record.attributes["id"] for record in records(imported).values()) == attributes
    assert [r.annotations[0].ann_id for r in records(imported).values()] == [1, 2]


def test_images_without_an_id_are_rows(tmp_path: Path) -> None:
    images = [coco_image(None, "a.jpg"), coco_image(True, "b.jpg"), coco_image(1.5, "c.jpg")]
    imported = import_all(write_coco_dataset(tmp_path, images, [coco_box(1, None)]))
    assert described(imported) == {"train/a": [], "train/b": [], "train/c": []}
    assert lost(imported) == {"annotations without an image id": 1}


def test_image_entries_that_name_no_file_are_counted(tmp_path: Path) -> None:
    root = write_coco_dataset(tmp_path, [coco_image(1, "a.jpg")])
    more = [{"id": 2}, "b.jpg", coco_image(3, "../a.jpg"), coco_image(4, "/etc/b.jpg")]
    write_document(root / ANNOTATIONS, [coco_image(1, "a.jpg"), *more])
    assert lost(import_all(root)) == {
        "image entries without a file name": 2,
        "image entries whose path leaves the images' folder": 2,
    }


def test_file_names_as_written_elsewhere(tmp_path: Path) -> None:
    root = write_coco_dataset(tmp_path, [coco_image(1, n) for n in ("a.jpg", "x/b.jpg", "c.jpg")])
    names = ["a.jpg", "./a.jpg", "x\\b.jpg", "x/../c.jpg", "q" * 300 + ".jpg", "d\0.jpg", "c.jpg"]
    write_document(root / ANNOTATIONS, [coco_image(n, name) for n, name in enumerate(names)])
    imported = import_dataset(str(root))
    paths = {str(item.key): item.path for item in imported.source}
    assert paths == {
        "train/a": "images/train/a.jpg",
        "train/c": "images/train/c.jpg",
        "train/d\0": "images/train/d\0.jpg",
        "train/" + "q" * 300: f"images/train/{'q' * 300}.jpg",
        "train/x/b": "images/train/x/b.jpg",
    }
    assert lost(imported) == {
        "images listed twice, read as one": 1,
        "image entries whose path leaves the images' folder": 1,
    }


def test_sizes_that_are_none_are_not_declared(tmp_path: Path) -> None:
    sizes = [(-5, 5), ("96", 64.0), (None, 64), (0, 0), ("wide", 1)]
    names = [f"{n}.jpg" for n in range(len(sizes))]
    images = [
        coco_image(n, names[n], width=width, height=height)
        for n, (width, height) in enumerate(sizes)
    ]
    imported = import_all(write_coco_dataset(tmp_path, images))
    records = [item.record(None, 1, bytes(32)) for item in imported.source]
    declared = [(record.width, record.height) for record in records]
    assert declared == [(0, 0), (96, 64), (0, 0), (0, 0), (0, 0)]


# --- categories --------------------------------------------------------------------------------


def test_category_zero_keeps_its_label(tmp_path: Path) -> None:
    categories = [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]
    boxes = [coco_box(1, 1, 0), coco_box(2, 1, 1)]
    root = write_coco_dataset(tmp_path, [coco_image(1, "a.jpg")], boxes, categories)
    assert described(import_all(root)) == {"train/a": [("bbox", "cat"), ("bbox", "dog")]}


@pytest.mark.parametrize(
    ("categories", "named", "reason"),
    [
        ([{"id": -3, "name": "cat"}, {"id": 900, "name": "dog"}], {-3: "cat", 900: "dog"}, None),
        ([{"id": "1", "name": "cat"}, {"id": 2.0, "name": "dog"}], {1: "cat", "2": "dog"}, None),
        ([{"id": "k", "name": "cat"}, {"id": 1, "name": "dog"}], {"k": "cat", 1: "dog"}, None),
        (
            [{"id": 1, "name": 7}, {"id": 2, "name": "7"}],
            {1: "7", 2: "7"},
            "categories with the same name",
        ),
        ([{"id": 5}, {"id": 6, "name": ""}], {5: "5", 6: "6"}, "categories without a name"),
        ([{"id": 1, "name": "cat"}] * 2, {1: "cat"}, None),
        (
            [{"name": "cat"}, "dog", {"id": 3, "name": "cow"}],
            {3: "cow"},
            "categories without an id",
        ),
    ],
)
def test_labels_are_the_names_of_the_categories(
    tmp_path: Path, categories: list[Any], named: dict[Any, str], reason: str | None
) -> None:
    boxes = [coco_box(n, n, category) for n, category in enumerate(named, start=1)]
    images = [coco_image(n, f"{n}.jpg") for n in range(1, len(named) + 1)]
    imported = import_all(write_coco_dataset(tmp_path, images, boxes, categories))
    assert [found for [(_, found)] in described(imported).values()] == [*named.values()]
    assert [text.partition(",")[0] for text in lost(imported)] == ([reason] if reason else [])


@pytest.mark.parametrize(
    ("category", "reason"),
    [
        (1, "two categories have this id"),
        (77, "category not declared"),
        (None, "no category"),
    ],
)
def test_a_box_of_unknown_category_remains(tmp_path: Path, category: Any, reason: str) -> None:
    categories = [{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}, {"id": 2, "name": "cow"}]
    boxes = [coco_box(1, 1, category), coco_box(2, 1, 2)]
    root = write_coco_dataset(tmp_path, [coco_image(1, "a.jpg")], boxes, categories)
    imported = import_all(root)
    assert sorted(described(imported)["train/a"], key=str) == [("bbox", "cow"), ("bbox", None)]
    assert lost(imported) == {f"annotations left without a label: {reason}": 1}


def test_categories_that_differ_between_subsets_go_by_name(tmp_path: Path) -> None:
    root = write_coco_dataset(tmp_path, [coco_image(1, "a.jpg")], [coco_box(1, 1, 1)])
    swapped = [{"id": 1, "name": "dog"}, {"id": 2, "name": "cow"}]
    draw(root / "images/val/b.jpg")
    boxes = [coco_box(1, 1, 1), coco_box(2, 1, 2)]
    write_document(
        root / "annotations/instances_val.json", [coco_image(1, "b.jpg")], boxes, swapped
    )
    imported = import_all(root)
    assert imported.source.categories.labels == ("cat", "dog", "cow")
    assert described(imported) == {
        "train/a": [("bbox", "cat")],
        "val/b": [("bbox", "cow"), ("bbox", "dog")],
    }


# --- annotations -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "missing", [["iscrowd"], ["area"], ["segmentation"], ["id"], ["iscrowd", "area", "id"]]
)
def test_boxes_need_no_more_than_a_box(
    tmp_path: Path, missing: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    boxes = [coco_box(n, 1 + n % 2, 1 + n % 2) for n in range(1, 9)]
    for box in boxes:
        for field in missing:
            del box[field]
    root = write_coco_dataset(tmp_path, [coco_image(1, "a.jpg"), coco_image(2, "b.jpg")], boxes)
    with caplog.at_level(logging.WARNING):
        imported = import_all(root)
    assert described(imported) == {
        "train/a": [("bbox", "cat")] * 4,
        "train/b": [("bbox", "dog")] * 4,
    }
    assert lost(imported) == {}
    assert caplog.messages == []
    numbers = {a.ann_id for record in records(imported).values() for a in record.annotations}
    assert numbers == {*range(1, 9)}


def test_what_has_another_type_is_read_or_counted(tmp_path: Path) -> None:
    boxes = [
        coco_box(1, 1, iscrowd="1"),
        coco_box(2, 1, bbox=["5", "6", "7", "8"]),
        coco_box(3, 1, attributes=["bad"], score="0.5"),
        coco_box(4, 1, bbox=[1, 2, 3]),
        coco_box(5, 1, bbox=[1, "wide", 3, 4], segmentation=[TRIANGLE]),
        coco_box(6, 1, segmentation=[[1, 2, 3, 4]]),
        coco_box(7, 1, segmentation={"size": [64, 96]}),
        coco_box(8, 1, bbox=None, segmentation=None),
        ["not", "an", "object"],
    ]
    imported = import_all(write_coco_dataset(tmp_path, [coco_image(1, "a.jpg")], boxes))
    found = {(a.ann_id, a.type): a for a in records(imported)["train/a"].annotations}
    assert set(found) == {
        *((number, "bbox") for number in (1, 2, 3, 6, 7)),
        (5, "polygon"),
    }
    assert found[1, "bbox"].attributes["is_crowd"] is True
    assert found[2, "bbox"].coords == (5, 6, 7, 8)
    assert found[3, "bbox"].attributes["score"] == 0.5
    assert lost(imported) == {
        "segmentations that cannot be read": 2,
        "annotations that cannot be read": 1,
        "annotations without a box or segmentation": 1,
        "boxes that cannot be read": 1,
        "annotations that are not a JSON object": 1,
    }


def test_orphans_are_counted_and_not_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    boxes = [coco_box(1, 1), *(coco_box(n, n) for n in range(2, 500)), coco_box(500, None)]
    root = write_coco_dataset(tmp_path, [coco_image(1, "a.jpg")], boxes)
    with caplog.at_level(logging.WARNING):
        imported = import_all(root)
    assert caplog.messages == []
    orphans, without_id = imported.losses
    assert (orphans.text, orphans.count) == ("annotations of images that are not listed", 498)
    assert orphans.examples[0] == "instances_train.json: annotation 499, image 499"
    assert (without_id.text, without_id.count) == ("annotations without an image id", 1)


def test_objects_of_one_id_stay_two_objects(tmp_path: Path) -> None:
    boxes = [coco_box(3, 1, segmentation=[TRIANGLE]), coco_box(3, 1, 2, segmentation=[TRIANGLE])]
    imported = import_all(write_coco_dataset(tmp_path, [coco_image(1, "a.jpg")], boxes))
    groups = {(a.group, a.label) for a in records(imported)["train/a"].annotations}
    assert groups == {(3, 0), (1, 1)}
    assert lost(imported) == {"annotations with a duplicate id, renumbered": 1}


# --- which files -------------------------------------------------------------------------------


def write_coco_2017(root: Path) -> None:
    """Write the layout of the official archives: two images of each split, all annotations."""
    for split, first in (("train2017", 1), ("val2017", 11)):
        images = [coco_image(first + n, f"{first + n:012}.jpg") for n in range(2)]
        draw(*(root / split / entry["file_name"] for entry in images))
        boxes = [
            coco_box(1, first, 1, segmentation=[TRIANGLE]),
            coco_box(2, first, 2),
            coco_box(3, first + 1, 1, bbox=[5, 5, 5, 5]),
        ]
        people = [{**box, "keypoints": KEYPOINTS, "num_keypoints": 2} for box in boxes[::2]]
        written = captions(first, 2) + captions(first + 1, 1)
        for task, entries, categories in (
            ("instances", boxes, CATEGORIES),
            ("person_keypoints", people, PEOPLE),
            ("captions", written, []),
        ):
            file = root / f"annotations/{task}_{split}.json"
            write_document(file, images, entries, categories)


def test_the_official_folder_is_read_whole(tmp_path: Path) -> None:
    write_coco_2017(tmp_path)
    imported = import_all(tmp_path)
    assert lost(imported) == {}
    assert imported.source.categories.labels == ("cat", "dog")
    assert "points" in imported.source.categories.full
    first = described(imported)["train2017/000000000001"]
    box, polygon, points = ("bbox", "cat"), ("polygon", "cat"), ("points", "cat")
    assert first == [box, ("bbox", "dog"), ("caption", None), ("caption", None), points, polygon]
    groups = {
        record.type: record.group
        for record in records(imported)["val2017/000000000012"].annotations
        if record.type != "caption"
    }
    assert groups == {"bbox": 3, "points": 3}  # one object
    assert [str(item.key) for item in imported.source] == [
        "train2017/000000000001",
        "train2017/000000000002",
        "val2017/000000000011",
        "val2017/000000000012",
    ]


def test_the_official_folder_is_embedded_with_its_captions(tmp_path: Path) -> None:
    write_coco_2017(tmp_path / "COCO2017")
    (tmp_path / "COCO2017/val2017/000000000012.jpg").unlink()
    imported = import_dataset(str(tmp_path / "COCO2017"))
    options = EmbedOptions(captions=True, workers=1)
    summary = embed_source(
        imported.source, tmp_path / "x.h5", options, losses=imported.losses, encoder=FakeEncoder()
    )
    assert summary.captions.n_computed == 6
    assert {status: reasons.total for status, reasons in summary.failures.items()} == {
        Status.MISSING: 1
    }
    with open_store(tmp_path / "x.h5") as store:
        item = store.item(0)
    assert len(item.annotations) == 6
    # Two objects: the one with keypoints and polygon, and the other box.
    assert len({a.group for a in item.annotations if a.type != "caption"}) == 2


def test_stuff_and_panoptic_annotations_beside_instances_are_named(tmp_path: Path) -> None:
    write_coco_2017(tmp_path)
    for task in ("stuff", "panoptic"):
        write_document(tmp_path / f"annotations/{task}_train2017.json", [coco_image(1, "x.jpg")])
    imported = import_all(tmp_path)
    (reason,) = imported.losses
    assert (reason.text, reason.count) == (
        "annotation files of another task, not read",
        2,
    )
    assert reason.examples[1] == (
        f"annotations/stuff_train2017.json: use {tmp_path}:coco_stuff to read it"
    )


MASK = np.pad(np.ones((6, 16), np.uint8), ((3, 55), (4, 76)))
BOX = dm.Bbox(1, 2, 10, 20, label=0, id=1, group=1)
OBJECTS: dict[str, list[dm.Annotation]] = {
    "boxes": [BOX],
    "polygons": [dm.Polygon(TRIANGLE, label=0, id=1, group=1)],
    "masks": [dm.Mask(MASK, label=1, id=1, group=1), dm.Bbox(4, 3, 16, 6, label=1, id=2, group=2)],
    "keypoints": [BOX, dm.Points([1, 2, 3, 4], [2, 2], label=0, id=1, group=1)],
    "captions": [BOX, dm.Caption("a cat")],
    "nothing": [],
}


@pytest.mark.parametrize("name", OBJECTS)
def test_what_datumaro_has_saved_as_coco_is_read_whole(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It writes each object as instances and as stuff, and masks as panoptic segments too."""
    draw(tmp_path / "a.png")
    image = Image.from_file(path=str(tmp_path / "a.png"))
    items = [DatasetItem(s, subset=s, media=image, annotations=OBJECTS[name]) for s in ("a", "b")]
    points = dm.PointsCategories.from_iterable([(n, ["x", "y"], None) for n in (0, 1)])
    labels = dm.LabelCategories.from_iterable(["cat", "dog"])
    both = {dm.AnnotationType.label: labels, dm.AnnotationType.points: points}
    root = tmp_path / "out"
    Dataset.from_iterable(items, categories=both).export(str(root), "coco", save_media=True)
    caplog.clear()
    imported = import_dataset(str(root))
    assert lost(imported) == {}
    assert not caplog.records
    kinds = {kind for kind, _ in described(imported)["a/a"]}
    assert {annotation.type.name for annotation in OBJECTS[name]} <= kinds


def test_the_sample_saved_as_coco_is_the_sample(tmp_path: Path) -> None:
    theirs = Dataset.import_from(str(SAMPLE / "coco"), "coco")
    theirs.export(str(tmp_path), "coco", save_media=True)
    imported = import_all(tmp_path)
    assert (tmp_path / "annotations/stuff_val.json").is_file()
    assert lost(imported) == {}
    assert described(imported) == described(import_dataset(str(SAMPLE / "coco")))


@pytest.mark.parametrize(
    ("more", "n_lost"),
    [
        ({}, 0),
        ({"bbox": [1, 2, 10, 21]}, 1),
        ({"category_id": 2}, 1),
        ({"segmentation": [TRIANGLE]}, 1),
        ({"keypoints": KEYPOINTS}, 1),
        ({"image_id": "1"}, 0),
        ({"image_id": 2}, 1),
        ({"bbox": "none", "area": None}, 1),
    ],
)
def test_a_file_beside_is_lost_if_it_says_one_thing_more(
    tmp_path: Path, more: dict[str, Any], n_lost: int
) -> None:
    images = [coco_image(1, "a.jpg"), coco_image(2, "b.jpg")]
    root = write_coco_dataset(tmp_path, images, [coco_box(1, 1), coco_box(2, 1, bbox=[0] * 4)])
    write_document(root / "annotations/stuff_train.json", images, [coco_box(5, 1) | more])
    assert sum(lost(import_all(root)).values()) == n_lost


def test_one_task_can_be_named(tmp_path: Path) -> None:
    write_coco_2017(tmp_path)
    imported = import_all(tmp_path, f"{tmp_path}:coco_captions")
    kinds = {kind for found in described(imported).values() for kind, _ in found}
    assert kinds == {"caption"}
    with pytest.raises(DatasetReadError, match=r"no COCO annotations found .*stuff.* Check the"):
        import_dataset(f"{tmp_path}:coco_stuff")


@pytest.mark.parametrize(("number", "group"), [(9, 9), (1, 2)])
def test_keypoints_of_another_object_bring_their_box(
    tmp_path: Path, number: int, group: int
) -> None:
    root = write_coco_dataset(tmp_path, [coco_image(1, "a.jpg")], [coco_box(1, 1, 1)])
    other = coco_box(number, 1, 1, bbox=[50, 5, 5, 5], keypoints=KEYPOINTS)
    file = root / "annotations/person_keypoints_train.json"
    write_document(file, [coco_image(1, "a.jpg")], [other], PEOPLE)
    found = records(import_all(root))["train/a"].annotations
    assert [(a.type, a.group) for a in found] == [("bbox", 1), ("bbox", group), ("points", group)]


def test_keypoints_join_a_box_with_attributes_of_its_own(tmp_path: Path) -> None:
    box = coco_box(1, 1, 1, attributes={"occluded": True}, score=0.5)
    root = write_coco_dataset(tmp_path, [coco_image(1, "a.jpg")], [box])
    people = [coco_box(1, 1, 1, keypoints=KEYPOINTS)]
    file = root / "annotations/person_keypoints_train.json"
    write_document(file, [coco_image(1, "a.jpg")], people, PEOPLE)
    found = records(import_all(root))["train/a"].annotations
    assert [(a.type, a.group) for a in found] == [("bbox", 1), ("points", 1)]


@pytest.mark.parametrize(
    "name", ["instances_a", "person_keypoints_a", "annotations", "_annotations.coco"]
)
@pytest.mark.parametrize("part", [{}, {"bbox": None}])
def test_keypoints_are_read_from_any_file(tmp_path: Path, name: str, part: dict[str, Any]) -> None:
    draw(tmp_path / "images/a.jpg")
    people = [coco_box(1, 1, 1, keypoints=[50.515, 50.25, 2, 0, 0, 0]) | part]
    write_document(tmp_path / f"annotations/{name}.json", [coco_image(1, "a.jpg")], people, PEOPLE)
    imported = import_all(tmp_path)
    assert lost(imported) == {}
    (record,) = records(imported).values()
    *_, points = record.annotations
    assert (points.type, points.label, points.coords) == ("points", 0, (50.515, 50.25, 0, 0))
    assert len(record.annotations) == (1 if part else 2)
    assert imported.source.categories.full["points"]["items"]["0"]["labels"] == ["nose", "tail"]


def test_keypoints_of_both_files_are_read_once(tmp_path: Path) -> None:
    people = [coco_box(1, 1, 1, keypoints=KEYPOINTS)]
    root = write_coco_dataset(tmp_path, [coco_image(1, "a.jpg")], people, PEOPLE)
    file = root / "annotations/person_keypoints_train.json"
    write_document(file, [coco_image(1, "a.jpg")], people, PEOPLE)
    found = records(import_all(root))["train/a"].annotations
    assert [(a.type, a.group) for a in found] == [("bbox", 1), ("points", 1)]


def test_files_named_by_task_alone_are_of_one_subset(tmp_path: Path) -> None:
    draw(tmp_path / "images/a.jpg")
    images = [coco_image(1, "a.jpg")]
    write_document(tmp_path / "annotations/instances.json", images, [coco_box(1, 1)])
    write_document(tmp_path / "annotations/captions.json", images, captions(1, 1))
    imported = import_all(tmp_path)
    assert described(imported) == {"default/a": [("bbox", "cat"), ("caption", None)]}


LAYOUTS: dict[str, tuple[str, str, str]] = {
    # annotations, folder of the images, subset
    "official": ("annotations/instances_val2017.json", "val2017", "val2017"),
    "Datumaro": ("annotations/instances_val.json", "images/val", "val"),
    "CVAT": ("annotations/instances_default.json", "images", "default"),
    "FiftyOne": ("labels.json", "data", "default"),
    "FiftyOne with splits": ("val/labels.json", "val/data", "val"),
    "Roboflow": ("train/_annotations.coco.json", "train", "train"),
    "Roboflow, own name": ("all/_annotations.coco.json", "all", "all"),
    "beside the images": ("annotations.json", ".", "default"),
    "named by split": ("annotations/train.json", "images", "train"),
    "MMDetection": ("annotations/instances_train.json", "train", "train"),
    "Label Studio": ("result.json", "images", "default"),
    "split first": ("val/annotations.json", "val/images", "val"),
    "one folder deeper": ("coco/annotations/instances_val.json", "coco/images/val", "val"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["1.jpg", "deep/er/1.png"])
def test_layouts_of_other_tools(tmp_path: Path, layout: str, name: str) -> None:
    file, folder, subset = LAYOUTS[layout]
    write_document(tmp_path / file, [coco_image(1, name)], [coco_box(1, 1, 2)])
    draw(tmp_path / folder / name)
    imported = import_all(tmp_path)
    assert described(imported) == {f"{subset}/{name[:-4]}": [("bbox", "dog")]}
    assert lost(imported) == {}
    assert described(import_all(tmp_path, f"{tmp_path}:coco")) == described(imported)


@pytest.mark.parametrize(
    ("file", "folder"),
    [
        ("to/instances.json", "to"),
        ("to/instances.json", "to/images"),
        ("annotations/instances_val.json", "images/val"),
        ("annotations/any.json", "images"),
    ],
)
def test_one_json_file_is_a_dataset(tmp_path: Path, file: str, folder: str) -> None:
    write_document(tmp_path / file, [coco_image(1, "1.jpg")], [coco_box(1, 1, 2)])
    draw(tmp_path / folder / "1.jpg")
    imported = import_all(tmp_path, str(tmp_path / file))
    assert [*described(imported).values()] == [[("bbox", "dog")]]
    assert not any(item.unsafe for item in imported.source)


def test_the_annotations_folder_is_a_dataset(tmp_path: Path) -> None:
    root = write_coco_dataset(tmp_path, [coco_image(1, "1.jpg")], [coco_box(1, 1, 2)])
    imported = import_all(root, str(root / "annotations"))
    assert described(imported) == {"train/1": [("bbox", "dog")]}
    assert imported.source.root == root


@pytest.mark.parametrize(
    "stray",
    [
        "old/annotations/instances_train.json",
        "annotations/backup/instances_train.json",
        "a_copy/instances_train.json",
        "instances_train.json",
        "annotations/another.json",
    ],
)
def test_a_stray_file_does_not_replace_the_real_one(tmp_path: Path, stray: str) -> None:
    root = write_coco_dataset(tmp_path, [coco_image(1, "1.jpg")], [coco_box(1, 1, 1)])
    write_document(root / stray, [coco_image(1, "1.jpg")], [coco_box(1, 1, 2)])
    imported = import_all(root)
    assert described(imported) == {"train/1": [("bbox", "cat")]}
    (reason,) = imported.losses
    assert reason.text.startswith("annotation files not read")
    assert (reason.count, reason.examples) == (1, (stray,))


@pytest.mark.parametrize(
    ("stray", "content"),
    [
        ("annotations/.ipynb_checkpoints/instances_train-checkpoint.json", None),
        ("annotations/._instances_train.json", "\0\5\x16\7"),
        ("annotations/colours.json", '{"cat": "#f00"}'),
        ("training_config.json", '{"images": 5}'),
        ("package.json", "no JSON at all"),
        ("__MACOSX/annotations/instances_train.json", "x"),
    ],
)
def test_other_json_files_are_no_annotations(
    tmp_path: Path, stray: str, content: str | None
) -> None:
    root = write_coco_dataset(tmp_path, [coco_image(1, "1.jpg")], [coco_box(1, 1, 1)])
    wrong = write_document(root / stray, [coco_image(1, "1.jpg")], [coco_box(1, 1, 2)])
    if content is not None:
        wrong.write_text(content)
    imported = import_all(root)
    assert described(imported) == {"train/1": [("bbox", "cat")]}
    assert lost(imported) == {}


def test_two_files_equally_near_are_an_error(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_coco_dataset(tmp_path / name, [coco_image(1, "1.jpg")], [coco_box(1, 1)])
    message = (
        r"one/annotations/instances_train.json and two/.*json have the same name.*Pass the folder"
    )
    with pytest.raises(DatasetReadError, match=message):
        import_dataset(str(tmp_path))
    assert len(import_all(tmp_path / "one").source) == 1


# --- damaged files -----------------------------------------------------------------------------


def write_raw(root: Path, content: bytes) -> Path:
    write_coco_dataset(root, [coco_image(1, "1.jpg")])
    file = root / ANNOTATIONS
    file.write_bytes(content)
    return file


WHOLE = json.dumps(
    {"images": [coco_image(1, "1.jpg")], "annotations": [coco_box(1, 1)], "categories": CATEGORIES}
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b" \n", "the file is empty"),
        (WHOLE[:-9].encode(), "not JSON: .*line 1 column"),
        (b"[]", "a JSON list without a list of images"),
        (b"3", "a JSON number without"),
        (b'{"items": []}', "JSON without a list of images"),
        (b'{"images": {"1": "1.jpg"}}', "'images' is a object, not a list"),
        (b'{"images": [], "annotations": "none"}', "'annotations' is a text, not a list"),
        (b'{"images": [], "categories": {"1": "cat"}}', "'categories' is a object"),
        (b"[" * 5_000_000, "nested too deeply"),
        (b'{"images":' + b'{"a":' * 300_000, "nested too deeply"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 100, "not JSON"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, content: bytes, message: str) -> None:
    file = write_raw(tmp_path, content)
    with pytest.raises(DatasetReadError, match=message) as caught:
        import_dataset(str(tmp_path))
    assert str(caught.value).startswith(f"{file}: cannot be read as COCO annotations (")
    assert str(caught.value).endswith("Fix, replace or remove the file.")
    assert len(str(caught.value)) < 300 + len(str(file))


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + WHOLE.encode(),
        WHOLE.encode("utf-16"),
        WHOLE.replace("200", "NaN").encode(),
        WHOLE.replace("200", "-Infinity").encode(),
    ],
)
def test_marks_and_numbers_that_are_no_json_are_read(tmp_path: Path, content: bytes) -> None:
    write_raw(tmp_path, content)
    imported = import_all(tmp_path)
    assert described(imported) == {"train/1": [("bbox", "cat")]}
    assert lost(imported) == {}


def test_images_alone_are_a_dataset(tmp_path: Path) -> None:
    write_raw(tmp_path, json.dumps({"images": [coco_image(1, "1.jpg")]}).encode())
    assert described(import_all(tmp_path)) == {"train/1": []}


def test_a_listed_image_that_is_not_there_is_a_row(tmp_path: Path) -> None:
    root = write_coco_dataset(tmp_path, [coco_image(1, "a.jpg"), coco_image(2, "b.jpg")])
    (root / "images/train/b.jpg").unlink()
    imported: ImportedDataset = import_dataset(str(root))
    assert {str(i.key): i.path for i in imported.source} == {
        "train/a": "images/train/a.jpg",
        "train/b": "images/train/b.jpg",
    }
