"""Every Datumaro annotation type → a record that still says all of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from datumaro.components import annotation as dm
from datumaro.components.media import Image
from pycocotools import mask as coco_mask

from datumaro_embed.adapter.annotations import (
    annotation_record,
    canonical_order,
    categories_record,
    read_annotations,
)
from datumaro_embed.geometry import orient_mask


@pytest.mark.parametrize(
    ("annotation", "kind", "coords"),
    [
        (dm.Bbox(1, 2, 3, 4, label=0), "bbox", (1, 2, 3, 4)),
        (dm.RotatedBbox(5, 6, 3, 2, 30, label=0), "rotated_bbox", (5, 6, 3, 2, 30)),
        (dm.Polygon([0, 0, 4, 0, 4, 3], label=0), "polygon", (0, 0, 4, 0, 4, 3)),
        (dm.PolyLine([0, 0, 4, 1], label=0), "polyline", (0, 0, 4, 1)),
        (dm.Ellipse(1, 2, 5, 8, label=0), "ellipse", (1, 2, 5, 8)),
        (dm.Label(0), "label", ()),
    ],
)
def test_shapes(annotation: dm.Annotation, kind: str, coords: tuple[float, ...]) -> None:
    record = annotation_record(annotation)
    assert (record.type, record.label, record.extra) == (kind, 0, "")
    assert record.coords == pytest.approx(coords)


def test_common_fields_are_kept() -> None:
    box = dm.Bbox(
        0,
        0,
        1,
        1,
        id=7,
        group=3,
        object_id=9,
        z_order=2,
        attributes={"occluded": True, "n": np.int8(4)},
    )
    record = annotation_record(box)
    assert (record.ann_id, record.group, record.object_id, record.z_order) == (7, 3, 9, 2)
    assert record.label == -1
    assert record.attributes == {"occluded": True, "n": 4}


def test_points_keep_visibility_and_captions_their_text() -> None:
    points = annotation_record(dm.Points([1, 2, 3, 4], [0, 2], label=1))
    caption = annotation_record(dm.Caption("a cat, „quoted“"))
    assert (points.coords, points.visibility) == ((1, 2, 3, 4), (0, 2))
    assert (caption.type, caption.text) == ("caption", "a cat, „quoted“")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("orientation", [1, 6, 3])
def test_masks_become_rle_and_turn_with_the_image(compressed: bool, orientation: int) -> None:
    pixels = np.zeros((4, 6), bool)
    pixels[1, 2:5] = True
    mask = (
        dm.RleMask(coco_mask.encode(np.asfortranarray(pixels, np.uint8)), label=0)
        if compressed
        else dm.Mask(pixels, label=0)
    )

    rle = json.loads(annotation_record(mask, orientation).rle)

    np.testing.assert_array_equal(coco_mask.decode(rle), orient_mask(pixels, orientation))


def test_types_without_a_column_are_kept_as_json() -> None:
    cuboid = dm.Cuboid3d([1, 2, 3], [0, 0, 0.5], [1, 1, 2], label=1, attributes={"far": True})
    depth = dm.DepthAnnotation(Image.from_numpy(np.ones((2, 2, 3), np.uint8)))

    record = annotation_record(cuboid)
    assert (record.type, record.label, record.attributes) == ("cuboid_3d", 1, {"far": True})
    assert json.loads(record.extra)["points"] == [1, 2, 3, 0, 0, 0.5, 1, 1, 2]
    assert "image" in json.loads(annotation_record(depth).extra)


def test_order_does_not_depend_on_the_format_that_was_read() -> None:
    labels = ("dog", "cat")
    boxes = [
        dm.Bbox(5, 5, 1, 1, label=0),
        dm.Bbox(1, 1, 1, 1, label=1),
        dm.Bbox(1, 0, 1, 1, label=1),
    ]
    forwards = canonical_order([annotation_record(box) for box in boxes], labels)
    backwards = canonical_order([annotation_record(box) for box in boxes[::-1]], labels)
    assert forwards == backwards
    assert [labels[record.label] for record in forwards] == ["cat", "cat", "dog"]
    assert forwards[0].coords == (1, 0, 1, 1)


def test_categories_keep_names_order_and_every_type() -> None:
    points = dm.PointsCategories()
    points.add(0, labels=["nose", "tail"], joints={(0, 1)})
    categories = categories_record(
        {
            dm.AnnotationType.label: dm.LabelCategories.from_iterable(["b", "a"]),
            dm.AnnotationType.points: points,
            dm.AnnotationType.mask: dm.MaskCategories.generate(2),
        }
    )
    assert categories.labels == ("b", "a")
    assert set(categories.full) == {"label", "points", "mask"}
    assert categories.full["points"]["items"]["0"]["labels"] == ["nose", "tail"]
    assert json.loads(json.dumps(categories.full)) == categories.full


class Odd:
    def __repr__(self) -> str:
        raise RuntimeError("no name")


@pytest.mark.parametrize(
    "annotation",
    [
        dm.Bbox(1, 2, 3, 4, id=2**70),
        dm.Bbox(1, 2, 3, 4, group=-(2**63) - 1),
        dm.Bbox(1, 2, 3, 4, label=2**31),
        dm.Bbox(1, 2, 3, 4, z_order=2**40),
        dm.Bbox(1, 2, 3, 4, attributes={"a": Odd()}),
    ],
)
def test_an_annotation_that_no_row_can_hold_costs_itself(annotation: dm.Annotation) -> None:
    largest = dm.Bbox(1, 2, 3, 4, id=2**63 - 1, label=2**31 - 1)
    records, notes = read_annotations([annotation, largest], annotation_record)
    assert {place: record.ann_id for place, record in records.items()} == {1: 2**63 - 1}
    assert notes == ["annotations that cannot be read"]
