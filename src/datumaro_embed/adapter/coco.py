"""Read COCO datasets as Datumaro items, with fewer losses than Datumaro's importer.

Datumaro's importer keeps only one of two images with the same id, treats category 0 as none,
refuses text ids, drops annotations that lack a field it does not need, and reads only one kind of
annotation. This module uses Datumaro's code for single annotations (tests check that valid files
give the same result) and does everything else itself, in one pass over each file.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from datumaro.components.annotation import AnnotationType, Categories, LabelCategories
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image
from datumaro.plugins.data_formats.coco.format import CocoTask
from datumaro.util.meta_file_util import has_meta_file, parse_meta_file

from ..errors import DatasetReadError
from ..tally import Tally
from .coco_annotations import AnnotationReader, add_categories, number_annotations
from .coco_document import Document, as_id, marks, objects, read_document
from .coco_files import COCO_FORMATS, CocoFile, find_coco_files, find_images_folder, relative
from .same_stem import can_be_id, with_distinct_ids

# An image's item, and its entry in a file; no item if two images of the file have its id
Listed = tuple[DatasetItem | None, Document]


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
    categories: dict[AnnotationType, Categories] = {}
    meta_labels: dict[int | str, int | None] = {}
    if has_meta_file(str(files[0].root)):
        names = parse_meta_file(str(files[0].root))
        categories[AnnotationType.label] = LabelCategories.from_iterable(names)
        meta_labels = {index + 1: index for index in range(len(names))}
    items: dict[tuple[str, str], DatasetItem] = {}
    held: set[int] = set()
    for file in files:
        document = read_document(file.path)
        if others:
            held.update(marks(document, file.subset))
        task = file.task or _task_of(document["annotations"], tasks)
        label_of = {}
        if task not in {CocoTask.captions, CocoTask.image_info}:
            entries, where = document["categories"], file.path.name
            label_of = add_categories(categories, entries, task, where, losses) or meta_labels
        images = _read_images(document["images"], file, root, items, losses)
        reader = AnnotationReader(file.path, task, label_of, losses)
        _read_annotations(document["annotations"], images, reader)

    # Datumaro saves each object as instances, as stuff and, if it is a mask, as a panoptic segment.
    n_bytes_read = sum(file.path.stat().st_size for file in files) if others else 0
    for file in others:
        try:
            can_be_held = file.path.stat().st_size <= n_bytes_read  # else no need to parse it
            is_held = can_be_held and all(
                mark in held for mark in marks(read_document(file.path), file.subset)
            )
        except DatasetReadError:
            is_held = False
        if not is_held:
            assert file.task is not None
            example = f"{relative(file.path, path)}: use {path}:coco_{file.task.name} to read it"
            losses.add("annotation files of another task, not read", example)
    distinct = with_distinct_ids(items.values(), losses)
    dataset = Dataset.from_iterable(distinct, categories=categories, ann_types=set())
    return dataset, root


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
) -> dict[int | str | None, Listed]:
    """Add an item for each image that no earlier file has listed; return the images by id."""
    where = file.path.name
    named = []
    for entry in entries:
        name = entry.get("file_name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name:
            losses.add("image entries without a file name", f"{where}: {str(entry)[:80]}")
            continue
        below = name.replace("\\", "/")  # written on Windows; Datumaro replaces it too
        if can_be_id(below):
            named.append((below, entry))
        else:
            losses.add("image entries whose path leaves the images' folder", f"{where}: {name}")

    folder = str(find_images_folder(file, dataset, [name for name, _ in named]))
    by_id: dict[int | str | None, Listed] = {}
    listed: set[str] = set()
    for name, entry in named:
        image_id = as_id(entry.get("id"))
        path = os.path.normpath(os.path.join(folder, name))
        item = items.get((file.subset, path))
        if item is None:
            size = as_id(entry.get("height")), as_id(entry.get("width"))
            is_size = all(isinstance(side, int) and side > 0 for side in size)
            item = DatasetItem(
                id=os.path.splitext(name)[0],
                subset=file.subset,
                media=Image.from_file(path=path, size=size if is_size else None),
                annotations=[],
                attributes={} if image_id is None else {"id": image_id},
            )
            items[file.subset, path] = item
        elif path in listed:
            losses.add("images listed twice, read as one", f"{where}: {name}")
        listed.add(path)
        if image_id is not None:
            before, _ = by_id.get(image_id, (item, entry))
            is_new = before is item
            by_id[image_id] = item if is_new else None, entry
    return by_id


def _read_annotations(
    annotations: list[Any], images: Mapping[int | str | None, Listed], reader: AnnotationReader
) -> None:
    """Add each annotation to its item, last first like Datumaro, and remove it from the list."""
    if reader.task is not CocoTask.panoptic:
        number_annotations(annotations, reader)
    while annotations:
        annotation = annotations.pop()
        if not isinstance(annotation, dict):
            reader.lose("annotations that are not a JSON object", {}, str(annotation)[:80])
            continue
        image_id = as_id(annotation.get("image_id"))
        item, entry = images.get(image_id, (None, None))
        if image_id is None:
            reader.lose("annotations without an image id", annotation)
        elif entry is None:
            what = f"image {image_id}"
            reader.lose("annotations of images that are not listed", annotation, what)
        elif item is None:
            what = f"id {image_id}"
            reader.lose("annotations whose image id belongs to two images", annotation, what)
        else:
            reader.read_into(item.annotations, entry, annotation)
