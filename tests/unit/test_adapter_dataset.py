"""SourceDataset: order, splits, paths that may be opened, box rules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from datumaro.components.annotation import Bbox
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image as DmImage

from datumaro_embed import embed_dataset
from datumaro_embed.adapter import SourceDataset
from datumaro_embed.adapter.dataset import has_relative_boxes
from datumaro_embed.errors import DatasetReadError, EmptyDatasetError, UsageError
from datumaro_embed.records import ItemKey, Split, split_of


def item(id_: str, subset: str = "train", path: str | None = None, **kwargs) -> DatasetItem:
    medium = DmImage.from_file(path) if path else DmImage.from_numpy(np.zeros((2, 3, 3), np.uint8))
    return DatasetItem(id_, subset=subset, media=medium, **kwargs)


def dataset(*items: DatasetItem, labels: tuple[str, ...] = ("cat", "dog")) -> Dataset:
    return Dataset.from_iterable(items, categories=list(labels))


@pytest.mark.parametrize(
    ("subset", "split"),
    [
        ("train2017", Split.TRAIN),
        ("Training", Split.TRAIN),
        ("val", Split.VAL),
        ("valid", Split.VAL),
        ("validation_1", Split.VAL),
        ("minival2014", Split.VAL),
        ("eval", Split.VAL),
        ("test-dev2017", Split.TEST),
        ("trainval", Split.OTHER),
        ("minitest", Split.OTHER),
        ("mytest", Split.OTHER),
        ("latest", Split.OTHER),
        ("default", Split.OTHER),
        ("2017", Split.OTHER),
    ],
)
def test_split_of_subset_names(subset: str, split: Split) -> None:
    assert split_of(subset) is split


def test_items_are_sorted_by_subset_and_id() -> None:
    source = SourceDataset(dataset(item("b"), item("a", "val"), item("a"), item("B")))
    assert [entry.key for entry in source] == [
        ItemKey("train", "B"),
        ItemKey("train", "a"),
        ItemKey("train", "b"),
        ItemKey("val", "a"),
    ]


def test_empty_dataset_is_refused() -> None:
    with pytest.raises(EmptyDatasetError, match="no items"):
        SourceDataset(dataset())


@pytest.mark.parametrize(
    "given", ["sample_data/coco", Path("a"), None, [], [item("a")], {}, Dataset], ids=repr
)
def test_what_is_no_dataset_is_refused_with_what_to_pass(given: object, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"is not a Datumaro dataset\. Pass .*import_from"
    ) as caught:
        embed_dataset(given, tmp_path / "e.h5", model="none")
    assert len(str(caught.value)) < 300
    assert not list(tmp_path.iterdir())


def test_one_key_twice_is_refused() -> None:
    class Twice(list):
        def categories(self):
            return {}

    with pytest.raises(DatasetReadError, match="Two items are called train/a"):
        SourceDataset(Twice([item("a"), item("a")]))


def test_path_is_relative_to_the_root_and_may_not_leave_it(tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    outside = tmp_path / "secret.png"
    outside.write_bytes(b"x")
    (root / "images" / "link.png").symlink_to(outside)
    (root / "images" / "inner.png").symlink_to(root / "images" / "real.png")
    items = dataset(
        item("a_real", path=str(root / "images" / "real.png")),
        item("b_dots", path=str(root / "images" / ".." / ".." / "secret.png")),
        item("c_absolute", path="/etc/passwd"),
        item("d_link", path=str(root / "images" / "link.png")),
        item("e_inner", path=str(root / "images" / "inner.png")),
    )

    checked = {entry.key.id: entry for entry in SourceDataset(items, root=root)}
    allowed = {e.key.id: e for e in SourceDataset(items, root=root, follow_symlinks=True)}

    assert checked["a_real"].path == "images/real.png"
    assert {id_ for id_, entry in checked.items() if entry.unsafe} == {
        "b_dots",
        "c_absolute",
        "d_link",
    }
    assert "--follow-symlinks" in checked["d_link"].unsafe
    assert {id_ for id_, entry in allowed.items() if entry.unsafe} == {"b_dots", "c_absolute"}


def test_without_a_root_the_common_folder_is_it(tmp_path: Path) -> None:
    source = SourceDataset(
        dataset(
            item("a", path=str(tmp_path / "x" / "a.png")),
            item("b", path=str(tmp_path / "y" / "b.png")),
        )
    )
    assert source.root == tmp_path
    assert [entry.path for entry in source] == ["x/a.png", "y/b.png"]


def test_missing_image_keeps_the_declared_size_and_boxes() -> None:
    declared = DatasetItem(
        "a",
        media=DmImage.from_file("/nowhere/a.png", size=(20, 30)),
        annotations=[Bbox(1, 2, 3, 4, label=1)],
        attributes={"id": 5},
    )
    record = next(iter(SourceDataset(dataset(declared)))).record(None, 1, bytes(32))
    assert (record.width, record.height) == (30, 20)
    assert record.attributes == {"id": 5}
    assert record.annotations[0].coords == (1, 2, 3, 4)


def test_a_size_that_no_row_can_hold_is_none() -> None:
    huge = DatasetItem("a", media=DmImage.from_file("/nowhere/a.png", size=(2**40, 30)))
    record = next(iter(SourceDataset(dataset(huge)))).record(None, 1, bytes(32))
    assert (record.width, record.height) == (0, 0)


@pytest.mark.parametrize(
    ("declared_hw", "rule", "coords"),
    [
        ((8, 6), "declared_upright", (1, 2, 3, 4)),  # upright 6 × 8
        ((6, 8), "rotated_with_image", (0, 1, 4, 3)),  # stored 8 × 6: x' = 6 - (y + h), y' = x
    ],
)
def test_boxes_of_an_exif_rotated_image(declared_hw, rule, coords) -> None:
    rotated = DatasetItem(
        "a",
        media=DmImage.from_file("/nowhere/a.png", size=declared_hw),
        annotations=[Bbox(1, 2, 3, 4, label=0)],
    )
    record = next(iter(SourceDataset(dataset(rotated)))).record((8, 6), 6, bytes(32))
    assert (record.width, record.height) == (6, 8)
    assert record.attributes["exif_boxes"] == rule
    assert record.annotations[0].coords == coords


def test_yolo_boxes_multiplied_by_the_stored_size_are_mended() -> None:
    stored = DatasetItem(
        "a",
        media=DmImage.from_file("/nowhere/a.png", size=(6, 8)),  # as an imagesize below 2.0 reports
        annotations=[Bbox(0.5 * 8, 0.25 * 6, 0.25 * 8, 0.5 * 6, label=0)],
    )
    imported = dataset(stored)
    imported._format = "yolo"
    record = next(iter(SourceDataset(imported))).record((8, 6), 6, bytes(32))
    assert record.attributes["exif_boxes"] == "relative_to_upright"
    assert record.annotations[0].coords == pytest.approx((3, 2, 1.5, 4))


def test_relative_boxes_are_known_from_the_dataset_and_from_a_transforms_source() -> None:
    sample = Path(__file__).parents[2] / "sample_data"
    coco = Dataset.import_from(str(sample / "coco"), "coco")
    yolo = Dataset.import_from(str(sample / "yolo"), "yolo")
    assert not has_relative_boxes(coco)
    assert has_relative_boxes(yolo)
    assert has_relative_boxes(yolo._data._source)
    assert not has_relative_boxes(coco._data._source)
