"""YOLO datasets → Datumaro items: every image is one, with what its label file says.

Datumaro's importer lists label files, not images, drops those whose first line it does not like,
finds the image of each by its stem in any folder, and takes class names in the order in which they
are written. Here it is read as Ultralytics reads it; ids and arithmetic are Datumaro's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from datumaro.components.annotation import Annotation
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image

from ..errors import DatasetReadError
from ..tally import Tally
from .fence import Fence
from .same_stem import can_be_id, with_distinct_ids
from .yolo_config import find_config, names_classes, read_config
from .yolo_images import YoloImage, find_images
from .yolo_labels import LabelReader

__all__ = ["YOLO_FORMATS", "holds_yolo", "read_yolo"]

YOLO_FORMATS = frozenset({"roboflow_yolo", "yolo", "yolo_loose", "yolo_strict", "yolo_ultralytics"})
"""Datumaro's names of the formats that are read here."""


def holds_yolo(path: Path) -> bool:
    """Tell whether a folder, or the file itself, describes a YOLO dataset."""
    file = find_config(path)
    return file is not None and names_classes(file)


def read_yolo(path: Path, losses: Tally, *, follow_symlinks: bool = False) -> tuple[Dataset, Path]:
    """Read a YOLO dataset.

    Parameters
    ----------
    path : Path
        Its folder, or the file that describes it.
    losses : Tally
        Where is counted what was not read, and images without a label file.
    follow_symlinks : bool
        As in `SourceDataset`.

    Returns
    -------
    dataset : datumaro Dataset
    root : Path
        The dataset's folder.

    Raises
    ------
    DatasetReadError
        Nothing describes the dataset, or the description cannot be read.

    Notes
    -----
    Lists each folder once; opens label files, and of images with labels the header.
    """
    file = find_config(path)
    if file is None:
        raise DatasetReadError(
            f"{path}: no YOLO dataset found (looked for data.yaml, obj.data and obj.names). "
            "Check the path and the format.",
            path=str(path),
        )
    root = path if path.is_dir() else path.parent
    config = read_config(file, losses)
    fence = Fence(root, follow_symlinks)
    images = find_images(config, fence, losses)
    items = _items(images, fence, LabelReader(config, losses), losses)
    dataset = Dataset.from_iterable(
        with_distinct_ids(items, losses), categories=list(config.names), ann_types=set()
    )
    dataset._format = "yolo"  # which says what boxes are relative to
    return dataset, root


def _items(
    images: list[YoloImage], fence: Fence, reader: LabelReader, losses: Tally
) -> Iterator[DatasetItem]:
    for image in images:
        place, unsafe = fence.place(image.path)
        if not can_be_id(image.item_id):  # counted with the files that no item has
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
        elif not unsafe and os.path.isfile(image.path):  # else its row has a reason of its own
            losses.add("images without a label file, embedded without annotations", place)
        medium = Image.from_file(path=image.path, size=size)
        yield DatasetItem(image.item_id, subset=image.subset, media=medium, annotations=annotations)
