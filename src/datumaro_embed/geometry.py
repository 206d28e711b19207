"""Convert annotation geometry to upright pixels: EXIF rotation and the three rules for boxes.

An image may be stored rotated, with an EXIF tag that says how to turn it. Datasets differ in
whether their boxes refer to the stored or the upright image (see `choose_rule`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from enum import Enum

import numpy as np
import numpy.typing as npt

from .records import AnnotationRecord

Size = tuple[int, int]

# EXIF 2.32, tag 0x0112, from stored to upright: 5 to 8 swap x and y; then these flip an axis.
_FLIP_X, _FLIP_Y = (2, 3, 6, 7), (3, 4, 7, 8)
_MIRRORED = (2, 4, 5, 7)
_TURNED = {2: 180, 3: 180, 5: 90, 6: 90, 7: -90, 8: -90}  # degrees, clockwise


class BoxRule(Enum):
    """How the geometry of an EXIF-rotated item was read; stored in the item's attributes."""

    DECLARED_UPRIGHT = "declared_upright"
    ROTATED_WITH_IMAGE = "rotated_with_image"
    RELATIVE_TO_UPRIGHT = "relative_to_upright"


def upright_size(stored: Size, orientation: int) -> Size:
    """Width and height after the EXIF rotation; orientations 5 to 8 swap them."""
    return (stored[1], stored[0]) if orientation >= 5 else stored


def choose_rule(
    stored: Size, orientation: int, *, declared: Size | None, relative: bool
) -> BoxRule | None:
    """Decide what the boxes of one image refer to.

    Datumaro takes a YOLO image's size from the `imagesize` package. Since 2.0 it applies EXIF, so
    the boxes are upright; with an older version, the multiplication must be undone.

    Parameters
    ----------
    stored : (width, height)
        Pixels of the image as stored.
    orientation : int
        EXIF 1 to 8; 1 needs no rule.
    declared : (width, height) or None
        Size in the dataset, or the size by which its importer multiplied fractions.
    relative : bool
        The format stores fractions of the upright size (YOLO).
    """
    if orientation == 1:
        return None
    if declared is None or declared == upright_size(stored, orientation):
        return BoxRule.DECLARED_UPRIGHT
    return BoxRule.RELATIVE_TO_UPRIGHT if relative else BoxRule.ROTATED_WITH_IMAGE


def to_upright(
    annotation: AnnotationRecord, rule: BoxRule | None, stored: Size, orientation: int
) -> AnnotationRecord:
    """Return the annotation in upright pixels; for masks use `orient_mask`."""
    coords = annotation.coords
    if rule is None or rule is BoxRule.DECLARED_UPRIGHT or not coords:
        return annotation
    kind = annotation.type
    if rule is BoxRule.RELATIVE_TO_UPRIGHT:
        # Undo a multiplication by the stored size, and multiply by the upright size instead.
        width, height = upright_size(stored, orientation)
        scale_x, scale_y = width / stored[0], height / stored[1]
        coords = tuple(value for x, y in _pairs(coords) for value in (x * scale_x, y * scale_y))
    elif kind == "bbox":
        x, y, w, h = coords
        coords = orient_xywh((x, y, w, h), stored, orientation)
    elif kind == "rotated_bbox":
        cx, cy, w, h, degrees = coords
        turned = _TURNED.get(orientation, 0)
        angle = turned - degrees if orientation in _MIRRORED else turned + degrees
        coords = *_orient_point(cx, cy, stored, orientation), w, h, angle % 360
    elif kind == "ellipse":
        x1, y1, x2, y2 = coords
        x, y, w, h = orient_xywh((x1, y1, x2 - x1, y2 - y1), stored, orientation)
        coords = x, y, x + w, y + h
    elif kind in {"polygon", "polyline", "points", "cuboid_2d"}:
        corners = (_orient_point(x, y, stored, orientation) for x, y in _pairs(coords))
        coords = tuple(value for corner in corners for value in corner)
    return replace(annotation, coords=coords)


def orient_xywh(
    box: tuple[float, float, float, float], stored: Size, orientation: int
) -> tuple[float, float, float, float]:
    """Convert a box (x, y, w, h) from the stored image to the upright image."""
    x, y, w, h = box
    x1, y1 = _orient_point(x, y, stored, orientation)
    x2, y2 = _orient_point(x + w, y + h, stored, orientation)
    return min(x1, x2), min(y1, y2), abs(x2 - x1), abs(y2 - y1)


def orient_mask(mask: npt.NDArray[np.bool_], orientation: int) -> npt.NDArray[np.bool_]:
    """Turn a stored (height, width) mask upright by its EXIF orientation."""
    if orientation >= 5:
        mask = mask.T
    down, across = (-1 if orientation in flipped else 1 for flipped in (_FLIP_Y, _FLIP_X))
    return mask[::down, ::across]


def _orient_point(x: float, y: float, stored: Size, orientation: int) -> tuple[float, float]:
    w, h = stored
    if orientation >= 5:
        x, y, w, h = y, x, h, w
    return w - x if orientation in _FLIP_X else x, h - y if orientation in _FLIP_Y else y


def _pairs(coords: tuple[float, ...]) -> Iterator[tuple[float, float]]:
    return zip(coords[0::2], coords[1::2], strict=True)
