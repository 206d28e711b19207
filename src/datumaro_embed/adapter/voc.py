"""Correct Datumaro's Pascal VOC items: keep each item's image, and drop only bad annotations."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from datumaro.components.annotation import AnnotationType, Mask
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image, ImageFromFile

from ..tally import Tally
from .same_stem import images_by_stem

_CLASSES = "SegmentationClass"
_IMAGES = os.sep + "JPEGImages" + os.sep


def with_own_images(items: Iterable[DatasetItem], losses: Tally) -> Iterator[DatasetItem]:
    """Yield items with the image that has their stem.

    Datumaro opens the file that the XML names. After annotations were copied or images renamed, it
    may be another item's or missing. Without an XML file, Datumaro opens any image with the stem;
    this takes the first by name.
    """
    list_folder = lru_cache(maxsize=None)(images_by_stem)
    for item in items:
        if not isinstance(item.media, ImageFromFile):
            yield item
            continue
        path = os.path.abspath(item.media.path)
        root, images, _ = path.rpartition(_IMAGES)
        # In Roboflow's layout, images and XML files are in the same folder.
        base, annotations = [os.path.dirname(path)] * 2
        if images:
            base, annotations = root + _IMAGES, os.path.join(root, "Annotations")
        folder, stem = os.path.split(os.path.join(base, item.id))
        own = [os.path.join(folder, name) for name in list_folder(folder).get(stem, ())]
        is_named_by_xml = os.path.isfile(os.path.join(annotations, f"{item.id}.xml"))
        if not own or (path in own and is_named_by_xml) or path == own[0]:
            yield item
            continue
        if path not in own:
            example = f"{item.subset}/{item.id}: {os.path.basename(path)}"
            losses.add("items whose XML file names another image, not read", example)
        size = item.media.size if item.media.has_size else None
        yield item.wrap(media=Image.from_file(path=own[0], size=size))


def without_damaged_masks(dataset: Dataset, lost_masks: Collection[str]) -> Iterator[DatasetItem]:
    """Remove masks whose file cannot be read or whose label does not exist; Datumaro keeps both.

    `lost_masks`: paths of the masks that cannot be read.
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
    """Yield items without annotations for the (id, subset) pairs that Datumaro refuses."""
    folders = [str(folder) for folder in sorted(path.glob("**/JPEGImages"))]
    for item_id, subset in dict.fromkeys(refused):
        for folder in folders:
            inner, stem = os.path.split(os.path.join(folder, item_id))
            if names := images_by_stem(inner).get(stem):
                image = Image.from_file(path=os.path.join(inner, names[0]))
                yield DatasetItem(item_id, subset=subset, media=image)
                break


def count_missing_masks(path: Path, losses: Tally) -> None:
    """Count images that are listed for segmentation but have no class mask, if others have one.

    Datumaro refuses such an item as a whole if it has an object mask.
    """
    for listing in sorted(path.glob("**/ImageSets/Segmentation/*.txt")):
        lines = listing.read_text("utf-8", "replace").splitlines()
        listed = [name for line in lines if (name := line.strip())]
        masks = listing.parents[2] / _CLASSES
        missing = [name for name in listed if not (masks / f"{name}.png").is_file()]
        if len(missing) < len(listed):  # a test set has none
            for name in missing:
                example = f"{listing.stem}/{name}"
                losses.add("images listed for segmentation without a class mask", example)
