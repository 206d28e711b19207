"""Read COCO datasets as Datumaro items, with fewer losses than Datumaro's importer.

Datumaro's importer keeps only one of two images with the same id, treats category 0 as none,
refuses text ids, drops annotations that lack a field it does not need, and reads only one kind of
annotation. This module uses Datumaro's code for single annotations (tests check that valid files
give the same result) and does everything else itself, in one pass over each file.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image
from datumaro.plugins.data_formats.coco.format import CocoTask

from ..errors import DatasetReadError
from ..tally import Tally
from .coco_annotations import AnnotationReader, CocoCategories, Listed, number_annotations
from .coco_document import Document, as_id, marks, objects, read_document
from .coco_files import COCO_FORMATS, CocoFile, find_coco_files, find_images_folder, relative
from .same_stem import can_be_id, with_distinct_ids


def read_coco(path: Path, format_name: str, losses: Tally) -> tuple[Dataset, Path]:
    """Return a dataset, and the folder that holds its annotations and images.

    `path` is the dataset's folder, its ``annotations`` folder, or one JSON file.

    Raises `DatasetReadError`: no annotations, two files that contradict each other, or a file that
    is not COCO.

    Holds one parsed file at a time, and takes as long as Datumaro's importer.
    """
    tasks = COCO_FORMATS[format_name]
    files, others = find_coco_files(path, tasks, losses)
    is_whole = path.is_dir() and path not in {file.path.parent for file in files}
    root = path if is_whole else files[0].root
    categories = CocoCategories(files[0].root)
    items: dict[tuple[str, str], DatasetItem] = {}
    held: set[int] = set()
    for file in files:
        document = read_document(file.path)
        if others:
            held.update(marks(document, file.subset))
        task = file.task or _task_of(document["annotations"], tasks)
        label_of = categories.labels_of(document["categories"], task, file.path.name, losses)
        images = _read_images(document["images"], file, root, items, losses)
        reader = AnnotationReader(file.path, task, label_of, losses)
        for listed, annotation in _of_images(document["annotations"], images, reader):
            reader.read_into(listed, annotation)
    for file in others:
        if not _is_held(file, files, held):
            assert file.task is not None
            example = f"{relative(file.path, path)}: use {path}:coco_{file.task.name} to read it"
            losses.add("annotation files of another task, not read", example)
    distinct = with_distinct_ids(items.values(), losses)
    dataset = Dataset.from_iterable(distinct, categories=categories.all, ann_types=set())
    return dataset, root


def _is_held(other: CocoFile, files: list[CocoFile], held: set[int]) -> bool:
    """Tell whether the files to read hold every image and object of another file.

    Datumaro saves each object as instances, as stuff and, if it is a mask, as a panoptic segment.
    """
    if other.path.stat().st_size > sum(file.path.stat().st_size for file in files):
        return False  # it cannot be held; no need to parse it
    try:
        return all(mark in held for mark in marks(read_document(other.path), other.subset))
    except DatasetReadError:
        return False


def _task_of(annotations: list[Any], tasks: Collection[CocoTask]) -> CocoTask:
    """Infer the task of a file from its first annotations; its name does not show it."""
    if len(tasks) == 1:
        return next(iter(tasks))
    fields = set().union(*objects(annotations[:100]))
    for field, task in (
        ("segments_info", CocoTask.panoptic),
        ("keypoints", CocoTask.person_keypoints),
        ("bbox", CocoTask.instances),
        ("segmentation", CocoTask.instances),
        ("caption", CocoTask.captions),
        ("category_id", CocoTask.labels),
    ):
        if field in fields and task in tasks:
            return task
    return CocoTask.instances


def _read_images(
    entries: list[Any],
    file: CocoFile,
    dataset: Path,
    items: dict[tuple[str, str], DatasetItem],
    losses: Tally,
) -> dict[int | str, Listed]:
    """Add an item for each image that no earlier file has listed; return the images by id."""
    where = file.path.name
    named = [(name, entry) for entry in entries if (name := _file_name(entry, where, losses))]
    folder = str(find_images_folder(file, dataset, [name for name, _ in named]))
    by_id: dict[int | str, Listed] = {}
    listed: set[str] = set()
    for name, entry in named:
        image_id = as_id(entry.get("id"))
        path = os.path.normpath(os.path.join(folder, name))
        item = items.get((file.subset, path))
        if item is None:
            item = DatasetItem(
                id=os.path.splitext(name)[0],
                subset=file.subset,
                media=Image.from_file(path=path, size=_size(entry)),
                annotations=[],
                attributes={} if image_id is None else {"id": image_id},
            )
            items[file.subset, path] = item
        elif path in listed:
            losses.add("images listed twice, read as one", f"{where}: {name}")
        listed.add(path)
        if image_id is not None:
            before = by_id.get(image_id)
            is_new = before is None or before.item is item
            by_id[image_id] = Listed(item if is_new else None, entry)
    return by_id


def _file_name(entry: object, where: str, losses: Tally) -> str:
    """Return the path of a listed image below its folder; if there is none, "" and a loss."""
    name = entry.get("file_name") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not name:
        losses.add("image entries without a file name", f"{where}: {str(entry)[:80]}")
        return ""
    path = name.replace("\\", "/")  # written on Windows; Datumaro replaces it too
    if not can_be_id(path):
        losses.add("image entries whose path leaves the images' folder", f"{where}: {name}")
        return ""
    return path


def _size(entry: Document) -> tuple[int, int] | None:
    height, width = as_id(entry.get("height")), as_id(entry.get("width"))
    if isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0:
        return height, width
    return None


def _of_images(
    annotations: list[Any], images: Mapping[int | str, Listed], reader: AnnotationReader
) -> Iterator[tuple[Listed, Document]]:
    """Yield each annotation with its image, last first like Datumaro, and remove it."""
    if reader.task is not CocoTask.panoptic:
        number_annotations(annotations, reader)
    while annotations:
        annotation = annotations.pop()
        if not isinstance(annotation, dict):
            reader.lose("annotations that are not JSON objects", {}, str(annotation)[:80])
            continue
        image_id = as_id(annotation.get("image_id"))
        listed = images.get(image_id) if image_id is not None else None
        if image_id is None:
            reader.lose("annotations without an image id", annotation)
        elif listed is None:
            what = f"image {image_id}"
            reader.lose("annotations of images that are not listed", annotation, what)
        elif listed.item is None:
            what = f"id {image_id}"
            reader.lose("annotations whose image id belongs to two images", annotation, what)
        else:
            yield listed, annotation
