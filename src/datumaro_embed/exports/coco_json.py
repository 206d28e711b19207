"""COCO JSON of the normalised annotations.

Source: the COCO data format (images, annotations, categories; boxes x, y, w, h in pixels from the
top-left; masks as compressed RLE). Images carry ``subset``, ``item_id`` and ``split`` besides.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..objects import group_annotations
from ..records import AnnotationRecord, Categories, ItemRecord, ObjectStatus, Status
from ..rle import Rle
from ..store import EmbeddingStore

Row = dict[str, Any]
_TOGETHER = ("bbox", "mask", "points", "polygon")


def write_coco(store: EmbeddingStore, path: Path, *, embedded_only: bool) -> dict[str, int]:
    """Write one file; image id is the row + 1, category id the label's index + 1.

    Returns how many annotations of each type were left out, as COCO has no place for them.
    """
    skipped: Counter[str] = Counter()
    images: list[Row] = []
    annotations: list[Row] = []
    for row in range(store.n_rows):
        item = store.item(row)
        if embedded_only and item.status is not Status.OK:
            continue
        images.append(
            {
                "id": row + 1,
                "file_name": item.path or item.key.id,
                "width": item.width,
                "height": item.height,
                "subset": item.key.subset,
                "item_id": item.key.id,
                "split": item.split.name.lower(),
            }
        )
        found = _of_item(item, skipped)
        annotations.extend({"image_id": row + 1, **annotation} for annotation in found)
    ids = [annotation["id"] for annotation in annotations]
    if min(ids, default=1) < 1 or len(set(ids)) < len(ids):
        for number, annotation in enumerate(annotations, start=1):
            annotation["id"] = number
    content = {
        "info": {"description": "written by datumaro-embed: boxes in upright pixels"},
        "images": images,
        "annotations": annotations,
        "categories": list(_categories(store.categories)),
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return dict(sorted(skipped.items()))


def _categories(categories: Categories) -> Iterator[Row]:
    """Yield each label, with its keypoints and their skeleton where it has some."""
    points = _part(_part(categories.full, "points"), "items")
    for label, name in enumerate(categories.labels):
        known = _part(points, str(label))
        fields = {"keypoints": known.get("labels"), "skeleton": known.get("joints")}
        found = {field: value for field, value in fields.items() if value}
        yield {"id": label + 1, "name": name, **found}


def _part(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = content.get(name)
    return found if isinstance(found, dict) else {}


def _of_item(item: ItemRecord, skipped: Counter[str]) -> Iterator[Row]:
    """Yield one annotation for each object, where they are known, and what belongs to none."""
    rest = dict(enumerate(item.annotations))
    for entry in item.objects or ():
        parts = [rest.pop(number) for number in entry.annotations if number in rest]
        found = list(coco_annotations(parts, skipped))
        if len(found) == 1 and "bbox" in found[0] and entry.status is not ObjectStatus.NO_BOX:
            found[0] |= {"bbox": list(entry.box), "area": entry.area}
        yield from found
    yield from coco_annotations(list(rest.values()), skipped)


def coco_annotations(
    annotations: Sequence[AnnotationRecord], skipped: Counter[str]
) -> Iterator[Row]:
    """Yield COCO annotations; what shares group and label is one of them."""
    objects = group_annotations(annotations)
    in_objects = {place for places in objects for place in places}
    others = [[place] for place in range(len(annotations)) if place not in in_objects]
    for places in sorted([*objects, *others]):
        parts = [annotations[place] for place in places]
        try:
            with np.errstate(all="ignore"):
                geometry = _geometry(parts)
        except (KeyError, TypeError, ValueError):  # coordinates that are none, a mask that is none
            geometry = None
        numbers = [*geometry.get("bbox", ()), geometry.get("area", 0)] if geometry else []
        if geometry is None or not np.isfinite(numbers).all():  # JSON has no NaN and no infinity
            skipped.update(part.type for part in parts)
            continue
        category = {"category_id": parts[0].label + 1} if parts[0].label >= 0 else {}
        crowd = int(bool(parts[0].attributes.get("is_crowd", False)))
        yield {"id": parts[0].ann_id, **category, "iscrowd": crowd, **geometry}


def _geometry(parts: list[AnnotationRecord]) -> Row | None:
    """Give what COCO says of one instance; None where it has no word for it.

    The box is the given one, else that of the outline; the area is the outline's.
    """
    kinds = {kind: [part for part in parts if part.type == kind] for kind in _TOGETHER}
    if sum(map(bool, kinds.values())) < 2:
        return _of_one_type(parts)
    geometry: Row = {}
    for kind in ("points", "bbox", "mask", "polygon"):
        found = _of_one_type(kinds[kind]) if kinds[kind] else {}
        if found is None:
            return None
        geometry |= found
    if kinds["bbox"]:
        geometry["bbox"] = list(kinds["bbox"][0].coords)
    return geometry


def _of_one_type(parts: list[AnnotationRecord]) -> Row | None:
    first = parts[0]
    if first.type == "caption":
        return {"caption": first.text}
    if first.label < 0:
        return None
    if first.type == "bbox":
        x, y, w, h = first.coords
        return {"bbox": [x, y, w, h], "area": w * h, "segmentation": []}
    if first.type == "polygon":
        outlines = [np.array(part.coords).reshape(-1, 2) for part in parts]
        return {
            "bbox": _hull(np.concatenate(outlines)),
            "area": sum(map(_shoelace, outlines)),
            "segmentation": [list(part.coords) for part in parts],
        }
    if first.type == "mask":
        rle = Rle.from_json(first.rle)
        return {"bbox": rle.box(), "area": rle.area(), "segmentation": rle.to_coco()}
    return _keypoints(first) if first.type == "points" else None


def _shoelace(points: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    x, y = points.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def _hull(points: np.ndarray[Any, np.dtype[np.float64]]) -> list[float]:
    low, high = points.min(axis=0), points.max(axis=0)
    return [*low.tolist(), *(high - low).tolist()]


def _keypoints(annotation: AnnotationRecord) -> Row:
    points = np.array(annotation.coords).reshape(-1, 2)
    visibility = annotation.visibility or (2,) * len(points)
    shown = zip(points.tolist(), visibility, strict=True)
    box = _hull(points)
    return {
        "bbox": box,
        "area": box[2] * box[3],
        "keypoints": [value for (x, y), seen in shown for value in (x, y, seen)],
        "num_keypoints": sum(seen > 0 for seen in visibility),
    }
