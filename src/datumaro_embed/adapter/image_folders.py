"""Folders of images, whose names may be labels: ImageNet's layout; and images without labels.

Datumaro recognises and reads them only if no other file is anywhere in them, be it ``.DS_Store``, a
``.gif`` or a store of ours, and recognises no ``.JPG``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from datumaro.components.annotation import AnnotationType, Label, LabelCategories
from datumaro.components.annotation import Categories as DmCategories
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.environment import Environment
from datumaro.components.media import Image
from datumaro.plugins.data_formats.imagenet import (
    ImagenetBase,
    ImagenetImporter,
    ImagenetPath,
    ImagenetWithSubsetDirsImporter,
)
from datumaro.util.definitions import SUBSET_NAME_BLACKLIST, SUBSET_NAME_WHITELIST
from datumaro.util.image import find_images

from ..kinds import IMAGE_SUFFIXES, is_image_name
from ..store import is_part_of_store
from ..tally import Tally
from .fence import Fence, read_error
from .same_stem import can_be_id, with_distinct_ids

__all__ = ["detect_image_folders", "lenient_environment", "read_images", "walk_own"]

_CLUTTER = {"thumbs.db", "desktop.ini", "__macosx"}


def walk_own(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """`os.walk` over what is the dataset's own: nothing hidden, no clutter, no store; sorted."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if _is_own(parent, name))
        yield Path(parent), folders, sorted(name for name in files if _is_own(parent, name))


def detect_image_folders(path: Path) -> str | None:
    """Return the format of folders that hold images and clutter alone; else None."""
    depths, tops = set(), set()
    for parent, folders, files in walk_own(path):
        if not all(map(is_image_name, files)):
            return None
        if SUBSET_NAME_BLACKLIST & {name.lower() for name in folders}:  # as of YOLO, unrecognised
            return None
        if files:
            parts = parent.relative_to(path).parts
            depths.add(len(parts))
            tops.add(parts[0].lower() if parts else "")
    if depths <= {0}:
        return "image_dir" if depths else None
    has_subsets = tops <= SUBSET_NAME_WHITELIST and min(depths) > 1
    return "imagenet_with_subset_dirs" if has_subsets else "imagenet"


def read_images(path: Path, losses: Tally, *, follow_symlinks: bool) -> Dataset:
    """Read every image below a folder, without labels; Datumaro reads the folder's own alone."""
    if not path.is_dir():
        raise read_error(path, "is no folder of images. Name one.")
    fence = Fence(path, follow_symlinks)
    items = []
    for folder in fence.walk(losses):
        for name in filter(is_image_name, folder.files):
            file = os.path.join(folder.path, name)
            item_id = os.path.splitext(fence.relative(file))[0]
            if can_be_id(item_id):
                items.append(DatasetItem(item_id, media=Image.from_file(path=file)))
    return Dataset.from_iterable(with_distinct_ids(items, losses), ann_types=set())


def lenient_environment() -> Environment:
    """Datumaro's formats, those of image folders lenient."""
    environment = Environment()
    for importer in (_Importer, _SubsetsImporter):
        environment.importers.register(importer.NAME, importer)
    for extractor in (_Extractor, _SubsetExtractor):
        environment.extractors.register(extractor.NAME, extractor)
    return environment


def _is_own(folder: str, name: str) -> bool:
    if name.startswith(".") or name.lower() in _CLUTTER:
        return False
    return is_image_name(name) or not is_part_of_store(Path(folder, name))


class _Importer(ImagenetImporter):  # type: ignore[misc]
    """Takes whatever folder it is given; its extractor reads the images alone."""

    NAME = ImagenetImporter.NAME

    @classmethod
    def contains_only_images(cls, path: str | Path) -> bool:  # noqa: ARG003
        return True


class _SubsetsImporter(ImagenetWithSubsetDirsImporter):  # type: ignore[misc]
    """Takes every folder of the dataset's own for a subset."""

    NAME = ImagenetWithSubsetDirsImporter.NAME

    def __call__(self, path: str, **extra_params: Any) -> list[dict[str, Any]]:
        name = _SubsetExtractor.NAME
        return [
            {"url": str(at), "format": name, "options": {**extra_params, "subset": at.name}}
            for at in _own_folders(Path(path))
        ]


class _Extractor(ImagenetBase):  # type: ignore[misc]
    """Makes no labels of the folders of stores, and reads folders of one letter.

    Datumaro takes the letter for a drive, as an item's id begins with ``A:``, and refuses the item.
    """

    NAME = ImagenetBase.NAME

    def _load_categories(self, path: str) -> dict[AnnotationType, DmCategories]:
        return {AnnotationType.label: _labels([Path(path)])}

    def _load_items(self, path: str) -> dict[str, DatasetItem]:
        items: dict[str, DatasetItem] = {}
        labels = self._categories[AnnotationType.label]
        for image in find_images(path, IMAGE_SUFFIXES, recursive=True):
            folder, name = os.path.split(os.path.relpath(image, path))
            separator = "/" if re.fullmatch("[A-Za-z]", folder) else ImagenetPath.SEP_TOKEN
            label = folder or ImagenetPath.IMAGE_DIR_NO_LABEL
            item_id = label + separator + os.path.splitext(name)[0]
            if item_id not in items:
                media = Image.from_file(path=image)
                items[item_id] = DatasetItem(item_id, subset=self._subset, media=media)
            index, _ = labels.find(folder)
            if index is not None:
                items[item_id].annotations.append(Label(label=index))
                self._ann_types.add(AnnotationType.label)
        return items


class _SubsetExtractor(_Extractor):
    """Gives each subset the labels of all, which Datumaro refuses to merge where they differ."""

    NAME = "imagenet_subset"

    def _load_categories(self, path: str) -> dict[AnnotationType, DmCategories]:
        return {AnnotationType.label: _labels(_own_folders(Path(path).parent))}


def _own_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, but hidden ones, clutter and stores."""
    return [
        entry
        for entry in sorted(folder.iterdir())
        if entry.is_dir() and _is_own(str(folder), entry.name)
    ]


def _labels(roots: Iterable[Path]) -> LabelCategories:
    """Return labels as Datumaro makes them: each folder's path, in groups by the folder above."""
    found: set[Path] = set()
    for root in roots:
        for parent, names, _ in os.walk(root):
            names[:] = [name for name in names if not is_part_of_store(Path(parent, name))]
            found.update(Path(parent, name).relative_to(root) for name in names)
    found.discard(Path(ImagenetPath.IMAGE_DIR_NO_LABEL))
    labels = LabelCategories()
    groups: dict[str, list[str]] = {}
    for folder in sorted(found):
        above = str(folder.parent) if len(folder.parts) > 1 else None
        labels.add(str(folder), above)
        if above is not None:
            groups.setdefault(above, []).append(folder.name)
    for name, members in groups.items():
        labels.add_label_group(name, members, group_type=0)
    return labels
