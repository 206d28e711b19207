"""COCO datasets → Datumaro items: Datumaro's own reading of each annotation, and less is lost.

Datumaro's importer keeps one of two images of one id, takes category 0 for none, refuses ids that
are text, drops annotations that lack a field it does not need, and reads one kind of annotation
only. Here its reading of single annotations is kept (what it gives for sound files is equal, and
tested), and all around it is done here, in one pass over each file.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from datumaro.components.annotation import Annotation, Bbox, Points
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image
from datumaro.plugins.data_formats.coco.base import _CocoBase
from datumaro.plugins.data_formats.coco.format import CocoTask
from datumaro.util.os_util import contains_unsafe_path_component

from ..tally import Tally
from .coco_categories import CocoCategories
from .coco_document import Document, as_id, as_number, read_document
from .coco_files import COCO_FORMATS, CocoFile, find_coco_files, find_images_folder
from .same_stem import with_distinct_ids

__all__ = ["read_coco"]

_PARTS = {"segmentation": "segmentations", "keypoints": "keypoints", "bbox": "boxes"}


class _Listed(NamedTuple):
    """An image as one file lists it; without an item where two images have its id."""

    item: DatasetItem | None
    info: Document


def read_coco(path: Path, format_name: str, losses: Tally) -> tuple[Dataset, Path]:
    """Read a COCO dataset.

    Parameters
    ----------
    path : Path
        Its folder, its ``annotations`` folder, or one JSON file.
    format_name : str
        One of `COCO_FORMATS`.
    losses : Tally
        Where is counted what was not read, or not as it stands in the files.

    Returns
    -------
    dataset : datumaro Dataset
    root : Path
        The folder in which annotations and images lie.

    Raises
    ------
    DatasetReadError
        No annotations here, two files that contradict each other, or a file that is not COCO.

    Notes
    -----
    Holds one parsed file at a time, and takes as long as Datumaro's own importer.
    """
    tasks = COCO_FORMATS[format_name]
    files = find_coco_files(path, tasks, losses)
    is_whole = path.is_dir() and path not in {file.path.parent for file in files}
    root = path if is_whole else files[0].root
    categories = CocoCategories(files[0].root)
    items: dict[tuple[str, str], DatasetItem] = {}
    for file in files:
        document = read_document(file.path)
        task = file.task or _task_of(document["annotations"], tasks)
        label_of = categories.labels_of(document["categories"], task, file.path.name, losses)
        images = _read_images(document["images"], file, root, items, losses)
        reader = _AnnotationReader(file.path, task, label_of, losses)
        for listed, annotation in _of_images(document["annotations"], images, reader):
            reader.read_into(listed, annotation)
    distinct = with_distinct_ids(items.values(), losses)
    dataset = Dataset.from_iterable(distinct, categories=categories.all, ann_types=set())
    return dataset, root


def _task_of(annotations: list[Any], tasks: Collection[CocoTask]) -> CocoTask:
    """Infer from the first annotations what a file holds whose name does not say it."""
    if len(tasks) == 1:
        return next(iter(tasks))
    first = [annotation for annotation in annotations[:100] if isinstance(annotation, dict)]
    fields = {field for annotation in first for field in annotation}
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
) -> dict[int | str, _Listed]:
    """Add an item for each image that no file before has listed; return the images by id."""
    usable = [entry for entry in entries if _is_usable(entry, file.path.name, losses)]
    folder = str(find_images_folder(file, dataset, [entry["file_name"] for entry in usable]))
    by_id: dict[int | str, _Listed] = {}
    listed: set[str] = set()
    for entry in usable:
        name = entry["file_name"]
        image_id = as_id(entry.get("id"))
        item = items.get((file.subset, name))
        if item is None:
            item = DatasetItem(
                id=os.path.splitext(name)[0],
                subset=file.subset,
                media=Image.from_file(path=os.path.join(folder, name), size=_size(entry)),
                annotations=[],
                attributes={} if image_id is None else {"id": image_id},
            )
            items[file.subset, name] = item
        elif name in listed:
            losses.add("images listed twice, read as one", f"{file.path.name}: {name}")
        listed.add(name)
        if image_id is not None:
            before = by_id.get(image_id)
            is_new = before is None or before.item is item
            by_id[image_id] = _Listed(item if is_new else None, entry)
    return by_id


def _is_usable(entry: object, where: str, losses: Tally) -> bool:
    name = entry.get("file_name") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not name:
        losses.add("image entries without a file name", f"{where}: {str(entry)[:80]}")
        return False
    if contains_unsafe_path_component(name) or os.path.isabs(name):
        losses.add("image entries whose path leaves the images' folder", f"{where}: {name}")
        return False
    return True


def _size(entry: Document) -> tuple[int, int] | None:
    height, width = as_id(entry.get("height")), as_id(entry.get("width"))
    if isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0:
        return height, width
    return None


def _of_images(
    annotations: list[Any], images: Mapping[int | str, _Listed], reader: _AnnotationReader
) -> Iterator[tuple[_Listed, Document]]:
    """Yield each annotation with its image, last first as Datumaro does, and let go of it."""
    if reader.task is not CocoTask.panoptic:
        _number(annotations, reader)
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
            reader.lose(
                "annotations of images that are not listed", annotation, f"image {image_id}"
            )
        elif listed.item is None:
            reader.lose("annotations of an id that two images have", annotation, f"id {image_id}")
        else:
            yield listed, annotation


def _number(annotations: list[Any], reader: _AnnotationReader) -> None:
    """Make ids whole and different: Datumaro takes what has one id for parts of one object."""
    seen: set[int] = set()
    without: list[Document] = []
    for annotation in annotations:
        if not isinstance(annotation, dict):
            continue
        number = as_id(annotation.get("id"))
        if not isinstance(number, int) or number in seen:
            without.append(annotation)
            if number in seen:
                reader.lose("annotations numbered anew, as another has their id", annotation)
        else:
            seen.add(number)
            annotation["id"] = number
    free = (number for number in count(1) if number not in seen)
    for annotation, number in zip(without, free, strict=False):
        annotation["id"] = number


class _AnnotationReader(_CocoBase):  # type: ignore[misc]
    """Datumaro's reading of one annotation, without its reading of files."""

    def __init__(
        self, path: Path, task: CocoTask, label_of: Mapping[int | str, int | None], losses: Tally
    ) -> None:
        self.task = task
        self._task = task
        self._mask_dir = str(path.with_suffix(""))
        self._merge_instance_polygons = False
        self._label_of = label_of
        self._where = path.name
        self._losses = losses
        self._unlabelled = ""

    def lose(self, reason: str, annotation: Document, detail: object = "") -> None:
        """Count what one annotation lost."""
        number = annotation.get("id")
        parts = (f"annotation {number}" if number is not None else "", str(detail))
        self._losses.add(reason, f"{self._where}: {', '.join(filter(None, parts))}")

    def read_into(self, listed: _Listed, annotation: Document) -> None:
        """Add to an item what can be read of one annotation, and count the rest."""
        assert listed.item is not None
        try:
            found = self._read(annotation, listed.info)
            if not found and self.task is not CocoTask.panoptic:
                self.lose("annotations without a box or segmentation", annotation)
        except Exception:
            found = self._read_in_part(annotation, listed.info)
        if found and self._unlabelled:
            self.lose(self._unlabelled, annotation)
        present = listed.item.annotations
        if self.task is CocoTask.person_keypoints and _is_there(found, present):
            found = [part for part in found if isinstance(part, Points)]
        present.extend(found)

    def _read(self, annotation: Document, info: Document) -> list[Annotation]:
        """Read a whole annotation; Datumaro's exception where that does not go."""
        self._unlabelled = ""
        found: list[Annotation] = []
        if self.task is CocoTask.panoptic:
            for segment in annotation.get("segments_info", ()):
                segment.setdefault("iscrowd", 0)
            self._load_panoptic_ann(annotation, found)
            return found
        for field, default in (("iscrowd", 0), ("segmentation", []), ("bbox", [])):
            if annotation.get(field) is None:
                annotation[field] = default
        if any(isinstance(value, str) for value in annotation["bbox"]):
            raise TypeError("text in the box")  # which Datumaro would add up as text
        if self.task is CocoTask.person_keypoints:
            self._task = CocoTask.person_keypoints if annotation.get("keypoints") else _INSTANCES
        self._load_annotations(annotation, info, found)
        return found

    def _read_in_part(self, annotation: Document, info: Document) -> list[Annotation]:
        """Read an annotation with its types mended, and if need be without one of its parts."""
        mended = _mended(annotation)
        problem: Exception | None = None
        for part in (None, *_PARTS):
            if part is not None and not mended.get(part):
                continue
            try:
                found = self._read({**mended, **({part: []} if part else {})}, info)
            except Exception as error:
                problem = problem or error
                continue
            if part and found:
                self.lose(f"{_PARTS[part]} that cannot be read", annotation, problem)
            if found:
                return found
        self.lose("annotations that cannot be read", annotation, problem)
        return []

    def _get_label_id(self, annotation: Document) -> int | None:
        """As Datumaro's, but 0 may be a category, and without a known one the box remains."""
        category = as_id(annotation.get("category_id"))
        if category is not None and category in self._label_of:
            label = self._label_of[category]
            if label is None:
                self._unlabelled = "annotations left without a label, as two categories have its id"
            return label
        if category is None:
            self._unlabelled = "annotations left without a label, as they have no category"
        elif category != 0:  # undeclared, 0 is COCO's word for no category
            self._unlabelled = "annotations left without a label, as their category is not declared"
        return None


_INSTANCES = CocoTask.instances


def _mended(annotation: Document) -> Document:
    """Return a copy whose numbers are numbers, where they can be read as such."""
    mended = dict(annotation)
    for field in ("iscrowd", "score"):
        if field in mended:
            try:
                mended[field] = as_number(mended[field])
            except (TypeError, ValueError):
                del mended[field]
    if "iscrowd" in mended:
        mended["iscrowd"] = int(bool(mended["iscrowd"]))
    with suppress(TypeError, ValueError):  # else it is left out
        mended["bbox"] = [as_number(value) for value in mended["bbox"]]
    if not isinstance(mended.get("attributes", {}), dict):
        del mended["attributes"]
    return mended


def _is_there(found: list[Annotation], present: list[Annotation]) -> bool:
    """Tell whether keypoints belong to an object that the instances file has: same id and box."""
    boxes = [part for part in found if isinstance(part, Bbox)]
    return any(box == other for box in boxes for other in present if other.id == box.id)
