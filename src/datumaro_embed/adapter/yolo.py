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
from .dataset import SourceDataset, is_split_name
from .disk import is_mask_folder
from .fence import Fence
from .media import media_file
from .same_stem import can_be_id, with_distinct_ids
from .yolo_config import find_config, names_classes, other_layout, read_config
from .yolo_images import YoloImage, find_images
from .yolo_labels import LabelReader

__all__ = ["YOLO_FORMATS", "holds_yolo", "read_yolo", "refuse_stand_ins"]

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
        Nothing describes the dataset, two layouts do, or the description cannot be read.

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
    if path.is_dir() and (rival := other_layout(file)):
        raise DatasetReadError(
            f"{path}: {file.name} and {rival.name} describe two YOLO datasets. Name the one to "
            f"read: {file} or {rival}.",
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


def refuse_stand_ins(source: SourceDataset) -> None:
    """Refuse items to which Datumaro has given another image of the same name.

    Its YOLO importer looks for the image of a label file by its stem in every folder, and takes
    ``masks/train/a.png`` for ``images/train/a.jpg``.

    Raises
    ------
    DatasetReadError
    """
    folder = source.root.absolute()  # images/train where all items lie there
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
    except DatasetReadError:  # which Datumaro has read
        return
    paths = {os.path.abspath(media_file(entry.medium)): entry.key for entry in source}
    unused: dict[str, list[YoloImage]] = {}
    for image in images:
        if image.path not in paths:
            unused.setdefault(Path(image.path).stem, []).append(image)
    for path in sorted(paths.keys() - {image.path for image in images}):
        key = paths[path]
        for image in sorted(unused.get(Path(path).stem, ()), key=lambda i: i.subset != key.subset):
            raise DatasetReadError(
                f"{path}: Datumaro takes it for the image of {key}, which is {image.path}. Move "
                f"it out of {file.parent}, or run `datumaro-embed embed`, which reads the other.",
                path=path,
            )


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
            losses.add("images without a label file, stored without annotations", place)
        medium = Image.from_file(path=image.path, size=size)
        yield DatasetItem(image.item_id, subset=image.subset, media=medium, annotations=annotations)
