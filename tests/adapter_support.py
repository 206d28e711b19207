"""What the tests of importing share: small datasets on disk, and what was made of their images."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from datumaro_embed.adapter import ImportedDataset, SourceDataset, import_dataset
from datumaro_embed.kinds import is_image_name
from datumaro_embed.records import AnnotationRecord, ItemRecord

SIZE = (96, 64)
CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]


def draw(*paths: Path) -> None:
    """Write small images, each of another colour."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE, (sum(map(ord, str(path))) * 7 % 255, 9, 90)).save(path)


def coco_image(number: object, name: str, **more: Any) -> dict[str, Any]:
    """Return an entry of ``images``."""
    return {"id": number, "file_name": name, "width": SIZE[0], "height": SIZE[1], **more}


def coco_box(number: object, image: object, category: object = 1, **more: Any) -> dict[str, Any]:
    """Return an entry of ``annotations``: one box."""
    box = {"id": number, "image_id": image, "category_id": category, "bbox": [1, 2, 10, 20]}
    return {**box, "area": 200, "iscrowd": 0, "segmentation": [], **more}


def write_document(
    file: Path,
    images: Iterable[Any] = (),
    annotations: Iterable[Any] = (),
    categories: Iterable[Any] = CATEGORIES,
) -> Path:
    """Write a COCO JSON file, and none of its images."""
    file.parent.mkdir(parents=True, exist_ok=True)
    body = {
        "images": [*images],
        "annotations": [*annotations],
        "categories": [*categories],
    }
    file.write_text(json.dumps(body), encoding="utf-8")
    return file


def write_coco_dataset(
    root: Path,
    images: Iterable[dict[str, Any]],
    annotations: Iterable[Any] = (),
    categories: Iterable[Any] = CATEGORIES,
) -> Path:
    """Write ``annotations/instances_train.json`` and its images below ``images/train``."""
    images = [*images]
    draw(*(root / "images/train" / entry["file_name"] for entry in images))
    write_document(root / "annotations/instances_train.json", images, annotations, categories)
    return root


def records(imported: ImportedDataset) -> dict[str, ItemRecord]:
    """Return records by ``subset/id``, as they are where no image was opened."""
    return {str(item.key): item.record(None, 1, b"") for item in imported.source}


def described(imported: ImportedDataset) -> dict[str, list[tuple[str, str | None]]]:
    """Return type and label of each annotation, by ``subset/id``."""
    labels = imported.source.categories.labels
    return {
        key: [(found.type, _label(found, labels)) for found in record.annotations]
        for key, record in records(imported).items()
    }


def lost(imported: ImportedDataset) -> dict[str, int]:
    """Return counts by reason."""
    return {reason.text: reason.count for reason in imported.losses}


def images_below(folder: Path) -> set[str]:
    """Return all image files below a folder, relative to it."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if is_image_name(path.name)}


def import_all(folder: Path, pathspec: str = "", *, without: Iterable[str] = ()) -> ImportedDataset:
    """Import a dataset and check: image files on disk = rows + losses, which are `without`."""
    imported = import_dataset(pathspec or str(folder))
    files = [os.path.relpath(imported.source.root / item.path, folder) for item in imported.source]
    assert len(files) == len(set(files))
    assert images_below(folder) == {*files, *without}
    named = sum(loss.count for loss in imported.losses if loss.text.startswith("image files "))
    assert named == len([*without])
    return imported


def _label(annotation: AnnotationRecord, labels: tuple[str, ...]) -> str | None:
    return labels[annotation.label] if annotation.label >= 0 else None


def as_datumaro(source: SourceDataset) -> tuple[dict[str, Any], list[ItemRecord]]:
    """Give categories without their ids and annotations without their areas, all rounded."""
    full = copy.deepcopy(dict(source.categories.full))
    for entry in full.get("label", {}).get("items", ()):
        entry.pop("coco_id", None)
    found = []
    for record in (item.record(None, 1, b"") for item in source):
        for annotation in record.annotations:
            annotation.attributes.pop("area", None)
        rounded = (
            replace(a, coords=tuple(round(xy, 2) for xy in a.coords)) for a in record.annotations
        )
        found.append(replace(record, annotations=tuple(rounded)))
    return full, found
