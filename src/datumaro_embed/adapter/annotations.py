"""Datumaro annotations and categories → records, in one canonical order.

COCO's importer yields an item's annotations backwards, YOLO's forwards; order means nothing in
either. So rows are sorted by type, label name and coordinates (to 0.01 px), and then by id.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from datumaro.components import annotation as dm
from pycocotools import mask as coco_mask

from ..geometry import orient_mask
from ..records import AnnotationRecord, Categories
from .jsonable import jsonable

__all__ = ["annotation_record", "canonical_order", "categories_record"]

_COORDS: dict[type[dm.Annotation], Callable[[Any], Sequence[float]]] = {
    dm.Bbox: lambda a: (a.x, a.y, a.w, a.h),
    dm.RotatedBbox: lambda a: (a.cx, a.cy, a.w, a.h, a.r),
    dm.Polygon: lambda a: a.points,
    dm.PolyLine: lambda a: a.points,
    dm.Points: lambda a: a.points,
    dm.Ellipse: lambda a: a.points,
}
_WHOLE = (dm.Label, dm.Caption, dm.Mask, *_COORDS)
_COMMON_FIELDS = ("id", "attributes", "group", "object_id", "label", "z_order")


def annotation_record(annotation: dm.Annotation, mask_orientation: int = 1) -> AnnotationRecord:
    """Convert one annotation; its coordinates stay as Datumaro has them.

    Parameters
    ----------
    annotation : datumaro Annotation
    mask_orientation : int
        EXIF orientation to turn a mask by; 1 leaves it.
    """
    coords = _COORDS.get(type(annotation), lambda _: ())(annotation)
    label = getattr(annotation, "label", None)
    return AnnotationRecord(
        type=annotation.type.name,
        label=-1 if label is None else int(label),
        ann_id=int(annotation.id),
        group=int(annotation.group),
        object_id=int(annotation.object_id),
        z_order=int(getattr(annotation, "z_order", 0)),
        coords=tuple(float(value) for value in coords),
        rle=_rle(annotation, mask_orientation) if isinstance(annotation, dm.Mask) else "",
        text=annotation.caption if isinstance(annotation, dm.Caption) else "",
        visibility=_visibility(annotation),
        attributes=jsonable(annotation.attributes),
        extra="" if isinstance(annotation, _WHOLE) else _extra(annotation),
    )


def canonical_order(
    records: Iterable[AnnotationRecord], labels: Sequence[str]
) -> tuple[AnnotationRecord, ...]:
    """Sort one item's annotations so that every format of the same data gives the same rows."""

    def key(record: AnnotationRecord) -> tuple[object, ...]:
        name = labels[record.label] if 0 <= record.label < len(labels) else ""
        rounded = tuple(round(value, 2) for value in record.coords)
        return record.type, name, rounded, record.text, record.ann_id

    return tuple(sorted(records, key=key))


def categories_record(categories: Mapping[dm.AnnotationType, dm.Categories]) -> Categories:
    """Convert a dataset's categories: label names in its own order, and all of it as JSON."""
    labels = categories.get(dm.AnnotationType.label, ())
    return Categories(
        labels=tuple(category.name for category in labels),
        full={kind.name: jsonable(content) for kind, content in categories.items()},
    )


def _visibility(annotation: dm.Annotation) -> tuple[int, ...]:
    if not isinstance(annotation, dm.Points):
        return ()
    return tuple(int(value) for value in annotation.visibility or ())


def _rle(mask: dm.Mask, orientation: int) -> str:
    """COCO's compressed RLE (pycocotools) as JSON."""
    if isinstance(mask, dm.RleMask) and orientation == 1:
        encoded = mask.rle
    else:
        encoded = _encode(orient_mask(np.asarray(mask.image, dtype=np.bool_), orientation))
    counts = encoded["counts"]
    return json.dumps(
        {
            "size": [int(value) for value in encoded["size"]],
            "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts,
        }
    )


def _encode(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    encoded: dict[str, Any] = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return encoded


def _extra(annotation: dm.Annotation) -> str:
    """Everything that has no column of its own (cuboids, depth maps, tables …) as JSON."""
    fields = {
        name.lstrip("_"): jsonable(value)
        for name, value in annotation.as_dict().items()
        if name not in _COMMON_FIELDS
    }
    return json.dumps(fields, sort_keys=True, ensure_ascii=False)
