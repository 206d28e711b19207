"""Write a YOLO dataset with the original images and label lines, to the last digit.

Datumaro's exporter rounds numbers and writes only boxes, no polygons or keypoints.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import yaml
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import ImageFromFile

from .dataset import SourceDataset
from .yolo import line_number
from .yolo_config import find_config, read_lines

_KEPT = ("kpt_shape", "flip_idx")  # of data.yaml


def write_yolo(source: SourceDataset, folder: Path) -> bool:
    """Write Ultralytics' layout into an empty folder; return False if the lines are unknown.

    They are known if the adapter has read the dataset as YOLO and no annotation was added since.
    """
    items = list(source.items())
    is_of_lines = all(
        isinstance(item.media, ImageFromFile)
        and not item.attributes
        and all(line_number(each) is not None for each in item.annotations)
        for item in items
    )
    if not is_of_lines or not any(map(_label_file, items)):
        return False
    for item in items:
        name = f"{item.id}{item.media.ext}"
        image = _place(folder / "images", item, name)
        if os.path.isfile(item.media.path):
            shutil.copyfile(item.media.path, image)
        if label_file := _label_file(item):
            path = _place(folder / "labels", item, f"{item.id}.txt")
            # The lines of the remaining annotations, each with its label's number
            labels = {line_number(each): each.label for each in item.annotations}
            kept = (
                f"{labels[number]} {line.split(maxsplit=1)[1]}\n"
                for number, line in enumerate(filter(None, read_lines(label_file)))
                if number in labels
            )
            path.write_text("".join(kept), encoding="utf-8")
    subsets = sorted({item.subset for item in items})
    content: dict[str, object] = {name: f"images/{name}" for name in subsets}
    content["names"] = dict(enumerate(source.categories.labels))
    described = find_config(source.root)
    if described is not None and described.suffix != ".data":
        own = yaml.safe_load(described.read_text("utf-8-sig"))
        content |= {key: own[key] for key in _KEPT if key in own}
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    (folder / "data.yaml").write_text(text, encoding="utf-8")
    return True


def _label_file(item: DatasetItem) -> str:
    return str(getattr(item.media, "label_file", ""))


def _place(folder: Path, item: DatasetItem, name: str) -> Path:
    path: Path = folder / item.subset / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
