"""Objects of an item: which annotations form an object, its box, and its crop to embed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import ceil, cos, floor, isfinite, pi, radians, sin
from operator import mul
from typing import Any

from PIL import Image

from .errors import UsageError
from .records import AnnotationRecord, CropShape, ItemRecord, ObjectRecord, ObjectStatus, Status

__all__ = [
    "ObjectOptions",
    "box_of",
    "cut",
    "group_annotations",
    "hull",
    "objects_of",
    "outlined_area",
]

Box = tuple[float, float, float, float]

_SHOWN = frozenset(
    (
        *("bbox", "cuboid_2d", "cuboid_3d", "ellipse", "mask"),
        *("points", "polygon", "polyline", "rotated_bbox"),
    )
)
_ROUNDING_PX = 1.0
# COCO and YOLO versions of one dataset differ by 0.01 px. The number is odd so that few boxes end
# just there.
_FORMAT_PX = 0.023
_GRAY = (128, 128, 128)
_NO_BOX = (0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class ObjectOptions:
    """How an object is cut out of its image.

    Attributes
    ----------
    margin : float
        Added on each side of the box, as a fraction of its longer side; clamped to the image.
    shape : CropShape
        How a crop becomes square.
    min_px : int
        Objects whose box has a longer side below this get no vector.
    """

    margin: float = 0.1
    shape: CropShape = CropShape.SQUARE
    min_px: int = 16

    def __post_init__(self) -> None:
        margin, min_px = self.margin, self.min_px
        if isinstance(margin, bool) or not (isinstance(margin, int | float) and 0 <= margin <= 10):
            raise UsageError(f"``object_margin`` must be 0 to 10, not {margin}.")
        if type(min_px) is not int or min_px < 1:
            raise UsageError(f"``min_object_px`` must be at least 1, not {min_px}.")

    def __str__(self) -> str:
        shape = self.shape.name.lower()
        return f"margin {self.margin:g}, {shape}, at least {self.min_px} px"

    @classmethod
    def of(cls, provenance: Mapping[str, Any]) -> ObjectOptions | None:
        """Read the options from a provenance; None if it has none."""
        try:
            known = provenance["objects"]
            return cls(known["margin"], CropShape[known["shape"].upper()], known["min_px"])
        except (AttributeError, KeyError, TypeError, UsageError):
            return None

    def to_json(self) -> dict[str, float | str]:
        """Return the options as a provenance stores them."""
        shape = self.shape.name.lower()
        return {"margin": self.margin, "shape": shape, "min_px": self.min_px}


def group_annotations(annotations: Sequence[AnnotationRecord]) -> list[list[int]]:
    """Return the indices of each object's annotations; objects are in order of their first one.

    Annotations with the same group (not 0) and label form one object. If that object would have
    two boxes, masks or sets of keypoints, each of these is an object of its own. Labels and
    captions belong to no object.
    """
    found: dict[object, list[int]] = {}
    for place, annotation in enumerate(annotations):
        if annotation.type in _SHOWN:
            shared = annotation.group != 0
            key = (annotation.group, annotation.label) if shared else (None, place)
            found.setdefault(key, []).append(place)
    pieces = []
    for places in found.values():
        counts = Counter(annotations[place].type for place in places)
        several = {kind for kind, count in counts.items() if count > 1} - {"polygon", "polyline"}
        if not several:
            pieces.append(places)
            continue
        polygons = [place for place in places if annotations[place].type == "polygon"]
        pieces += [[place] for place in places if annotations[place].type != "polygon"]
        pieces += [polygons] if polygons else []
    return sorted(pieces)


def objects_of(record: ItemRecord, options: ObjectOptions) -> tuple[ObjectRecord, ...]:
    """Return an item's objects without vectors, in order of their first annotations.

    `record` must be complete (size and status). Objects to embed have status OK.
    """
    found = []
    for places in group_annotations(record.annotations):
        parts = [record.annotations[place] for place in places]
        box = box_of(parts)
        status = _status(parts, box, record, options)
        crop = (0, 0, 0, 0)
        if status.has_vector:  # whole pixels inside the image: x1, y1, x2, y2
            x, y, w, h = box
            margin = options.margin * max(w, h)
            across = _grown(x - margin, x + w + margin, record.width)
            down = _grown(y - margin, y + h + margin, record.height)
            if options.shape is CropShape.SQUARE:
                side = max(across[1] - across[0], down[1] - down[0])
                across = _widened(across, side, record.width)
                down = _widened(down, side, record.height)
            crop = across[0], down[0], across[1], down[1]
        each = ObjectRecord(
            label=parts[0].label,
            box=box,
            area=_area(parts, box),
            status=status,
            crop=crop,
            shape=options.shape,
            annotations=tuple(places),
        )
        found.append(each)
    return tuple(found)


def _status(
    parts: Sequence[AnnotationRecord], box: Box, record: ItemRecord, options: ObjectOptions
) -> ObjectStatus:
    x, y, w, h = box
    if not (isfinite(x + y + w + h) and w > 0 and h > 0):
        return ObjectStatus.NO_BOX
    if any(part.attributes.get("is_crowd") for part in parts):
        return ObjectStatus.CROWD
    if record.status is not Status.OK:
        return ObjectStatus.NO_IMAGE
    x1, y1 = max(x, 0.0), max(y, 0.0)
    x2, y2 = min(x + w, float(record.width)), min(y + h, float(record.height))
    if x1 >= x2 or y1 >= y2:
        return ObjectStatus.OUTSIDE
    if max(x2 - x1, y2 - y1) < options.min_px - _FORMAT_PX:
        return ObjectStatus.TOO_SMALL
    apart = x1, y1, record.width - x2, record.height - y2
    return ObjectStatus.WHOLE_IMAGE if max(apart) <= _ROUNDING_PX else ObjectStatus.OK


# Pixels ----------------------------------------------------------------------------------------


def _grown(low: float, high: float, limit: int) -> tuple[int, int]:
    """Round an interval outward to whole pixels inside the image, ignoring rounding of formats."""
    return floor(max(low + _FORMAT_PX, 0)), ceil(min(high - _FORMAT_PX, limit))


def _widened(interval: tuple[int, int], length: int, limit: int) -> tuple[int, int]:
    """Widen an interval to `length` pixels around its center, shifted to lie inside the image."""
    if length >= limit:
        return 0, limit
    low = (interval[0] + interval[1] - length) // 2
    low = min(max(low, 0), limit - length)
    return low, low + length


def cut(image: Image.Image, found: ObjectRecord, side_px: int) -> Image.Image:
    """Crop an object from its upright RGB image, as a square.

    Parameters
    ----------
    image : Image.Image
    found : ObjectRecord
        An object with a crop.
    side_px : int
        Side of the square to which a crop of shape STRETCH is resized.

    Notes
    -----
    A crop of shape SQUARE is padded with gray if the image is too small for the square.
    """
    crop = image.crop(found.crop)  # type: ignore[arg-type]
    if crop.width == crop.height:
        return crop
    if found.shape is CropShape.STRETCH:
        return crop.resize((side_px, side_px), Image.Resampling.BICUBIC)
    side = max(crop.size)
    square = Image.new("RGB", (side, side), _GRAY)
    square.paste(crop, ((side - crop.width) // 2, (side - crop.height) // 2))
    return square


# Geometry --------------------------------------------------------------------------------------


def box_of(parts: Sequence[AnnotationRecord]) -> Box:
    """Return the first bbox, else the hull of the visible geometry; zeros if there is none."""
    for part in parts:
        if part.type == "bbox":
            return part.coords[0], part.coords[1], part.coords[2], part.coords[3]
    corners = [found for part in parts if (found := hull(part)) is not None]
    if not corners:
        return _NO_BOX
    x1, y1 = (min(corner[i] for corner in corners) for i in (0, 1))
    x2, y2 = (max(corner[i] for corner in corners) for i in (2, 3))
    return x1, y1, x2 - x1, y2 - y1


def hull(annotation: AnnotationRecord) -> Box | None:
    """Return the box around an annotation: left, top, right, bottom.

    Absent keypoints are ignored. None if the annotation has no geometry.
    """
    coords = annotation.coords
    if annotation.type == "mask":
        from .rle import Rle, RleError

        try:
            x, y, w, h = Rle.from_json(annotation.rle).box()
        except RleError:
            return None
        return (x, y, x + w, y + h) if w and h else None
    if annotation.type == "bbox":
        x, y, w, h = coords
        return min(x, x + w), min(y, y + h), max(x, x + w), max(y, y + h)
    if annotation.type == "rotated_bbox":
        x, y, w, h, degrees = coords
        across, along = abs(cos(radians(degrees))), abs(sin(radians(degrees)))
        half_w = (abs(w) * across + abs(h) * along) / 2
        half_h = (abs(w) * along + abs(h) * across) / 2
        return x - half_w, y - half_h, x + half_w, y + half_h
    seen = annotation.visibility or (1,) * (len(coords) // 2)
    xs = [x for x, is_seen in zip(coords[0::2], seen, strict=False) if is_seen]
    ys = [y for y, is_seen in zip(coords[1::2], seen, strict=False) if is_seen]
    return (min(xs), min(ys), max(xs), max(ys)) if xs else None


def _area(parts: Sequence[AnnotationRecord], box: Box) -> float:
    """Return the area in the dataset, else the area of the mask, the polygons or the box."""
    for part in parts:
        given = part.attributes.get("area")
        if isinstance(given, int | float):
            return float(given)
    masks = [part for part in parts if part.type == "mask"]
    polygons = [part.coords for part in parts if part.type == "polygon"]
    if masks:
        from .rle import Rle, RleError

        with suppress(RleError):
            return Rle.from_json(masks[0].rle).area()
    if polygons:
        return outlined_area(polygons)
    if parts[0].type == "rotated_bbox":
        return abs(parts[0].coords[2] * parts[0].coords[3])
    area = box[2] * box[3]
    return area * pi / 4 if parts[0].type == "ellipse" else area


def outlined_area(polygons: Sequence[Sequence[float]]) -> float:
    """Return the summed area of polygons, each given as x, y of its corners."""
    areas = []
    for coords in polygons:
        xs, ys = coords[0::2], coords[1::2]
        down = sum(map(mul, xs, (*ys[1:], *ys[:1])))
        up = sum(map(mul, ys, (*xs[1:], *xs[:1])))
        areas.append(float(abs(down - up)) / 2)
    return sum(areas)
