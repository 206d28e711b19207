"""EXIF geometry against Pillow's own exif_transpose, on images whose pixels carry the answer."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from PIL import Image, ImageOps

from datumaro_embed.geometry import (
    BoxRule,
    choose_rule,
    orient_mask,
    orient_xywh,
    to_upright,
    upright_size,
)
from datumaro_embed.records import AnnotationRecord

STORED = (7, 5)
ORIENTATIONS = range(1, 9)


def pillow_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Write an image with the EXIF tag, read it back, let Pillow turn it."""
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    return np.asarray(ImageOps.exif_transpose(Image.open(buffer)))


def numbered() -> np.ndarray:
    return np.arange(STORED[0] * STORED[1], dtype=np.uint8).reshape(STORED[1], STORED[0])


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_masks_boxes_and_sizes_turn_as_pillow_turns_pixels(orientation: int) -> None:
    upright = pillow_upright(numbered(), orientation)

    np.testing.assert_array_equal(orient_mask(numbered(), orientation), upright)
    assert upright_size(STORED, orientation) == upright.shape[::-1]
    x, y, w, h = orient_xywh((1, 2, 3, 2), STORED, orientation)
    region = upright[int(y) : int(y + h), int(x) : int(x + w)]
    assert set(region.ravel()) == set(numbered()[2:4, 1:4].ravel())


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_points_turn_with_their_pixels(orientation: int) -> None:
    pixels = np.zeros(STORED[::-1], np.uint8)
    pixels[1, 2] = 255
    polygon = AnnotationRecord("polygon", coords=(2.5, 1.5))

    turned = to_upright(polygon, BoxRule.ROTATED_WITH_IMAGE, STORED, orientation)

    x, y = (int(value) for value in turned.coords)
    assert pillow_upright(pixels, orientation)[y, x] == 255


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("degrees", [0.0, 30.0, 200.0])
def test_rotated_box_corner_goes_where_its_point_goes(orientation: int, degrees: float) -> None:
    """A box's direction, turned as the two points of a line, must be the turned angle's."""
    cx, cy = 3.0, 2.0
    tip = (cx + math.cos(math.radians(degrees)), cy + math.sin(math.radians(degrees)))
    line = AnnotationRecord("polyline", coords=(cx, cy, *tip))
    box = AnnotationRecord("rotated_bbox", coords=(cx, cy, 2.0, 1.0, degrees))

    x1, y1, x2, y2 = to_upright(line, BoxRule.ROTATED_WITH_IMAGE, STORED, orientation).coords
    bx, by, w, h, angle = to_upright(box, BoxRule.ROTATED_WITH_IMAGE, STORED, orientation).coords

    assert (bx, by, w, h) == (pytest.approx(x1), pytest.approx(y1), 2.0, 1.0)
    assert math.cos(math.radians(angle)) == pytest.approx(x2 - x1, abs=1e-9)
    assert math.sin(math.radians(angle)) == pytest.approx(y2 - y1, abs=1e-9)


def test_rules() -> None:
    def rule(orientation: int, declared: tuple[int, int] | None, relative: bool) -> BoxRule | None:
        return choose_rule(STORED, orientation, declared=declared, relative=relative)

    assert rule(1, (7, 5), False) is None
    assert rule(6, (5, 7), False) is BoxRule.DECLARED_UPRIGHT
    assert rule(6, None, False) is BoxRule.DECLARED_UPRIGHT
    assert rule(6, (7, 5), False) is BoxRule.ROTATED_WITH_IMAGE
    assert rule(6, (7, 5), True) is BoxRule.RELATIVE_TO_UPRIGHT
    assert rule(6, (5, 7), True) is BoxRule.DECLARED_UPRIGHT
    assert rule(3, (7, 5), False) is BoxRule.DECLARED_UPRIGHT


def test_relative_boxes_are_rescaled_to_the_upright_size() -> None:
    wrong = AnnotationRecord("bbox", coords=(0.5 * 7, 0.5 * 5, 0.2 * 7, 0.4 * 5))
    right = to_upright(wrong, BoxRule.RELATIVE_TO_UPRIGHT, STORED, 6)
    assert right.coords == pytest.approx((0.5 * 5, 0.5 * 7, 0.2 * 5, 0.4 * 7))
