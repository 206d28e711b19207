"""Convert Datumaro annotations and categories to records in a canonical order, and note faults.

COCO's importer yields an item's annotations backward and YOLO's forward; the order has no meaning
in either. So rows are sorted by type, label name, coordinates (to 0.01 px) and id.

This module repairs nothing: a box outside its image may be a convention of the dataset.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from math import inf, isfinite
from operator import itemgetter
from typing import Any

import attr
import numpy as np
from datumaro.components import annotation as dm

from ..encoding import encode_json
from ..geometry import orient_mask
from ..objects import hull
from ..records import AnnotationRecord, Categories
from .media import loading_images

UNDECLARED_LABEL = "annotations with an undeclared class, stored without a label"


@attr.attrs(slots=True, init=False, order=False)
class GivenBbox(dm.Bbox):  # type: ignore[misc]
    """A box with the numbers of its file; Datumaro rounds them and keeps x + w instead of w."""

    given: tuple[float, ...] = attr.ib(default=(), kw_only=True)


_COORDS: dict[type[dm.Annotation], Callable[[Any], Sequence[float]]] = {
    dm.Bbox: lambda a: (a.x, a.y, a.w, a.h),
    GivenBbox: lambda a: a.given,
    dm.RotatedBbox: lambda a: (a.cx, a.cy, a.w, a.h, a.r),
    dm.Cuboid2D: lambda a: [xy for corner in a.points for xy in corner],
    **dict.fromkeys((dm.Polygon, dm.PolyLine, dm.Points, dm.Ellipse), lambda a: a.points),
}
_WHOLE = (dm.Label, dm.Caption, dm.Mask, *(_COORDS.keys() - {dm.Cuboid2D}))
_MAX_POLYGONS_PX = 10_000_000
_COMMON_FIELDS = ("id", "attributes", "group", "object_id", "label", "z_order")
_ROUNDING_PX = 0.5  # files round coordinates, and some count pixels from 1


def annotation_record(annotation: dm.Annotation, mask_orientation: int = 1) -> AnnotationRecord:
    """Convert one annotation; its coordinates are unchanged.

    `mask_orientation`: EXIF orientation by which a mask is turned; 1: not turned.
    """
    coords = _COORDS.get(type(annotation), lambda _: ())(annotation)
    label = getattr(annotation, "label", None)
    seen = annotation.visibility if isinstance(annotation, dm.Points) else None
    rest = {} if isinstance(annotation, _WHOLE) else annotation.as_dict()  # cuboids, tables …
    rest = {
        name.lstrip("_"): jsonable(value)
        for name, value in rest.items()
        if name not in _COMMON_FIELDS
    }
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
        visibility=tuple(int(value) for value in seen or ()),
        attributes=jsonable(annotation.attributes),
        extra="" if isinstance(annotation, _WHOLE) else encode_json(rest).decode("utf-8"),
    )
    # The store cannot hold larger numbers.
    if max(record.label, record.z_order, -record.label, -record.z_order) >= 2**31:
        raise ValueError("the label or z-order needs more than 32 bits")
    ids = record.ann_id, record.group, record.object_id
    if max(ids) >= 2**63 or min(ids) < -(2**63):
        raise ValueError("an id needs more than 64 bits")
    return record


@loading_images()
def read_annotations(
    annotations: Iterable[dm.Annotation], convert: Callable[[dm.Annotation], AnnotationRecord]
) -> tuple[dict[int, AnnotationRecord], list[str]]:
    """Convert annotations, by index; drop each that fails, and note why.

    This loads masks, by Datumaro or a callable in the dataset, so it may raise any error.
    """
    records: dict[int, AnnotationRecord] = {}
    notes = []
    for place, annotation in enumerate(annotations):
        try:
            records[place] = convert(annotation)
        except FileNotFoundError:
            notes.append("annotations whose mask file does not exist")
        except Exception as error:
            from ..rle import RleError

            is_encoding = isinstance(error, RleError)
            what = "masks with an invalid run-length encoding" if is_encoding else ""
            notes.append(what or "annotations that cannot be read")
    return records, notes


def canonical_order(
    records: Iterable[AnnotationRecord], labels: Sequence[str]
) -> tuple[AnnotationRecord, ...]:
    """Sort one item's annotations so that the same data in any format gives the same rows."""
    keyed = []
    for record in records:
        name = labels[record.label] if 0 <= record.label < len(labels) else ""
        # NaN cannot be ordered, so it comes last.
        rounded = tuple(round(xy, 2) if xy == xy else inf for xy in record.coords)
        keyed.append(((record.type, name, rounded, record.text, record.ann_id), record))
    return tuple(record for _, record in sorted(keyed, key=itemgetter(0)))


def geometry_notes(annotation: AnnotationRecord, width: int, height: int) -> Iterator[str]:
    """Yield the faults of an annotation's geometry.

    `width`, `height`: pixels of the upright image; 0 if unknown.
    """
    coords = annotation.coords
    if annotation.rle and width and not annotation.rle.startswith(f'{{"size": [{height}, {width}]'):
        yield "masks whose size differs from the image"
    if not coords:
        return
    if not isfinite(sum(coords)):
        yield "annotations with coordinates that are NaN or infinite"
        return
    has_sides = annotation.type in {"bbox", "rotated_bbox"}
    if has_sides and (coords[2] <= 0 or coords[3] <= 0):
        yield "boxes of zero or negative width or height"
    corners = hull(annotation)
    if width and corners:
        x1, y1, x2, y2 = corners
        # A single point at an end of a side is not outside.
        is_beside = (x1 < 0 and x2 <= 0) or (x2 > width and x1 >= width)
        is_above_or_below = (y1 < 0 and y2 <= 0) or (y2 > height and y1 >= height)
        if is_beside or is_above_or_below:
            yield "annotations entirely outside the image"
        elif min(x1, y1) < -_ROUNDING_PX or max(x2 - width, y2 - height) > _ROUNDING_PX:
            yield "annotations that reach outside the image"


def categories_record(categories: Mapping[dm.AnnotationType, dm.Categories]) -> Categories:
    """Convert a dataset's categories: label names in its own order, and the whole as JSON."""
    labels = categories.get(dm.AnnotationType.label, ())
    return Categories(
        labels=tuple(category.name for category in labels),
        full={kind.name: jsonable(content) for kind, content in categories.items()},
    )


def with_labels(
    categories: Mapping[dm.AnnotationType, dm.Categories], names: Sequence[str]
) -> Mapping[dm.AnnotationType, dm.Categories]:
    """Return a dataset's categories with more labels at the end."""
    if not names:
        return categories
    known = categories.get(dm.AnnotationType.label, dm.LabelCategories())
    found = dm.LabelCategories.from_iterable(
        [*((each.name, each.parent, each.attributes) for each in known), *names]
    )
    return {**categories, dm.AnnotationType.label: found}


def jsonable(value: Any) -> Any:
    """Convert a value to dict, list, str, int, float, bool and None, losslessly.

    Sets become sorted lists, attrs classes dicts of their public fields (Datumaro's private ones
    are caches of these), arrays ``{"dtype", "shape", "base64"}``, bytes ``{"base64"}``; any other
    object becomes its ``repr``.
    """
    if isinstance(value, Enum):
        return value.name
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return jsonable(value.item())
    if isinstance(value, np.ndarray):
        shape = list(value.shape)
        return {"dtype": value.dtype.str, "shape": shape, **jsonable(value.tobytes())}
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, Mapping):
        return {
            key.name if isinstance(key, Enum) else str(key): jsonable(item)
            for key, item in value.items()
        }
    if isinstance(value, set | frozenset):
        return sorted((jsonable(item) for item in value), key=repr)
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if attr.has(type(value)):
        names = [field.name for field in attr.fields(type(value))]
        return {name: jsonable(getattr(value, name)) for name in names if name[:1] != "_"}
    return value.__name__ if isinstance(value, type) else repr(value)


def _rle(mask: dm.Mask, orientation: int) -> str:
    """Return a mask as COCO's compressed RLE in JSON."""
    from ..rle import Rle

    if isinstance(mask, dm.RleMask):
        # Datumaro passes an RLE to pycocotools unchecked. Its COCO importer keeps uncompressed
        # runs, and several polygons of one mask, as a callable that merges them.
        parts = getattr(mask._rle, "segmentation", None)
        if parts and isinstance(parts[0], Mapping):
            rle = Rle.of(parts[0])
        # Merging takes memory in proportion to the polygons' length; `not <` also refuses NaN.
        elif parts and not sum(float(np.abs(points).sum()) for points in parts) < _MAX_POLYGONS_PX:
            raise ValueError("the polygons are too large, or not numbers")
        else:
            rle = Rle.of(mask.rle)
        if orientation == 1:
            return rle.to_json()
        pixels = rle.mask()
    else:
        pixels = np.asarray(mask.image, dtype=np.bool_)
    return Rle.of_mask(orient_mask(pixels, orientation)).to_json()
