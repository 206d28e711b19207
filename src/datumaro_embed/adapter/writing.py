"""Datumaro items → a dataset on disk, by Datumaro's own exporters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from datumaro.components.annotation import Label, Mask
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.environment import Environment
from datumaro.components.errors import DatumaroError, ItemExportError

from ..errors import DatasetWriteError, UsageError
from ..logs import each_warning_once
from .coco_files import COCO_FORMATS
from .dataset import SourceDataset
from .media import loads_images


def as_dataset(source: SourceDataset) -> Dataset:
    """Give Datumaro's own class, which holds the items."""
    return Dataset.from_iterable(
        list(source.items()), categories=dict(source.declared), ann_types=set()
    )


@loads_images
def write_dataset(source: SourceDataset, form: str, folder: Path) -> None:
    """Write a dataset and its images into an empty folder; files of images are copied.

    Raises `DatasetWriteError`: Datumaro's exporter refuses the dataset.
    """
    dataset, masks = as_dataset(source), set[tuple[str, int]]()
    if form in COCO_FORMATS:
        masks = {(item.subset, each.id) for item in dataset for each in _single_masks(item)}
        dataset = as_dataset(source.changed(map(_as_crowds, dataset))) if masks else dataset
    try:
        with each_warning_once():
            dataset.export(str(folder), form, save_media=True)
    except Exception as error:
        cause: BaseException = error
        where = ""
        while isinstance(cause, DatumaroError) and cause.__cause__ is not None:
            if isinstance(cause, ItemExportError):
                where = f" ({'/'.join(reversed(cause.item_id))})"
            cause = cause.__cause__
        said = " ".join(f"{type(cause).__name__}: {cause}".split())
        raise DatasetWriteError(f"Datumaro's exporter of {form} ends with {said}{where}") from error
    for subset in {subset for subset, _ in masks}:
        for path in (folder / "annotations").glob(f"*_{subset}.json"):
            _mark_single_masks(path, {number for name, number in masks if name == subset})


# Datumaro writes a COCO mask as polygons, which are not the same, or else as a crowd.


def _single_masks(item: DatasetItem) -> Iterator[Mask]:
    for each in item.annotations:
        if isinstance(each, Mask) and each.id and not each.attributes.get("is_crowd"):
            yield each


def _as_crowds(item: DatasetItem) -> DatasetItem:
    numbers = {each.id for each in _single_masks(item)}
    return item.wrap(
        annotations=[
            each.wrap(attributes={**each.attributes, "is_crowd": True})
            if each.id in numbers
            else each
            for each in item.annotations
        ]
    )


def _mark_single_masks(path: Path, numbers: set[int]) -> None:
    content = json.loads(path.read_bytes())
    for entry in content["annotations"]:
        for each in entry.get("segments_info", [entry]):
            if each.get("id") in numbers and "iscrowd" in each:
                each["iscrowd"] = 0
    path.write_text(json.dumps(content), encoding="utf-8")


def check_format(form: str) -> None:
    """Refuse a format that Datumaro cannot write; raises `UsageError`."""
    known = sorted(Environment().exporters)
    if form not in known:
        raise UsageError(
            f"Datumaro cannot write the format {form!r}. Choose another ``format``: "
            f"{', '.join(known)}."
        )


def with_label(item: DatasetItem, label: int) -> DatasetItem:
    """Give an item another annotation: a label of the whole image."""
    return item.wrap(annotations=[*item.annotations, Label(label)])
