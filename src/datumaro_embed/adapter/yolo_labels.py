"""Lines of YOLO label files → Datumaro annotations, in the pixels of one image.

A line is ``class x y w h`` (centre and size), the same and a confidence, a polygon
``class x1 y1 x2 y2 x3 y3 …`` (four points are an oriented box too), or a box with keypoints where
``data.yaml`` has ``kpt_shape``. All are fractions of the upright image.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import imagesize
from datumaro.components.annotation import Annotation, Bbox, Points, Polygon

from ..images import ImageProblem, read_info
from ..tally import Tally
from .yolo_config import YoloConfig, read_lines

__all__ = ["LabelReader"]

_SIZE_UNKNOWN = "label files left out, as the size of their image is unknown"
_UNREADABLE = "label files that cannot be read"
_MAX_PX = 1e18  # sums and squares of less are finite in single precision


class _BadLineError(Exception):
    """Why a line is no annotation: a reason, and what it is in this line."""


class LabelReader:
    """Read label files of one dataset, counting the lines that are no annotations."""

    def __init__(self, config: YoloConfig, losses: Tally) -> None:
        self._n_classes = len(config.names)
        self._source = config.file.name
        self._keypoints = config.keypoints
        self._losses = losses

    def read(
        self, file: str, where: str, image: str | None
    ) -> tuple[list[Annotation], tuple[int, int] | None]:
        """Read one label file.

        Parameters
        ----------
        file : str
            Path of the label file.
        where : str
            Its name in examples of losses.
        image : str or None
            Path of the image, opened for its size alone and only where there are lines; None where
            it may not be opened.

        Returns
        -------
        annotations : list of Annotation
        size : (height, width) or None
            By which they were multiplied.
        """
        try:
            lines = [(number, line) for number, line in enumerate(read_lines(file), 1) if line]
        except OSError as error:
            self._losses.add(_UNREADABLE, f"{where}: {error.strerror or error}")
            return [], None
        if not lines:
            return [], None
        size = _upright_size(image) if image else None
        if size is None:
            self._losses.add(_SIZE_UNKNOWN, where)
            return [], None
        annotations: list[Annotation] = []
        for index, (number, line) in enumerate(lines):  # the index is Datumaro's id
            try:
                annotations.extend(self._parse(line.split(), size, index))
            except _BadLineError as problem:
                reason, detail = problem.args
                self._losses.add(reason, f"{where}:{number}: {detail}")
        return annotations, size

    def _parse(self, fields: list[str], size: tuple[int, int], index: int) -> list[Annotation]:
        values = _numbers(fields)
        label = self._label(values[0], fields[0])
        n_values = len(values)
        if self._keypoints and n_values == 5 + self._keypoints[0] * self._keypoints[1]:
            return self._pose(values, size, label, index)
        if n_values == 5:
            return [Bbox(*_box(values, size), label=label, id=index, group=index)]
        if n_values == 6 and 0 <= values[5] <= 1:
            more = {"confidence": values[5]}
            return [Bbox(*_box(values, size), label=label, id=index, group=index, attributes=more)]
        if n_values >= 7 and n_values % 2:
            points = _pixels(values[1:], size)
            return [Polygon(points, label=label, id=index, group=index)]
        raise _BadLineError("label lines that are neither boxes nor polygons", f"{n_values} values")

    def _pose(
        self, values: list[float], size: tuple[int, int], label: int, index: int
    ) -> list[Annotation]:
        """One object of two annotations, joined by a group of its own (0 is none)."""
        assert self._keypoints is not None
        step = self._keypoints[1]
        keypoints = values[5:]
        points = [
            value for at in range(0, len(keypoints), step) for value in keypoints[at : at + 2]
        ]
        seen = [int(value) for value in keypoints[2::step]] if step == 3 else None
        if seen is not None and not set(seen) <= {0, 1, 2}:
            raise _BadLineError("label lines with keypoints of an unknown visibility", seen)
        group = index + 1
        return [
            Bbox(*_box(values, size), label=label, id=index, group=group),
            Points(_pixels(points, size), seen, label=label, id=index, group=group),
        ]

    def _label(self, value: float, text: str) -> int:
        if value != int(value):
            raise _BadLineError("label lines whose class is not a whole number", text)
        if not 0 <= value < self._n_classes:
            raise _BadLineError(
                "label lines of a class that has no name",
                f"class {int(value)}, and {self._source} names 0 to {self._n_classes - 1}",
            )
        return int(value)


def _numbers(fields: list[str]) -> list[float]:
    values = []
    for text in fields:
        try:
            values.append(float(text))
        except ValueError as error:
            raise _BadLineError(
                "label lines with values that are not numbers", text[:40]
            ) from error
        if not isfinite(values[-1]):
            raise _BadLineError("label lines with values that are NaN or infinite", text)
    return values


def _box(values: list[float], size: tuple[int, int]) -> list[float]:
    """Return x, y, w, h in pixels, computed in Datumaro's own order, so that all bits are equal."""
    x, y, w, h = values[1:5]
    return _pixels([x - w * 0.5, y - h * 0.5, w, h], size)


def _pixels(values: Sequence[float], size: tuple[int, int]) -> list[float]:
    height, width = size
    pixels = [value * (height if at % 2 else width) for at, value in enumerate(values)]
    if not all(abs(value) < _MAX_PX for value in pixels):
        raise _BadLineError("label lines with values beyond all images", max(values, key=abs))
    return pixels


def _upright_size(path: str) -> tuple[int, int] | None:
    """Return height and width of the upright image, from the header as Datumaro reads it.

    What its reader does not know, Pillow may; None where neither does.
    """
    try:
        width, height = imagesize.get(path)
    except Exception:  # it parses headers without a check
        width = height = -1
    if width > 0 and height > 0:
        return height, width
    try:
        info = read_info(path)
    except ImageProblem as problem:
        if problem.info is None or not problem.info.width:
            return None
        info = problem.info
    return (info.height, info.width) if info.width else None
