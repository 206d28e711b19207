"""Packed items are the items, and small; and Datumaro's warnings are said once."""

from __future__ import annotations

import logging
import pickle
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from datumaro.components import annotation as dm
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image

from adapter_support import as_datumaro
from datumaro_embed.adapter import SourceDataset, import_dataset
from datumaro_embed.adapter.items import Items
from datumaro_embed.logs import each_warning_once
from datumaro_embed.records import ItemKey, ItemRecord
from support import SAMPLE

SHAPES = [
    dm.Bbox(1, 2, 3, 4, label=0, attributes={"occluded": True, "n": np.int8(4)}),
    dm.Polygon([0, 0, 4, 0, 4, 3], label=1, group=3),
    dm.Points([1, 2, 3, 4], [0, 2], label=1),
    dm.Mask(np.eye(8, dtype=bool), label=0),
    dm.Mask(lambda: np.eye(8, dtype=bool), label=0),  # cannot be pickled
    dm.Caption("a cat, „quoted“"),
    dm.Label(0),
]


def items(n_items: int) -> Iterator[DatasetItem]:
    for number in range(n_items):
        yield DatasetItem(
            f"{number:06}",
            subset=("train", "val")[number % 2],
            media=Image.from_file(f"/data/images/{number:06}.jpg", size=(60, 80)),
            attributes={"number": number},
            annotations=SHAPES[number % 7 :: 3],
        )


def records(source: SourceDataset) -> list[ItemRecord]:
    return [item.record(None, 1, b"\0" * 32) for item in source]


def test_packed_items_have_the_keys_and_records_of_held_ones() -> None:
    dataset = Dataset.from_iterable(items(700), categories=["cat", "dog"])
    held, packed = SourceDataset(dataset), SourceDataset(dataset, packed=True)
    assert len(packed) == 700
    assert list(packed.keys()) == list(held.keys())
    assert records(packed) == records(packed) == records(held)
    some = set(list(held.keys())[5:600:7])
    assert records(packed.only(some.__contains__)) == records(held.only(some.__contains__))
    assert list(packed.only(lambda _: False)) == []


@pytest.mark.parametrize("name", ["coco", "yolo"])
def test_imported_datasets_are_packed(name: str) -> None:
    packed = import_dataset(str(SAMPLE / name)).source
    held = SourceDataset(Dataset.import_from(str(SAMPLE / name)), root=SAMPLE / name)
    assert as_datumaro(packed) == as_datumaro(held)
    assert packed.root == held.root


def test_packed_items_are_small() -> None:
    boxes = (
        DatasetItem(
            f"{number:06}",
            subset="train",
            media=Image.from_file(f"/data/images/{number:06}.jpg"),
            annotations=[dm.Bbox(number % 91, 2, 3, 4, label=0)],
        )
        for number in range(5000)
    )
    packed = Items(boxes, packed=True)
    assert sum(map(sys.getsizeof, [*packed._blocks, *packed._keys])) < 100 * 5000


def test_what_cannot_be_pickled_is_kept() -> None:
    lazy = dm.Mask(lambda: np.eye(8, dtype=bool), label=0)
    with pytest.raises(Exception, match="pickle"):
        pickle.dumps(lazy)
    pixels = Image.from_numpy(np.zeros((8, 8, 3), np.uint8))
    two = [DatasetItem("a", media=None, annotations=[lazy]), DatasetItem("b", media=pixels)]
    for item in two:
        (kept,) = Items([item], packed=True)
        assert kept is item
    assert list(Items(two, packed=True).keys()) == [
        ItemKey("default", "a"),
        ItemKey("default", "b"),
    ]


def test_a_warning_of_every_annotation_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), each_warning_once():
        for _ in range(5):
            logging.warning("Can't find mask")  # as Datumaro does, which has no logger of its own
        logging.warning("Item 7 is repeated")
    assert caplog.messages == ["Can't find mask", "Item 7 is repeated", "Can't find mask (5 times)"]
