"""Read YOLO datasets as Datumaro items: one item per image, with the annotations of its label file.

Datumaro's importer lists label files, not images, drops those whose first line it rejects, finds
each image by its stem in any folder, and takes class names in the order of the file. This module
reads a dataset like Ultralytics, with Datumaro's ids and arithmetic.

A line of a label file is ``class x y w h`` (center and size), the same with a confidence, a polygon
``class x1 y1 x2 y2 x3 y3 …`` (four points may be an oriented box), or a box with keypoints if
``data.yaml`` has ``kpt_shape``. All are fractions of the upright image.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import isfinite
from pathlib import Path

import imagesize
from datumaro.components.annotation import Annotation, Bbox, Points, Polygon
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image

from ..errors import DatasetReadError
from ..images import ImageProblem, read_info
from ..records import is_split_name
from ..tally import Tally
from .dataset import SourceDataset
from .disk import is_mask_folder
from .fence import Fence, read_error
from .media import media_file
from .same_stem import can_be_id, with_distinct_ids
from .yolo_config import (
    YoloConfig,
    find_config,
    names_classes,
    other_layout,
    read_config,
    read_lines,
)
from .yolo_images import YoloImage, find_images

_MAX_PX = 1e18  # sums and squares of smaller values are finite in float32

Size = tuple[int, int]  # height, width


def holds_yolo(path: Path) -> bool:
    """Tell whether a path is a YOLO dataset's folder or its description file."""
    file = find_config(path)
    return file is not None and names_classes(file)


def read_yolo(path: Path, losses: Tally, *, follow_symlinks: bool = False) -> tuple[Dataset, Path]:
    """Return a dataset and its folder; `path` is the folder or the dataset's description file.

    Raises `DatasetReadError`: no description, two descriptions of different layouts, or one that
    cannot be read.

    Lists each folder once, reads all label files, and reads the headers of images with labels.
    """
    file = find_config(path)
    if file is None:
        raise read_error(
            path,
            "no YOLO dataset found (looked for data.yaml, obj.data and obj.names). "
            "Check the path and the format.",
        )
    if path.is_dir() and (rival := other_layout(file)):
        raise read_error(
            path,
            f"{file.name} and {rival.name} describe two YOLO datasets. Choose one: "
            f"{file} or {rival}.",
        )
    root = path if path.is_dir() else path.parent
    config = read_config(file, losses)
    fence, reader = Fence(root, follow_symlinks), _LabelReader(config, losses)
    items = []
    for image in find_images(config, fence, losses):
        place, unsafe = fence.place(image.path)
        if not can_be_id(image.item_id):  # counted as an unused image file
            continue
        annotations: list[Annotation] = []
        size = None
        if image.label:
            where, problem = fence.place(image.label)
            if problem:
                losses.add("label files behind links that lead out of the dataset folder", where)
            else:
                readable = None if unsafe else image.path
                annotations, size = reader.read(image.label, where, readable)
        elif not unsafe and os.path.isfile(image.path):  # otherwise its row says what is wrong
            losses.add("images without a label file, stored without annotations", place)
        medium = Image.from_file(path=image.path, size=size)
        medium.label_file = image.label  # yolo_writing.py copies its lines
        item = DatasetItem(
            image.item_id, subset=image.subset, media=medium, annotations=annotations
        )
        items.append(item)

    dataset = Dataset.from_iterable(
        with_distinct_ids(items, losses), categories=list(config.names), ann_types=set()
    )
    dataset._format = "yolo"  # shows `has_relative_boxes` what boxes refer to
    return dataset, root


def refuse_stand_ins(source: SourceDataset) -> None:
    """Raise `DatasetReadError` if Datumaro has given an item another image of the same name.

    Datumaro's YOLO importer searches every folder for an image with the stem of a label file, and
    may take ``masks/train/a.png`` instead of ``images/train/a.jpg``.
    """
    folder = source.root.absolute()  # images/train if all items are there
    while not holds_yolo(folder):
        if not (
            folder.name == "images" or is_split_name(folder.name) or is_mask_folder(folder.name)
        ):
            return
        folder = folder.parent
    file = find_config(folder)
    assert file is not None
    try:
        images = find_images(read_config(file, Tally()), Fence(file.parent), Tally())
    except DatasetReadError:  # Datumaro has read the dataset; it will do
        return
    paths = {os.path.abspath(media_file(entry.medium)): entry.key for entry in source}
    unused: dict[str, list[YoloImage]] = {}
    for image in images:
        if image.path not in paths:
            unused.setdefault(Path(image.path).stem, []).append(image)
    for path in sorted(paths.keys() - {image.path for image in images}):
        key = paths[path]
        for image in sorted(unused.get(Path(path).stem, ()), key=lambda i: i.subset != key.subset):
            raise read_error(
                path,
                f"Datumaro uses it as the image of {key} instead of {image.path}. Move it out of "
                f"{file.parent}, or run `datumaro-embed embed`, which reads the right one.",
            )


def line_number(annotation: Annotation) -> int | None:
    """Return the number of an annotation's line, counting only nonempty lines."""
    is_read = isinstance(annotation, Bbox | Polygon | Points)
    return int(annotation.id) if is_read else None


class _BadLineError(Exception):
    """A line is not an annotation: the reason, and this line's value."""


class _LabelReader:
    """Reads the label files of one dataset, and counts the lines that are not annotations."""

    def __init__(self, config: YoloConfig, losses: Tally) -> None:
        self._n_classes = len(config.names)
        self._source = config.file.name
        self._keypoints = config.keypoints
        self._losses = losses

    def read(
        self, file: str, where: str, image: str | None
    ) -> tuple[list[Annotation], Size | None]:
        """Return the annotations of a label file, and the image size that scales them.

        Parameters
        ----------
        where : str
            The file's name in examples of losses.
        image : str or None
            Read for its size, if there are lines; None if it may not be opened.
        """
        try:
            lines = [(number, line) for number, line in enumerate(read_lines(file), 1) if line]
        except OSError as error:
            what = f"{where}: {error.strerror or error}"
            self._losses.add("label files that cannot be read", what)
            return [], None
        if not lines:
            return [], None
        size = _upright_size(image) if image else None
        if size is None:
            self._losses.add("label files left out because the image size is unknown", where)
            return [], None
        annotations: list[Annotation] = []
        for index, (number, line) in enumerate(lines):  # the index is Datumaro's id
            try:
                annotations.extend(self._parse(line.split(), size, index))
            except _BadLineError as problem:
                reason, detail = problem.args
                self._losses.add(reason, f"{where}:{number}: {detail}")
        return annotations, size

    def _parse(self, fields: list[str], size: Size, index: int) -> list[Annotation]:
        values = []
        for text in fields:
            try:
                values.append(float(text))
            except ValueError as error:
                reason = "label lines with values that are not numbers"
                raise _BadLineError(reason, text[:40]) from error
            if not isfinite(values[-1]):
                raise _BadLineError("label lines with values that are NaN or infinite", text)
        label = int(values[0])
        if values[0] != label:
            raise _BadLineError("label lines whose class is not a whole number", fields[0])
        if not 0 <= label < self._n_classes:
            raise _BadLineError(
                "label lines with an unnamed class",
                f"class {label}, but {self._source} names 0 to {self._n_classes - 1}",
            )

        n_values = len(values)
        if self._keypoints and n_values == 5 + self._keypoints[0] * self._keypoints[1]:
            return _pose(values, self._keypoints[1], size, label, index)
        if n_values == 5:
            return [Bbox(*_box(values, size), label=label, id=index, group=index)]
        if n_values == 6 and 0 <= values[5] <= 1:
            more = {"confidence": values[5]}
            return [Bbox(*_box(values, size), label=label, id=index, group=index, attributes=more)]
        if n_values >= 7 and n_values % 2:
            return [Polygon(_pixels(values[1:], size), label=label, id=index, group=index)]
        raise _BadLineError(
            "label lines that are neither a box nor a polygon", f"{n_values} values"
        )


def _pose(values: list[float], step: int, size: Size, label: int, index: int) -> list[Annotation]:
    """Return one object's box and keypoints, joined by their own group (0 means no group)."""
    keypoints = values[5:]
    points = [value for at in range(0, len(keypoints), step) for value in keypoints[at : at + 2]]
    seen = [int(value) for value in keypoints[2::step]] if step == 3 else None
    if seen is not None and not set(seen) <= {0, 1, 2}:
        raise _BadLineError("label lines with an unknown keypoint visibility", seen)
    return [
        Bbox(*_box(values, size), label=label, id=index, group=index + 1),
        Points(_pixels(points, size), seen, label=label, id=index, group=index + 1),
    ]


def _box(values: list[float], size: Size) -> list[float]:
    """Return x, y, w, h in pixels, with the same operations as Datumaro, so all bits are equal."""
    x, y, w, h = values[1:5]
    return _pixels([x - w * 0.5, y - h * 0.5, w, h], size)


def _pixels(values: Sequence[float], size: Size) -> list[float]:
    height, width = size
    pixels = [value * (height if at % 2 else width) for at, value in enumerate(values)]
    if not all(abs(value) < _MAX_PX for value in pixels):
        raise _BadLineError("label lines with values far outside the image", max(values, key=abs))
    return pixels


def _upright_size(path: str) -> Size | None:
    """Return the size of the upright image, read from its header like Datumaro.

    Pillow reads formats that Datumaro's reader does not know; None if neither finds the size.
    """
    try:
        width, height = imagesize.get(path)
    except Exception:  # imagesize does not check headers
        width = height = -1
    if width > 0 and height > 0:
        return height, width
    try:
        info = read_info(path)
    except ImageProblem as problem:
        if problem.info is None:
            return None
        info = problem.info
    return (info.height, info.width) if info.width else None
