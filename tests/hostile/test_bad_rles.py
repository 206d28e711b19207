"""RLEs that crash pycocotools cost a mask, whether a dataset or a store file holds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datumaro.components import annotation as dm
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image as DmImage
from datumaro.plugins.data_formats.coco.base import _CocoBase

from datumaro_embed import AnnotationRecord, Categories, ItemKey, ItemRecord, convert_store
from datumaro_embed.adapter import SourceDataset, import_dataset
from datumaro_embed.store import open_store
from store_support import create_store
from support import picture, run

BAD: list[dict[str, Any]] = [
    {"size": [0, 0], "counts": "11"},
    {"size": [0, 0], "counts": ""},
    {"size": [0, 48], "counts": "1"},
    {"size": [-40, 48], "counts": "1"},
    {"size": [2**40, 48], "counts": "1"},
    {"size": [2**31, 2**31], "counts": "1"},
    {"size": [40, 48], "counts": "34"},
    {"size": [40, 48], "counts": "oooooooooo"},
    {"size": [40, 48], "counts": "é"},
    {"size": [40, 48], "counts": "1\u00001"},
    {"size": [40, 48], "counts": [1, -1]},
    {"size": [40, 48], "counts": [2**70]},
    {"size": [40], "counts": "1"},
]
NOTE = "masks with an invalid run-length encoding"


def sound() -> dict[str, Any]:
    return {"size": [40, 48], "counts": [100, 20, 40 * 48 - 120]}


def test_a_store_file_of_bad_masks_is_converted(tmp_path: Path) -> None:
    """As a process, which [0, 0] ended with SIGFPE."""
    store = tmp_path / "store.h5"
    masks = [*map(json.dumps, [*BAD, sound()]), "", "{", "[" * 5000]
    annotations = [AnnotationRecord("mask", label=0, rle=rle) for rle in masks]
    with create_store(store, dim=2) as writer:
        record = ItemRecord(ItemKey("train", "a"), width=48, height=40, annotations=(*annotations,))
        writer.append(record, np.array([1.0, 0.0]))
        writer.set_categories(Categories(("cat",)))
        writer.seal({})
    done = run("datumaro-embed", "convert", store, "--to", "coco", "-o", tmp_path / "e.json")
    assert done.returncode == 0, done.stderr
    assert f"{len(BAD) + 3} mask" in done.stdout
    (annotation,) = json.loads((tmp_path / "e.json").read_text())["annotations"]
    assert (annotation["area"], annotation["bbox"]) == (20, [2, 20, 1, 20])


@pytest.mark.parametrize("orientation", [1, 6])
def test_bad_masks_of_a_dataset_are_counted_and_the_rest_is_kept(orientation: int) -> None:
    masks = [dm.RleMask(rle=rle, label=0) for rle in [*BAD, sound()]]
    item = DatasetItem(
        "a",
        media=DmImage.from_file("/nowhere/a.jpg", size=(40, 48)),
        annotations=[*masks, dm.Bbox(1, 2, 3, 4, label=0)],
    )
    (source,) = SourceDataset(Dataset.from_iterable([item], categories=["cat"]))
    record = source.record((48, 40), orientation, bytes(32))
    assert [annotation.type for annotation in record.annotations] == ["bbox", "mask"]
    assert record.notes == (NOTE,) * len(BAD)


def test_bad_masks_in_a_coco_file_are_counted(tmp_path: Path) -> None:
    root = tmp_path / "data"
    (root / "annotations").mkdir(parents=True)
    (root / "images" / "train").mkdir(parents=True)
    picture(1, (48, 40)).save(root / "images/train/a.jpg")
    annotations = [
        {"id": n, "image_id": 1, "category_id": 1, "iscrowd": 1, "segmentation": rle, "bbox": []}
        for n, rle in enumerate([*BAD, sound()], start=1)
    ]
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 48, "height": 40}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "cat"}],
    }
    (root / "annotations/instances_train.json").write_text(json.dumps(content))
    imported = import_dataset(f"{root}:coco")
    (item,) = imported.source
    record = item.record((48, 40), 1, bytes(32))
    (mask,) = record.annotations
    assert json.loads(mask.rle)["size"] == [40, 48]
    # Datumaro's reading refuses some of them first.
    assert len(record.notes) + imported.losses.total >= len(BAD)
    assert set(record.notes) == {NOTE}


@pytest.mark.parametrize("points", [[[1, 2, 3]], [[float("nan")] * 6], [[1e9] * 6]])
def test_polygons_that_cannot_be_merged_to_a_mask_cost_it(points: list[list[float]]) -> None:
    """Datumaro hands them to pycocotools when the mask is asked for."""
    mask = dm.RleMask(rle=_CocoBase._lazy_merged_mask(points, 40, 48), label=0)
    image = DmImage.from_file("/nowhere/a.jpg", size=(40, 48))
    item = DatasetItem("a", media=image, annotations=[mask])
    (source,) = SourceDataset(Dataset.from_iterable([item], categories=["cat"]))
    record = source.record((48, 40), 1, bytes(32))
    assert record.annotations == ()
    assert len(record.notes) == 1


def test_numbers_that_json_lacks_are_left_out_of_coco(tmp_path: Path) -> None:
    nan, inf = float("nan"), float("inf")
    annotations = (
        AnnotationRecord("bbox", label=0, coords=(nan, 1.0, 2.0, 3.0)),
        AnnotationRecord("bbox", label=0, coords=(1.0, 1.0, inf, 3.0)),
        AnnotationRecord("bbox", label=0, coords=(1.0, 1.0, 1e308, 1e308)),
        AnnotationRecord("polygon", label=0, coords=(1.0, nan, 2.0, 3.0, 4.0, 5.0)),
        AnnotationRecord("points", label=0, coords=(-inf, 1.0), visibility=(2,)),
        AnnotationRecord("bbox", label=0, coords=(1.0, 2.0, 3.0, 4.0)),
    )
    with create_store(tmp_path / "s.h5", dim=2) as writer:
        writer.append(ItemRecord(ItemKey("a", "b"), annotations=annotations), np.array([1.0, 0]))
        writer.set_categories(Categories(("cat",)))
        writer.seal({})
    with open_store(tmp_path / "s.h5") as store:
        summary = convert_store(store, tmp_path / "e.json", to="coco")
    assert summary.skipped == {"bbox": 3, "polygon": 1, "points": 1}

    def refuse(token: str) -> float:
        raise AssertionError(token)

    text = (tmp_path / "e.json").read_text()
    (left,) = json.loads(text, parse_constant=refuse)["annotations"]
    assert left["bbox"] == [1, 2, 3, 4]
