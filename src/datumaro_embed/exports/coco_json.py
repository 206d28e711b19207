"""COCO JSON of the normalised annotations.

Source: the COCO data format (images, annotations, categories; boxes x, y, w, h in pixels from the
top-left; masks as compressed RLE). Images carry ``subset``, ``item_id`` and ``split`` besides.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..objects import group_annotations
from ..records import AnnotationRecord, Status
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
        for annotation in coco_annotations(item.annotations, skipped):
            known = {"id": len(annotations) + 1, "image_id": row + 1}
            annotations.append({**known, **annotation})
    labels = enumerate(store.categories.labels, start=1)
    content = {
        "info": {"description": "written by datumaro-embed: boxes in upright pixels"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in labels],
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return dict(sorted(skipped.items()))


def coco_annotations(
    annotations: Sequence[AnnotationRecord], skipped: Counter[str]
) -> Iterator[Row]:
    """Yield COCO annotations without ids; what shares group and label is one of them."""
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
        yield {**category, "iscrowd": crowd, **geometry}


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
