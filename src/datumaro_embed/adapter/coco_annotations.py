"""COCO annotations → Datumaro's, one by one as Datumaro reads them; what is lost is counted."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from datumaro.components.annotation import Annotation, Bbox, Points
from datumaro.components.dataset_base import DatasetItem
from datumaro.plugins.data_formats.coco.base import _CocoBase
from datumaro.plugins.data_formats.coco.format import CocoTask

from ..tally import Tally
from .coco_document import Document, as_id, as_number

__all__ = ["AnnotationReader", "Listed", "number_annotations"]

_PARTS = {"segmentation": "segmentations", "keypoints": "keypoints", "bbox": "boxes"}


class Listed(NamedTuple):
    """An image as one file lists it; without an item where two images have its id."""

    item: DatasetItem | None
    info: Document


def number_annotations(annotations: list[Any], reader: AnnotationReader) -> None:
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


class AnnotationReader(_CocoBase):  # type: ignore[misc]
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

    def read_into(self, listed: Listed, annotation: Document) -> None:
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
        if found and self.task is CocoTask.person_keypoints:
            found = _joined(found, present)
        present.extend(found)

    def _read(self, annotation: Document, info: Document) -> list[Annotation]:
        """Read a whole annotation, or raise what Datumaro raises."""
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
            self._task = self.task if annotation.get("keypoints") else CocoTask.instances
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


def _joined(found: list[Annotation], present: list[Annotation]) -> list[Annotation]:
    """Return the keypoints alone where the instances file has their object: same id, same box.

    COCO's two files say each person twice. Another object of that id gets another one.
    """
    same = [other for other in present if other.id == found[0].id]
    if not same:
        return found
    boxes = {_box_and_label(part) for part in found if isinstance(part, Bbox)}
    if not boxes or any(isinstance(o, Bbox) and _box_and_label(o) in boxes for o in same):
        return [part for part in found if isinstance(part, Points)]
    free = max(other.id for other in present) + 1
    return [part.wrap(id=free, group=free) for part in found]


def _box_and_label(box: Bbox) -> tuple[object, ...]:
    return *box.get_bbox(), box.label
