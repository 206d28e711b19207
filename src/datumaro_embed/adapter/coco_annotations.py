"""Convert single COCO categories and annotations to Datumaro's, and count losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from math import isfinite
from pathlib import Path
from typing import Any

import attr
from datumaro.components.annotation import (
    Annotation,
    AnnotationType,
    Bbox,
    Categories,
    LabelCategories,
    Mask,
    Points,
    PointsCategories,
    Polygon,
)
from datumaro.plugins.data_formats.coco.base import _CocoBase
from datumaro.plugins.data_formats.coco.format import CocoTask

from ..objects import outlined_area
from ..tally import Tally
from .annotations import GivenBbox
from .coco_document import Document, as_id, as_number

_WITH_KEYPOINTS = (CocoTask.instances, CocoTask.person_keypoints)
_PARTS = {"segmentation": "segmentations", "keypoints": "keypoints", "bbox": "boxes"}


_GivenCategory = attr.make_class(  # a label with the id of its category
    "_GivenCategory",
    {"coco_id": attr.ib(default=None)},
    bases=(LabelCategories.Category,),
    slots=True,
    order=False,
)


def add_categories(
    known: dict[AnnotationType, Categories],
    entries: list[Any],
    task: CocoTask,
    where: str,
    losses: Tally,
) -> dict[int | str, int | None]:
    """Add one file's categories to those of all files, by name: ids may differ between files.

    New labels are in the order of ids, as in Datumaro. Returns labels by id, None if two categories
    share the id.
    """
    sound = []
    for entry in entries:
        category_id = as_id(entry.get("id")) if isinstance(entry, dict) else None
        if category_id is None:
            losses.add("categories without an id", f"{where}: {str(entry)[:80]}")
        else:
            sound.append((category_id, entry))
    sound.sort(key=lambda pair: (isinstance(pair[0], str), pair[0]))

    labels = known.setdefault(AnnotationType.label, LabelCategories())
    label_of: dict[int | str, int | None] = {}
    id_of: dict[str, int | str] = {}
    for category_id, entry in sound:
        name, parent = entry.get("name"), entry.get("supercategory")
        if name is None or name == "":
            losses.add("categories without a name, named by their id", f"{where}: {category_id}")
            name = category_id
        name = str(name)
        if id_of.setdefault(name, category_id) != category_id:
            example = f"{where}: {name}, {id_of[name]} and {category_id}"
            losses.add("categories with the same name, merged", example)
        label = labels.find(name)[0]
        if label is None:
            label = labels.add(name, parent=parent if isinstance(parent, str) else None)
            if isinstance(category_id, int):
                plain = labels.items[label]
                labels.items[label] = _GivenCategory(plain.name, plain.parent, coco_id=category_id)
        label_of[category_id] = label if label_of.get(category_id, label) == label else None
        shows = task is CocoTask.instances and bool(entry.get("keypoints"))
        if shows or task is CocoTask.person_keypoints:
            points = known.setdefault(AnnotationType.points, PointsCategories())
            if isinstance(entry.get("keypoints"), list):
                with suppress(TypeError):  # an invalid skeleton
                    joints = entry.get("skeleton") or ()
                    points.add(label, labels=entry["keypoints"], joints=joints)
    return label_of


def number_annotations(annotations: list[Any], reader: AnnotationReader) -> None:
    """Make ids unique integers: Datumaro treats annotations with one id as parts of one object."""
    seen: set[int] = set()
    without: list[Document] = []
    for annotation in annotations:
        if not isinstance(annotation, dict):
            continue
        number = as_id(annotation.get("id"))
        if not isinstance(number, int) or number in seen:
            without.append(annotation)
            if number in seen:
                reader.lose("annotations with a duplicate id, renumbered", annotation)
        else:
            seen.add(number)
            annotation["id"] = number
    free = (number for number in count(1) if number not in seen)
    for annotation, number in zip(without, free, strict=False):
        annotation["id"] = number


class AnnotationReader(_CocoBase):  # type: ignore[misc]
    """Reads one annotation with Datumaro's code, without reading files."""

    def __init__(
        self, path: Path, task: CocoTask, label_of: Mapping[int | str, int | None], losses: Tally
    ) -> None:
        self.task = self._task = task
        self._mask_dir = str(path.with_suffix(""))
        self._merge_instance_polygons = False
        self._label_of = label_of
        self._where = path.name
        self._losses = losses
        self._unlabelled = ""

    def lose(self, reason: str, annotation: Document, detail: object = "") -> None:
        """Count a loss of one annotation."""
        number = annotation.get("id")
        parts = (f"annotation {number}" if number is not None else "", str(detail))
        self._losses.add(reason, f"{self._where}: {', '.join(filter(None, parts))}")

    def read_into(self, present: list[Annotation], info: Document, annotation: Document) -> None:
        """Add the readable parts of one annotation to its item's, and count the others.

        `info` is the image's entry.
        """
        try:
            found = self._read(annotation, info)
            if not found and self.task is not CocoTask.panoptic:
                self.lose("annotations without a box or segmentation", annotation)
        except Exception:
            found = self._read_in_part(annotation, info)
        if found and self._unlabelled:
            self.lose(self._unlabelled, annotation)
        # Datumaro drops the file's area; it is kept if it differs from the geometry's.
        area: Any = annotation.get("area")
        is_number = isinstance(area, int | float) and not isinstance(area, bool)
        if found and is_number and isfinite(area) and area != drawn_area(found):
            found[0].attributes["area"] = float(area)
        if found and self.task is CocoTask.person_keypoints:
            # COCO lists each person in two files: only the keypoints are added where the instances
            # file has their object (same id and box). If the id belongs to another one, it is new.
            same = [other for other in present if other.id == found[0].id]
            boxes = {_box_and_label(part) for part in found if isinstance(part, Bbox)}
            is_known = any(isinstance(o, Bbox) and _box_and_label(o) in boxes for o in same)
            if same and (is_known or not boxes):
                known = [(o.points, o.visibility) for o in same if isinstance(o, Points)]
                points = (part for part in found if isinstance(part, Points))
                found = [part for part in points if (part.points, part.visibility) not in known]
            elif same:
                free = max(other.id for other in present) + 1
                found = [part.wrap(id=free, group=free) for part in found]
        present.extend(found)

    def _read(self, annotation: Document, info: Document) -> list[Annotation]:
        """Read a whole annotation; raises any error of Datumaro's."""
        self._unlabelled = ""
        found: list[Annotation] = []
        if self.task is CocoTask.panoptic:
            for segment in annotation.get("segments_info", ()):
                segment.setdefault("iscrowd", 0)
            self._load_panoptic_ann(annotation, found)
            return found
        empty = {"iscrowd": 0, "segmentation": [], "bbox": [], "attributes": {}}
        for field, default in empty.items():
            if annotation.get(field) is None:
                annotation[field] = default
        box = annotation["bbox"]
        if any(isinstance(value, str) for value in box):
            raise TypeError("the box contains text")  # Datumaro would concatenate it
        if box and len(box) != 4:
            raise ValueError(f"the box has {len(box)} numbers, not 4")
        if self.task in _WITH_KEYPOINTS:
            with_keypoints = CocoTask.person_keypoints
            self._task = with_keypoints if annotation.get("keypoints") else CocoTask.instances
        if self.task not in (*_WITH_KEYPOINTS, CocoTask.stuff):
            self._load_annotations(annotation, info, found)
            return found
        self._load_annotations({**annotation, "bbox": []}, info, found)
        _give_back(found, annotation)
        if box:
            fields = {"id": annotation["id"], "group": annotation["id"]}
            fields |= {
                "attributes": annotation["attributes"],
                "label": self._get_label_id(annotation),
            }
            found.append(GivenBbox(*box, given=tuple(map(float, box)), **fields))
        return found

    def _read_in_part(self, annotation: Document, info: Document) -> list[Annotation]:
        """Read an annotation with its types repaired, if necessary without one of its parts."""
        mended = dict(annotation)
        for field in {"iscrowd", "score"} & mended.keys():
            try:
                number = as_number(mended[field])
                mended[field] = int(bool(number)) if field == "iscrowd" else number
            except (TypeError, ValueError):
                del mended[field]
        with suppress(TypeError, ValueError):  # otherwise the box is dropped below
            mended["bbox"] = [as_number(value) for value in mended["bbox"]]
        if not isinstance(mended.get("attributes", {}), dict):
            del mended["attributes"]

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
        """Override Datumaro's: 0 may be a category, and an unknown category keeps the box."""
        category = as_id(annotation.get("category_id"))
        label = self._label_of.get(category) if category is not None else None
        why = "category not declared"
        if category is None:
            why = "no category"
        elif category in self._label_of:
            why = "two categories have this id"
        elif category == 0:  # if undeclared, 0 means no category in COCO
            return None
        if label is None:
            self._unlabelled = f"annotations left without a label: {why}"
        return label


def _give_back(found: list[Annotation], annotation: Document) -> None:
    """Replace Datumaro's rounded polygon and keypoint coordinates with those of the file."""
    outlines = iter(annotation["segmentation"])
    for part in found:
        if isinstance(part, Polygon):
            part.points = [*map(float, next(outlines))]
        elif isinstance(part, Points):
            numbers = annotation["keypoints"]
            pairs = zip(numbers[::3], numbers[1::3], strict=True)
            part.points = [float(value) for pair in pairs for value in pair]


def drawn_area(parts: Sequence[Annotation]) -> float | None:
    """Return the area of one object's polygons or box; None if it has a mask."""
    outlines = [part.points for part in parts if isinstance(part, Polygon)]
    boxes = [part.given for part in parts if isinstance(part, GivenBbox)]
    if any(isinstance(part, Mask) for part in parts):
        return None
    return outlined_area(outlines) if outlines else boxes[0][2] * boxes[0][3] if boxes else None


def _box_and_label(box: Bbox) -> tuple[object, ...]:
    return *box.get_bbox(), box.label
