"""Write Datumaro items as a dataset on disk, with Datumaro's exporters."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datumaro.components.annotation import Annotation, Caption, Label, Mask
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.environment import Environment
from datumaro.components.errors import DatumaroError, ItemExportError
from datumaro.plugins.data_formats.coco.format import CocoTask

from ..errors import DatasetWriteError, UsageError
from ..logs import each_warning_once
from .annotations import GivenBbox
from .coco_annotations import drawn_area
from .coco_files import COCO_FORMATS
from .copying import with_copied_image
from .dataset import SourceDataset
from .image_folders import BY_FOLDER, for_exporter
from .media import loading_images
from .yolo_writing import write_yolo


def as_dataset(source: SourceDataset) -> Dataset:
    """Return the items as a Datumaro Dataset, which copies image files when it is exported."""
    items = list(map(with_copied_image, source.items()))
    return Dataset.from_iterable(items, categories=dict(source.declared), ann_types=set())


_OF_32_BITS = {"segmentation", "keypoints"}
Given = dict[str, dict[int, dict[str, object]]]  # by subset and annotation id


@loading_images()
def write_dataset(
    source: SourceDataset, form: str, folder: Path, *, as_datum: bool = False
) -> None:
    """Write a dataset and its images into an empty folder; image files are copied.

    With `as_datum`, the result is the same as `datum`'s, including its losses.

    Raises `DatasetWriteError` if Datumaro's exporter fails.
    """
    if not as_datum and form == "yolo_ultralytics" and write_yolo(source, folder):
        return
    given: Given = {}
    try:
        with each_warning_once():
            parts = [(as_dataset(source), {})] if as_datum else _parts(source, form, given)
            for part, options in parts:
                part.export(str(folder), form, save_media=True, **options)
    except Exception as error:
        raise DatasetWriteError(f"Datumaro's exporter of {form} failed: {_cause(error)}") from error
    for left in folder.glob("annotations/__*.tmp"):  # Datumaro could not remove them
        left.unlink()
    if not as_datum and form in COCO_FORMATS:
        for subset in {item.subset for item in source.items()}:
            names = (f"{task.name}_{subset}.json" for task in CocoTask)
            for path in filter(Path.is_file, map((folder / "annotations").joinpath, names)):
                content = json.loads(path.read_bytes())
                for entry in content["annotations"]:
                    for each in entry.get("segments_info", [entry]):
                        known = given.get(subset, {}).get(each.get("id"), {})
                        each |= {key: value for key, value in known.items() if key in each}
                        each |= {key: _rounded(each[key]) for key in _OF_32_BITS & each.keys()}
                path.write_text(json.dumps(content), encoding="utf-8")


def _parts(
    source: SourceDataset, form: str, given: Given
) -> Iterator[tuple[Dataset, dict[str, Any]]]:
    """Yield the datasets to export, each with the exporter's options."""
    if form not in COCO_FORMATS:
        written = source.changed(map(for_exporter, source.items())) if form in BY_FOLDER else source
        yield as_dataset(written), {}
        return
    # One subset at a time: Datumaro gives two images the same id if their names are equal.
    subsets: dict[str, list[DatasetItem]] = defaultdict(list)
    for item in source.items():
        subsets[item.subset].append(_for_coco(item, given))
    tasks = {"points": "person_keypoints", "caption": "captions", "label": "labels"}
    for items in subsets.values():
        # Datumaro would write all tasks, and fail at some.
        found = {each.type.name for item in items for each in item.annotations}
        named = [task for kind, task in tasks.items() if kind in found]
        if found - set(tasks) or not named:
            named.insert(0, "instances")
        yield as_dataset(source.changed(items)), {"tasks": named} if form == "coco" else {}


def _cause(error: BaseException) -> str:
    """Return the error that stopped an exporter, and its item."""
    where = ""
    while isinstance(error, DatumaroError) and error.__cause__ is not None:
        if isinstance(error, ItemExportError):
            where = f" ({'/'.join(reversed(error.item_id))})"
        error = error.__cause__
    if isinstance(error, AttributeError) and error.__context__:  # raised by its error report
        error = error.__context__
    return " ".join(f"{type(error).__name__}: {error}{where}".split())


def _for_coco(item: DatasetItem, given: Given) -> DatasetItem:
    """Prepare an item for Datumaro's COCO exporter, and note the values to restore afterward.

    The exporter converts masks to polygons, which is inexact, or marks them as crowds; it
    recomputes areas and rounds numbers to two decimals.
    """
    parts: dict[int, list[Annotation]] = defaultdict(list)
    for each in item.annotations:
        if each.id and not isinstance(each, Label | Caption):
            parts[each.id].append(each)
    if not parts:
        return item
    own: dict[int, dict[str, object]] = {}
    for number, found in parts.items():
        fields = own[number] = {}
        areas = [each.attributes["area"] for each in found if "area" in each.attributes]
        area = areas[0] if areas else drawn_area(found)
        if area is not None:
            fields["area"] = area
        for each in found:
            if isinstance(each, GivenBbox):
                fields["bbox"] = list(each.given)
            if isinstance(each, Mask) and not each.attributes.get("is_crowd"):
                fields["iscrowd"] = 0

    given.setdefault(item.subset, {}).update(own)
    annotations = []
    for each in item.annotations:
        attributes = {key: value for key, value in each.attributes.items() if key != "area"}
        crowd = {"is_crowd": True} if "iscrowd" in own.get(each.id, ()) else {}
        annotations.append(each.wrap(attributes=attributes | crowd))
    return item.wrap(annotations=annotations)


def _rounded(value: object) -> object:
    """Round as Datumaro has rounded: its 32 bits of 10.11 are 10.109999656677246."""
    if isinstance(value, list):
        return [*map(_rounded, value)]
    return round(value, 2) if isinstance(value, float) else value


def check_format(form: str) -> None:
    """Raise `UsageError` for a format that Datumaro cannot write."""
    known = sorted(Environment().exporters)
    if form not in known:
        raise UsageError(
            f"Datumaro cannot write the format {form!r}. Choose another ``format``: "
            f"{', '.join(known)}."
        )


def with_label(item: DatasetItem, label: int) -> DatasetItem:
    """Add a label of the whole image to an item."""
    return item.wrap(annotations=[*item.annotations, Label(label)])
