"""What is wrong with annotations that are read and kept as they are: the reasons that are counted.

Nothing is mended here: a box outside its image may be the dataset's own convention.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import compress
from math import cos, isfinite, radians, sin

from ..records import AnnotationRecord
from ..rle import RleError

__all__ = ["OTHER_SIZE", "UNDECLARED_LABEL", "geometry_notes", "unreadable_note"]

OTHER_SIZE = "images of another size than the dataset declares"
UNDECLARED_LABEL = "annotations of a class that the dataset does not declare, stored without it"
_MISSING_MASK = "annotations whose mask file does not exist"
_BAD_RLE = "masks with an invalid run-length encoding"
_UNREADABLE = "annotations that cannot be read"
_MASK_SIZE = "masks of another size than their image"
_NOT_FINITE = "annotations with coordinates that are NaN or infinite"
_NO_AREA = "boxes of zero or negative width or height"
_OUTSIDE = "annotations wholly outside the image"
_BEYOND = "annotations that reach outside the image"

_ROUNDING_PX = 0.5  # files round coordinates, and some count pixels from 1
_WITH_SIDES = frozenset({"bbox", "rotated_bbox"})

Hull = tuple[float, float, float, float]


def unreadable_note(error: Exception) -> str:
    """Return the reason why an annotation was lost."""
    if isinstance(error, FileNotFoundError):
        return _MISSING_MASK
    return _BAD_RLE if isinstance(error, RleError) else _UNREADABLE


def geometry_notes(annotation: AnnotationRecord, width: int, height: int) -> Iterator[str]:
    """Yield what is wrong with the geometry of an annotation; mostly nothing.

    Parameters
    ----------
    width, height : int
        Of the upright image, pixels; 0 where unknown.
    """
    coords = annotation.coords
    if annotation.rle and width and not annotation.rle.startswith(f'{{"size": [{height}, {width}]'):
        yield _MASK_SIZE
    if not coords:
        return
    if not isfinite(sum(coords)):
        yield _NOT_FINITE
        return
    if annotation.type in _WITH_SIDES and (coords[2] <= 0 or coords[3] <= 0):
        yield _NO_AREA
    if width:
        x1, y1, x2, y2 = _hull(annotation)
        if _is_apart(x1, x2, width) or _is_apart(y1, y2, height):
            yield _OUTSIDE
        elif min(x1, y1) < -_ROUNDING_PX or max(x2 - width, y2 - height) > _ROUNDING_PX:
            yield _BEYOND


def _is_apart(low: float, high: float, side: int) -> bool:
    """Tell whether an interval has nothing in common with [0, side]; a point at an end has."""
    return (low < 0 and high <= 0) or (high > side and low >= side)


def _hull(annotation: AnnotationRecord) -> Hull:
    """Corners of the box around an annotation: left, top, right, bottom."""
    coords = annotation.coords
    if annotation.type == "bbox":
        x, y, w, h = coords
        return min(x, x + w), min(y, y + h), max(x, x + w), max(y, y + h)
    if annotation.type == "rotated_bbox":
        x, y, w, h, degrees = coords
        across, along = abs(cos(radians(degrees))), abs(sin(radians(degrees)))
        half_w = (abs(w) * across + abs(h) * along) / 2
        half_h = (abs(w) * along + abs(h) * across) / 2
        return x - half_w, y - half_h, x + half_w, y + half_h
    xs, ys = coords[0::2], coords[1::2]
    if annotation.visibility:  # what is absent has no place
        xs = tuple(compress(xs, annotation.visibility))
        ys = tuple(compress(ys, annotation.visibility))
    return min(xs, default=0), min(ys, default=0), max(xs, default=0), max(ys, default=0)
