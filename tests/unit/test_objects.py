"""Objects: which annotations are one, where it is, what is cut; and their vectors in a run."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
from datumaro.components.annotation import Bbox, Cuboid2D, Cuboid3d, Mask, Points, Polygon
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image as DmImage
from PIL import Image

from datumaro_embed import open_store
from datumaro_embed.adapter import SourceDataset
from datumaro_embed.adapter.annotations import annotation_record
from datumaro_embed.encoders import FakeEncoder
from datumaro_embed.errors import InferenceError, RunInterruptedError, UsageError
from datumaro_embed.geometry import BoxRule, to_upright
from datumaro_embed.info import describe
from datumaro_embed.objects import ObjectOptions, cut, group_annotations, objects_of
from datumaro_embed.pipeline import EmbedOptions, embed_source
from datumaro_embed.records import (
    AnnotationRecord,
    CropShape,
    ItemKey,
    ItemRecord,
    ObjectStatus,
    Status,
)

OPTIONS = EmbedOptions(objects=True, workers=2, min_object_px=2)


def box(x: float, y: float, w: float, h: float, **fields) -> AnnotationRecord:
    return AnnotationRecord("bbox", coords=(x, y, w, h), **fields)


def found(*annotations: AnnotationRecord, size=(100, 80), status=Status.OK, **options):
    record = ItemRecord(
        ItemKey("a", "b"), width=size[0], height=size[1], annotations=annotations, status=status
    )
    return objects_of(record, ObjectOptions(**options))


# Which annotations are one object -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotations", "groups"),
    [
        ((box(0, 0, 1, 1), box(0, 0, 1, 1)), [[0], [1]]),
        ((box(0, 0, 1, 1, group=1), AnnotationRecord("polygon", group=1)), [[0, 1]]),
        ((box(0, 0, 1, 1, group=1), AnnotationRecord("polygon", group=1, label=3)), [[0], [1]]),
        ((box(0, 0, 1, 1, group=1), box(2, 0, 1, 1, group=1)), [[0], [1]]),
        ((AnnotationRecord("caption", group=1), AnnotationRecord("label", group=1)), []),
        (
            (
                box(0, 0, 1, 1, group=7),
                AnnotationRecord("caption"),
                AnnotationRecord("mask", group=7),
                AnnotationRecord("points", group=7),
                AnnotationRecord("polygon", group=7),
                AnnotationRecord("polygon", group=7),
            ),
            [[0, 2, 3, 4, 5]],
        ),
    ],
)
def test_annotations_of_one_group_and_label_are_one_object(annotations, groups) -> None:
    assert group_annotations(annotations) == groups


def test_the_box_is_the_given_one_else_the_hull_of_what_is_visible() -> None:
    polygon = AnnotationRecord("polygon", group=1, coords=(10, 10, 30, 10, 30, 50))
    points = AnnotationRecord("points", coords=(0, 0, 20, 20, 40, 60), visibility=(0, 1, 2))
    (with_box,) = found(box(8, 9, 40, 45, group=1), polygon)
    (without,) = found(polygon)
    (keypoints,) = found(points)
    assert (with_box.box, with_box.area) == ((8, 9, 40, 45), 400)
    assert (without.box, without.area) == ((10, 10, 20, 40), 400)
    assert keypoints.box == (20, 20, 20, 40)


def test_the_box_of_a_cuboid() -> None:
    corners = [(10, 20), (12, 8), (40, 9), (39, 21), (11, 50), (38, 52), (37, 60), (9, 59)]
    cuboids = [Cuboid2D(corners, label=0, y_3d=1.5), Cuboid3d([1, 2, 3], label=1)]
    records = [annotation_record(cuboid) for cuboid in cuboids]
    flat, solid = found(*records)
    assert (flat.box, flat.status) == ((9, 8, 31, 52), ObjectStatus.OK)
    assert solid.status is ObjectStatus.NO_BOX
    assert '"y_3d":1.5' in records[0].extra
    turned = to_upright(records[0], BoxRule.ROTATED_WITH_IMAGE, (100, 80), 3)
    assert turned.coords[:2] == (90, 60)


def test_the_margin_is_of_the_given_box() -> None:
    options = {"margin": 0.1, "shape": CropShape.PAD}
    (one,) = found(box(-80, 20, 100, 30), **options)
    assert one.crop == (0, 10, 30, 60)
    (huge,) = found(box(0, 0, 1e308, 20), margin=10)
    assert huge.crop == (0, 0, 100, 80)


def test_the_box_of_a_mask() -> None:
    mask = np.zeros((80, 100), bool)
    mask[10:30, 40:70] = True
    source = SourceDataset(
        Dataset.from_iterable(
            [
                DatasetItem(
                    "a",
                    media=DmImage.from_numpy(np.zeros((80, 100, 3), np.uint8)),
                    annotations=[Mask(mask, label=0)],
                )
            ],
            categories=["cat"],
        )
    )
    record = next(iter(source)).record((100, 80), 1, bytes(32))
    (one,) = objects_of(record, ObjectOptions())
    assert (one.box, one.area) == ((40, 10, 30, 20), 600)


@pytest.mark.parametrize(
    ("annotation", "status"),
    [
        (box(10, 10, 20, 20), ObjectStatus.OK),
        (box(0, 0, 100, 80), ObjectStatus.WHOLE_IMAGE),
        (box(-5, -5, 200, 200), ObjectStatus.WHOLE_IMAGE),
        (box(0, 0, 100, 40), ObjectStatus.OK),
        (box(10, 10, 0, 20), ObjectStatus.NO_BOX),
        (box(10, 10, -4, 20), ObjectStatus.NO_BOX),
        (box(10, 10, float("nan"), 20), ObjectStatus.NO_BOX),
        (box(10, 10, float("inf"), 20), ObjectStatus.NO_BOX),
        (AnnotationRecord("points", coords=(4, 4), visibility=(0,)), ObjectStatus.NO_BOX),
        (AnnotationRecord("mask", rle="{}"), ObjectStatus.NO_BOX),
        (box(100, 10, 20, 20), ObjectStatus.OUTSIDE),
        (box(-30, 10, 20, 20), ObjectStatus.OUTSIDE),
        (box(10, 10, 15, 15), ObjectStatus.TOO_SMALL),
        (box(10, 10, 3, 16), ObjectStatus.OK),
        (box(10, 10, 3, 15.99), ObjectStatus.OK),  # as YOLO rounds 16
        (box(95, 10, 40, 12), ObjectStatus.TOO_SMALL),
        (box(10, 10, 20, 20, attributes={"is_crowd": True}), ObjectStatus.CROWD),
    ],
)
def test_status(annotation: AnnotationRecord, status: ObjectStatus) -> None:
    (one,) = found(annotation)
    assert one.status is status
    assert (one.crop == (0, 0, 0, 0)) is not status.has_vector


def test_an_object_of_an_image_that_failed_has_no_crop() -> None:
    (one,) = found(box(10, 10, 20, 20), status=Status.UNREADABLE)
    assert (one.status, one.box) == (ObjectStatus.NO_IMAGE, (10, 10, 20, 20))


# What is cut --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "options", "crop"),
    [
        (box(20, 20, 20, 20), {"margin": 0.0}, (20, 20, 40, 40)),
        (box(20, 20, 20, 20), {}, (18, 18, 42, 42)),
        (box(20, 20, 20, 40), {"margin": 0.0}, (10, 20, 50, 60)),
        (box(20, 20, 20, 40), {"margin": 0.0, "shape": CropShape.PAD}, (20, 20, 40, 60)),
        (box(20, 20, 20, 40), {"margin": 0.1, "shape": CropShape.STRETCH}, (16, 16, 44, 64)),
        (box(0, 20, 20, 40), {"margin": 0.0}, (0, 20, 40, 60)),
        (box(80, 20, 20, 40), {"margin": 0.0}, (60, 20, 100, 60)),
        (box(5, 20, 90, 20), {"margin": 0.0}, (5, 0, 95, 80)),
        (box(20.4, 20.6, 20, 20), {"margin": 0.0}, (20, 20, 41, 41)),
    ],
)
def test_crop(annotation: AnnotationRecord, options, crop: tuple[int, ...]) -> None:
    (one,) = found(annotation, **options)
    assert one.crop == crop


def test_a_crop_is_a_square_of_the_images_own_pixels() -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (80, 100, 3), dtype=np.uint8))
    (square,) = found(box(20, 20, 20, 40))
    assert cut(image, square, 64).tobytes() == image.crop(square.crop).tobytes()
    (wide,) = found(box(5, 20, 90, 20), margin=0.0)
    padded = np.asarray(cut(image, wide, 64))
    assert padded.shape == (90, 90, 3)
    np.testing.assert_array_equal(padded[5:85], np.asarray(image)[:, 5:95])
    assert (padded[:5] == 128).all()
    (flat,) = found(box(20, 20, 20, 40), shape=CropShape.STRETCH)
    assert cut(image, flat, 64).size == (64, 64)
    (tall,) = found(box(20, 20, 20, 40), shape=CropShape.PAD)
    assert cut(image, tall, 64).size == (48, 48)


@pytest.mark.parametrize("options", [{"margin": -0.1}, {"margin": 11}, {"min_px": 0}])
def test_options_that_make_no_sense(options) -> None:
    with pytest.raises(UsageError):
        ObjectOptions(**options)


# A run --------------------------------------------------------------------------------------------


def pixels(number: int, size: tuple[int, int] = (60, 80)) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)


def dataset(boxes: dict[str, list[Bbox]]) -> SourceDataset:
    items = [
        DatasetItem(
            name,
            subset="train",
            media=DmImage.from_numpy(pixels(int(name[1:]))),
            annotations=annotations,
        )
        for name, annotations in boxes.items()
    ]
    return SourceDataset(Dataset.from_iterable(items, categories=["cat", "dog"]))


def usual() -> dict[str, list[Bbox]]:
    return {
        f"i{n}": [Bbox(14 * k, 3, 20, 24, label=k % 2, id=k + 1) for k in range(n % 5)]
        for n in range(23)
    }


def embed(boxes, path: Path, encoder=None, **options):
    chosen = EmbedOptions(**{"objects": True, "workers": 2, "batch_size": 4} | options)
    return embed_source(dataset(boxes), path, chosen, encoder=encoder or FakeEncoder(batch_size=4))


@pytest.mark.parametrize("name", ["s.h5", "s"])
def test_a_vector_is_that_of_the_crop_embedded_alone(tmp_path: Path, name: str) -> None:
    encoder = FakeEncoder(batch_size=4)
    summary = embed(usual(), tmp_path / name, encoder)
    assert "43 objects: 43 computed, 0 reused" in "\n".join(summary.lines())
    with open_store(tmp_path / name) as store:
        assert store.verify() == []
        for row in range(store.n_rows):
            record = store.item(row)
            image = Image.fromarray(pixels(int(record.key.id[1:]))[..., ::-1])  # Datumaro's is BGR
            assert record.objects is not None
            assert len(record.objects) == int(record.key.id[1:]) % 5
            for one in record.objects:
                expected = encoder.embed_images([cut(image, one, encoder.image_size_px)])[0]
                np.testing.assert_array_equal(one.vector, expected.astype(np.float16))
                assert one.annotations == (record.objects.index(one),)


class Counting(FakeEncoder):
    n_images = 0

    def embed(self, batch: np.ndarray) -> np.ndarray:
        self.n_images += len(batch)
        return super().embed(batch)


def relabelled(boxes):
    boxes["i7"][0] = Bbox(0, 3, 20, 24, label=1, id=1)


def moved(boxes):
    boxes["i7"][0] = Bbox(9, 3, 20, 24, label=0, id=1)


def one_more(boxes):
    boxes["i7"].append(Bbox(30, 30, 20, 20, label=0, id=9))


def another_image(boxes):
    boxes["i102"] = boxes.pop("i7")


@pytest.mark.parametrize(
    ("change", "n_computed"),
    [(relabelled, 0), (moved, 1), (one_more, 1), (another_image, 3), (dict.copy, 0)],
)
@pytest.mark.parametrize("name", ["s.h5", "s"])
def test_only_what_changed_is_computed_again(tmp_path: Path, name: str, change, n_computed) -> None:
    embed(usual(), tmp_path / name)
    boxes = usual()
    change(boxes)
    encoder = Counting(batch_size=4)
    summary = embed(boxes, tmp_path / name, encoder)
    assert encoder.n_images == n_computed
    assert summary.objects is not None
    assert summary.objects.n_computed == n_computed - (change is another_image)
    embed(boxes, tmp_path / f"fresh-{name}")
    with open_store(tmp_path / name) as there, open_store(tmp_path / f"fresh-{name}") as fresh:
        assert there.column("objects/vector").tobytes() == fresh.column("objects/vector").tobytes()
        assert [there.item(n) for n in range(23)] == [fresh.item(n) for n in range(23)]
        assert there.verify() == []


def test_other_settings_compute_anew_and_are_kept(tmp_path: Path) -> None:
    embed(usual(), tmp_path / "s.h5")
    for options, n in (({"object_shape": "pad"}, 43), ({"object_margin": 0.3}, 43), ({}, 0)):
        summary = embed(usual(), tmp_path / "s.h5", **options)
        assert (summary.n_reused, summary.objects.n_computed) == (23, n)
    with open_store(tmp_path / "s.h5") as store:
        wanted = {"margin": 0.3, "shape": "pad", "min_px": 16}
        assert store.provenance["objects"] == wanted
        assert "crops        margin 0.3, pad, at least 16 px" in describe(store)


@pytest.mark.parametrize("objects", [None, False])
@pytest.mark.parametrize(
    "option", [{"object_margin": 0.0}, {"object_shape": "pad"}, {"min_object_px": 9}]
)
def test_settings_of_objects_require_objects(tmp_path: Path, objects: bool | None, option) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(option))} requires objects"):
        embed(usual(), tmp_path / "s.h5", objects=objects, **option)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "option",
    [
        *({"objects": "yes"}, {"captions": 2}, {"object_margin": True}, {"object_margin": "1"}),
        *({"min_object_px": True}, {"min_object_px": 1.5}),
    ],
)
def test_options_of_another_type(option: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=f"^{next(iter(option))} must be "):
        EmbedOptions(**option)


def test_a_store_keeps_its_objects_unless_they_are_dropped(tmp_path: Path) -> None:
    embed(usual(), tmp_path / "s.h5")
    lines: list[str] = []
    for objects, n_objects in ((None, 43), (False, 0)):
        options = EmbedOptions(objects=objects, workers=2)
        embed_source(
            dataset(usual()),
            tmp_path / "s.h5",
            options,
            encoder=FakeEncoder(),
            notify=lines.append,
        )
        with open_store(tmp_path / "s.h5") as store:
            assert store.count("objects") == n_objects
            assert store.has("items/objects_offsets") is bool(n_objects)
    how = "(margin 0.1, square, at least 16 px); --no-objects drops them."
    assert f"The store has objects, so they are embedded too {how}" in lines


def test_objects_are_added_to_a_store_without_computing_images_again(tmp_path: Path) -> None:
    embed(usual(), tmp_path / "s", objects=False)
    encoder = Counting(batch_size=4)
    embed(usual(), tmp_path / "s", encoder)
    assert encoder.n_images == 43


def test_twins_have_objects_of_their_own(tmp_path: Path) -> None:
    items = [
        DatasetItem(
            name,
            subset="train",
            media=DmImage.from_numpy(pixels(1)),
            annotations=[Bbox(x, 3, 20, 24, label=0)],
        )
        for name, x in (("a", 1), ("b", 40), ("c", 1))
    ]
    source = SourceDataset(Dataset.from_iterable(items, categories=["cat"]))
    embed_source(source, tmp_path / "s.h5", OPTIONS, encoder=FakeEncoder())
    with open_store(tmp_path / "s.h5") as store:
        one, two, three = (store.item(row).objects[0].vector for row in range(3))
        assert np.array_equal(store.embeddings()[0], store.embeddings()[1])
        assert not np.array_equal(one, two)
        assert np.array_equal(one, three)


def test_an_object_that_cannot_be_computed_costs_itself(tmp_path: Path) -> None:
    whole = FakeEncoder(batch_size=4)

    class Choosy(FakeEncoder):
        """Fails for one crop."""

        def embed(self, batch: np.ndarray) -> np.ndarray:
            rows = super().embed(batch)
            if any(np.array_equal(row, self.hated) for row in batch):
                raise InferenceError("no")
            return rows

    (record,) = (item for item in dataset(usual()) if item.key.id == "i7")
    image = Image.fromarray(pixels(7)[..., ::-1])
    one = objects_of(record.record((80, 60), 1, bytes(32)), ObjectOptions())[1]
    choosy = Choosy(batch_size=4)
    choosy.hated = whole.preprocess(cut(image, one, whole.image_size_px))
    summary = embed(usual(), tmp_path / "s.h5", choosy)
    assert summary.n_failed == 0
    assert "1 without a vector (1 inference failed)" in "\n".join(summary.lines())
    with open_store(tmp_path / "s.h5") as store:
        objects = store["train/i7"].objects
        assert [o.status.name for o in objects] == ["OK", "INFERENCE_FAILED"]
        assert objects[1].vector is None
        assert store.verify() == []
    summary = embed(usual(), tmp_path / "s.h5")  # tried again
    assert summary.objects.n_computed == 1


def test_a_run_that_was_stopped_ends_with_the_same_bytes(tmp_path: Path) -> None:
    embed(usual(), tmp_path / "whole.h5", commit_rows=5)

    class Stopping(FakeEncoder):
        n = 0

        def embed(self, batch: np.ndarray) -> np.ndarray:
            self.n += 1
            if self.n == 6:
                signal.raise_signal(signal.SIGINT)
            return super().embed(batch)

    with pytest.raises(RunInterruptedError):
        embed(usual(), tmp_path / "s.h5", Stopping(batch_size=4), commit_rows=5)
    encoder = Counting(batch_size=4)
    embed(usual(), tmp_path / "s.h5", encoder, commit_rows=5)
    assert 0 < encoder.n_images < 67
    with open_store(tmp_path / "s.h5") as there, open_store(tmp_path / "whole.h5") as whole:
        for path in ("items/vector", "objects/vector", "objects/crop", "objects/annotations"):
            assert there.column(path).tobytes() == whole.column(path).tobytes()


def test_datumaros_own_masks_polygons_and_keypoints(tmp_path: Path) -> None:
    mask = np.zeros((60, 80), bool)
    mask[10:40, 10:50] = True
    annotations = [
        Bbox(10, 10, 40, 30, label=0, group=1, id=1),
        Polygon([10, 10, 50, 10, 50, 40], label=0, group=1, id=1),
        Points([20, 20, 30, 40], [1, 2], label=0, group=1, id=1),
        Mask(mask, label=1, group=2, id=2),
        Mask(~mask, label=1, group=3, id=3),
    ]
    boxes = {"i1": annotations}
    embed(boxes, tmp_path / "s.h5")
    with open_store(tmp_path / "s.h5") as store:
        objects = store["train/i1"].objects
        assert [o.status.name for o in objects] == ["OK", "OK", "WHOLE_IMAGE"]
        assert sorted(len(o.annotations) for o in objects) == [1, 1, 3]
        assert all(o.vector is not None for o in objects)
