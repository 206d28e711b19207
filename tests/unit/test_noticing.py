"""Geometry that is wrong is kept as it is, and counted by a fixed set of reasons."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from datumaro.components import annotation as dm
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image as DmImage
from PIL import Image

from datumaro_embed import AnnotationRecord
from datumaro_embed.adapter import SourceDataset, import_dataset
from datumaro_embed.adapter.annotations import UNDECLARED_LABEL, canonical_order, geometry_notes
from datumaro_embed.encoders import FakeEncoder
from datumaro_embed.pipeline import EmbedOptions, embed_source
from datumaro_embed.store import open_store
from datumaro_embed.verify import compare_with_dataset
from support import picture

NAN, INF = math.nan, math.inf

NO_AREA = "boxes of zero or negative width or height"
BEYOND = "annotations that reach outside the image"
OUTSIDE = "annotations entirely outside the image"
NOT_FINITE = "annotations with coordinates that are NaN or infinite"
MASK_SIZE = "masks whose size differs from the image"
OTHER_SIZE = "images whose size differs from the declared one"


@pytest.mark.parametrize(
    ("kind", "coords", "notes"),
    [
        ("bbox", (0, 0, 100, 80), []),
        ("bbox", (-0.4, 0, 100.4, 80.4), []),  # rounding
        ("bbox", (10, 10, 0, 5), [NO_AREA]),
        ("bbox", (10, 10, 5, -5), [NO_AREA]),
        ("bbox", (-50, 10, -5, 5), [NO_AREA, OUTSIDE]),
        ("bbox", (90, 10, 20, 5), [BEYOND]),
        ("bbox", (10, -5, 20, 15), [BEYOND]),
        ("bbox", (-30, 10, 30, 5), [OUTSIDE]),
        ("bbox", (100, 10, 5, 5), [OUTSIDE]),
        ("bbox", (10, 300, 5, 5), [OUTSIDE]),
        ("bbox", (NAN, 1, 2, 3), [NOT_FINITE]),
        ("bbox", (1, 1, INF, -INF), [NOT_FINITE]),
        ("rotated_bbox", (50, 40, 20, 10, 30), []),
        ("rotated_bbox", (50, 40, 20, 0, 30), [NO_AREA]),
        ("rotated_bbox", (95, 40, 20, 2, 0), [BEYOND]),
        ("rotated_bbox", (95, 40, 20, 2, 90), []),
        ("polygon", (0, 0, 100, 0, 100, 80), []),
        ("polygon", (0, 0, 120, 0, 100, 80), [BEYOND]),
        ("polygon", (0, 0, 1, NAN, 2, 2), [NOT_FINITE]),
        ("polyline", (200, 0, 201, 5), [OUTSIDE]),
        ("polygon", (1,), []),
        ("ellipse", (1, 2, 50, 85), [BEYOND]),
        ("points", (0, 0, 100, 80), []),
        ("label", (), []),
    ],
)
def test_geometry(kind: str, coords: tuple[float, ...], notes: list[str]) -> None:
    record = AnnotationRecord(kind, coords=coords)
    assert [*geometry_notes(record, 100, 80)] == notes
    of_unknown = [*geometry_notes(record, 0, 0)]
    assert of_unknown == [note for note in notes if note not in (BEYOND, OUTSIDE)]


def test_absent_points_have_no_place_and_masks_a_size() -> None:
    points = AnnotationRecord("points", coords=(-9, -9, 5, 5), visibility=(0, 2))
    assert [*geometry_notes(points, 10, 10)] == []
    seen = AnnotationRecord("points", coords=(-9, -9, 5, 5), visibility=(1, 2))
    assert [*geometry_notes(seen, 10, 10)] == [BEYOND]
    mask = AnnotationRecord("mask", rle=json.dumps({"size": [10, 20], "counts": "x"}))
    assert [*geometry_notes(mask, 20, 10)] == []
    assert [*geometry_notes(mask, 10, 20)] == [MASK_SIZE]


def test_nan_has_a_place_in_the_order_whatever_order_is_read() -> None:
    values = [(NAN, 1.0), (1.0, NAN), (1.0, 2.0), (NAN, NAN), (INF, 1.0), (-INF, 1.0)]
    records = [AnnotationRecord("points", coords=xy, ann_id=n) for n, xy in enumerate(values)]
    expected = [record.ann_id for record in canonical_order(records, ())]
    assert expected[:2] == [5, 2]
    rng = np.random.default_rng(0)
    for _ in range(20):
        mixed = [records[n] for n in rng.permutation(len(records))]
        assert [record.ann_id for record in canonical_order(mixed, ())] == expected


def test_wrong_geometry_is_kept_counted_and_verified(tmp_path: Path) -> None:
    """NaN is unequal to itself: `verify --dataset` compares it all the same."""
    wrong = [
        dm.Bbox(NAN, 1, 2, 3, label=0),
        dm.Bbox(1, INF, 2, 3, label=0),
        dm.Bbox(1, 1, 0, 3, label=0),
        dm.Bbox(40, 1, 20, 3, label=0),
        dm.Bbox(90, 1, 20, 3, label=0),
        dm.Polygon([NAN, 1, 2, 3, 4, 5], label=0),
        dm.Cuboid3d([NAN, 2, 3], [0, 0, 0.5], [1, 1, 2], label=0),
        dm.Label(0, attributes={"score": NAN}),
    ]
    path = tmp_path / "a.png"
    picture(1, (48, 40)).save(path)
    item = DatasetItem("a", media=DmImage.from_file(str(path), size=(41, 48)), annotations=wrong)
    source = SourceDataset(Dataset.from_iterable([item], categories=["cat"]))
    summary = embed_source(source, tmp_path / "s.h5", EmbedOptions(), encoder=FakeEncoder())
    assert {reason.text: reason.count for reason in summary.notes} == {
        NOT_FINITE: 3,
        NO_AREA: 1,
        BEYOND: 1,
        OUTSIDE: 1,
        OTHER_SIZE: 1,
    }
    assert all(reason.examples == ("default/a",) for reason in summary.notes)
    with open_store(tmp_path / "s.h5") as store:
        assert len(store.item(0).annotations) == len(wrong)
        assert [*compare_with_dataset(store, source)] == []
        assert store.verify() == []
        attributes = [a.attributes for a in store.item(0).annotations if a.type == "label"]
        assert math.isnan(attributes[0]["score"])
        (extra,) = [a.extra for a in store.item(0).annotations if a.type == "cuboid_3d"]
        assert json.loads(extra, parse_constant=pytest.fail)["points"][0] == {"$float": "nan"}
    item.annotations[0].points[1] = 5.0
    with open_store(tmp_path / "s.h5") as store:
        assert len([*compare_with_dataset(store, source)]) == 2


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e400", "-1e39"])
def test_coco_boxes_that_are_no_numbers_do_not_end_a_run(value: str, tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "images" / "train").mkdir(parents=True)
    picture(1, (48, 40)).save(tmp_path / "images/train/a.png")
    (tmp_path / "annotations/instances_train.json").write_text(
        '{"images": [{"id": 1, "file_name": "a.png", "width": 48, "height": 40}], '
        '"categories": [{"id": 1, "name": "cat"}], "annotations": [{"id": 1, "image_id": 1, '
        f'"category_id": 1, "iscrowd": 0, "area": 1, "bbox": [1, 2, {value}, 4]}}]}}'
    )
    imported = import_dataset(f"{tmp_path}:coco")
    summary = embed_source(
        imported.source, tmp_path / "s.h5", EmbedOptions(), encoder=FakeEncoder()
    )
    assert (summary.n_items, summary.n_failed) == (1, 0)
    assert summary.notes or imported.losses
    with open_store(tmp_path / "s.h5") as store:
        assert [*compare_with_dataset(store, import_dataset(f"{tmp_path}:coco").source)] == []


@pytest.mark.parametrize(
    ("categories", "labels", "notes"),
    [(["cat"], [-1, -1, 0], (UNDECLARED_LABEL,)), ([], [-1, 0, 7], ())],
)
def test_a_class_that_is_not_declared_costs_an_annotation_its_label(
    categories: list[str], labels: list[int], notes: tuple[str, ...]
) -> None:
    boxes = [dm.Bbox(1, 2, 3, 4, label=label) for label in (0, 7, None)]
    media = DmImage.from_numpy(np.zeros((9, 9, 3), np.uint8))
    item = DatasetItem("a", media=media, annotations=boxes)
    (found,) = SourceDataset(Dataset.from_iterable([item], categories=categories))
    record = found.record((9, 9), 1, b"")
    assert sorted(each.label for each in record.annotations) == labels
    assert record.notes == notes


def test_a_mask_of_voc_has_declared_classes_alone(tmp_path: Path) -> None:
    """Datumaro says that it refuses class 200, and keeps it; 15 is a person."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (tmp_path / folder).mkdir(parents=True)
    picture(1, (8, 8)).save(tmp_path / "JPEGImages/a.jpg")
    mask = Image.fromarray(np.repeat(np.array([[15, 200]], np.uint8), 4, axis=0))
    mask.save(tmp_path / "SegmentationClass/a.png")
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("a\n")
    imported = import_dataset(f"{tmp_path}:voc_segmentation")
    (item,) = imported.source
    assert [each.label for each in item.record(None, 1, b"").annotations] == [15]
    (loss,) = imported.losses
    assert (loss.text, loss.count) == ("annotations that Datumaro rejects", 1)
