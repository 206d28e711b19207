"""Datumaro annotations and categories → records, in one canonical order.

COCO's importer yields an item's annotations backwards, YOLO's forwards; order means nothing in
either. So rows are sorted by type, label name and coordinates (to 0.01 px), and then by id.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from datumaro.components import annotation as dm

from ..geometry import orient_mask
from ..records import AnnotationRecord, Categories
from ..rle import Rle
from ..store.codec import encode_json
from .jsonable import jsonable
from .loading import loads_images
from .noticing import unreadable_note

__all__ = ["annotation_record", "canonical_order", "categories_record", "read_annotations"]

_COORDS: dict[type[dm.Annotation], Callable[[Any], Sequence[float]]] = {
    dm.Bbox: lambda a: (a.x, a.y, a.w, a.h),
    dm.RotatedBbox: lambda a: (a.cx, a.cy, a.w, a.h, a.r),
    dm.Polygon: lambda a: a.points,
    dm.PolyLine: lambda a: a.points,
    dm.Points: lambda a: a.points,
    dm.Ellipse: lambda a: a.points,
}
_WHOLE = (dm.Label, dm.Caption, dm.Mask, *_COORDS)
_MAX_POLYGONS_PX = 10_000_000
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
    record = AnnotationRecord(
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
    _check_range(record)
    return record


@loads_images
def read_annotations(
    annotations: Iterable[dm.Annotation], convert: Callable[[dm.Annotation], AnnotationRecord]
) -> tuple[list[AnnotationRecord], list[str]]:
    """Convert annotations; one that cannot be read costs nothing but itself.

    Masks are loaded here, by Datumaro or by the dataset author's own callable: anything may happen.

    Returns
    -------
    records : list of AnnotationRecord
    notes : list of str
        For each annotation that is lost, the reason.
    """
    records, notes = [], []
    for annotation in annotations:
        try:
            records.append(convert(annotation))
        except Exception as error:
            notes.append(unreadable_note(error))
    return records, notes


def canonical_order(
    records: Iterable[AnnotationRecord], labels: Sequence[str]
) -> tuple[AnnotationRecord, ...]:
    """Sort one item's annotations so that every format of the same data gives the same rows."""

    def key(record: AnnotationRecord) -> tuple[object, ...]:
        name = labels[record.label] if 0 <= record.label < len(labels) else ""
        # NaN, which is neither less nor more than anything, is put last.
        rounded = tuple(round(xy, 2) if xy == xy else math.inf for xy in record.coords)
        return record.type, name, rounded, record.text, record.ann_id

    return tuple(sorted(records, key=key))


def categories_record(categories: Mapping[dm.AnnotationType, dm.Categories]) -> Categories:
    """Convert a dataset's categories: label names in its own order, and all of it as JSON."""
    labels = categories.get(dm.AnnotationType.label, ())
    return Categories(
        labels=tuple(category.name for category in labels),
        full={kind.name: jsonable(content) for kind, content in categories.items()},
    )


def _check_range(record: AnnotationRecord) -> None:
    """Refuse numbers that the store has no room for."""
    ids = record.ann_id, record.group, record.object_id
    if max(record.label, record.z_order, -record.label, -record.z_order) >= 2**31:
        raise ValueError("the label or z-order needs more than 32 bits")
    if max(ids) >= 2**63 or min(ids) < -(2**63):
        raise ValueError("an id needs more than 64 bits")


def _visibility(annotation: dm.Annotation) -> tuple[int, ...]:
    if not isinstance(annotation, dm.Points):
        return ()
    return tuple(int(value) for value in annotation.visibility or ())


def _rle(mask: dm.Mask, orientation: int) -> str:
    """COCO's compressed RLE as JSON."""
    if isinstance(mask, dm.RleMask):
        rle = Rle.of(_encoded(mask))
        if orientation == 1:
            return rle.to_json()
        pixels = rle.mask()
    else:
        pixels = np.asarray(mask.image, dtype=np.bool_)
    return Rle.of_mask(orient_mask(pixels, orientation)).to_json()


def _encoded(mask: dm.RleMask) -> Any:
    """What an RLE mask was made of, before Datumaro gives it to pycocotools unchecked.

    Its COCO importer keeps runs that are not compressed, and polygons that are one mask, as a
    callable that merges them.
    """
    parts = getattr(mask._rle, "segmentation", None)
    if not parts:
        return mask.rle
    if isinstance(parts[0], Mapping):
        return parts[0]
    # Merging takes memory as the polygons' length; and NaN is compared with nothing.
    if not sum(float(np.abs(points).sum()) for points in parts) < _MAX_POLYGONS_PX:
        raise ValueError("the polygons are too large, or no numbers")
    return mask.rle


def _extra(annotation: dm.Annotation) -> str:
    """Everything that has no column of its own (cuboids, depth maps, tables …) as JSON."""
    fields = {
        name.lstrip("_"): jsonable(value)
        for name, value in annotation.as_dict().items()
        if name not in _COMMON_FIELDS
    }
    return encode_json(fields).decode("utf-8")
