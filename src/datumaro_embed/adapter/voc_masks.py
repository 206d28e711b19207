"""What is wrong with Pascal VOC's annotations costs them, not the image that has them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from datumaro.components.annotation import AnnotationType, Mask
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image

from ..tally import Tally
from .same_stem import images_by_stem

__all__ = ["count_missing_masks", "refused_items", "without_damaged_masks"]

_CLASSES = "SegmentationClass"


def without_damaged_masks(dataset: Dataset, lost_masks: Collection[str]) -> Iterator[DatasetItem]:
    """Take from items the masks whose labels cannot be read, or are none: Datumaro keeps both.

    Parameters
    ----------
    dataset : datumaro Dataset
    lost_masks : collection of str
        Paths of the masks that cannot be read.
    """
    damaged = {
        Path(*path.parts[path.parts.index(_CLASSES) + 1 :]).with_suffix("").as_posix()
        for path in map(Path, lost_masks)
        if _CLASSES in path.parts
    }
    n_labels = len(dataset.categories()[AnnotationType.label])
    for item in dataset:
        rest = [
            each
            for each in item.annotations
            if not isinstance(each, Mask)
            or (item.id not in damaged and (each.label is None or each.label < n_labels))
        ]
        yield item if len(rest) == len(item.annotations) else item.wrap(annotations=rest)


def refused_items(path: Path, refused: Iterable[tuple[str, str]]) -> Iterator[DatasetItem]:
    """Yield items without annotations for the images whose annotations Datumaro refuses.

    Parameters
    ----------
    path : Path
        The dataset's folder.
    refused : iterable of (id, subset)
    """
    folders = [str(folder) for folder in sorted(path.glob("**/JPEGImages"))]
    for item_id, subset in dict.fromkeys(refused):
        for folder in folders:
            inner, stem = os.path.split(os.path.join(folder, item_id))
            if names := images_by_stem(inner).get(stem):
                image = Image.from_file(path=os.path.join(inner, names[0]))
                yield DatasetItem(item_id, subset=subset, media=image)
                break


def count_missing_masks(path: Path, losses: Tally) -> None:
    """Count images listed for segmentation without a mask of classes, where others have one.

    Datumaro refuses the whole item then if it has a mask of objects.
    """
    for listing in sorted(path.glob("**/ImageSets/Segmentation/*.txt")):
        root = listing.parents[2]
        names = [line.strip() for line in listing.read_text("utf-8", "replace").splitlines()]
        listed = [name for name in names if name]
        masks = root / _CLASSES
        missing = [name for name in listed if not (masks / f"{name}.png").is_file()]
        if len(missing) < len(listed):  # a test set has none
            for name in missing:
                example = f"{listing.stem}/{name}"
                losses.add("images listed for segmentation without a mask of classes", example)
