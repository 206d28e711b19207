"""Folders of images, whose names may be labels: ImageNet's layout, and a single folder.

Datumaro recognises and reads them only if no other file is anywhere in them, be it ``.DS_Store`` or
a store of ours, and recognises no ``.JPG``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from datumaro.components.annotation import AnnotationType, LabelCategories
from datumaro.components.annotation import Categories as DmCategories
from datumaro.components.environment import Environment
from datumaro.plugins.data_formats.imagenet import (
    ImagenetBase,
    ImagenetImporter,
    ImagenetWithSubsetDirsImporter,
)
from datumaro.util.definitions import SUBSET_NAME_BLACKLIST, SUBSET_NAME_WHITELIST
from datumaro.util.image import IMAGE_EXTENSIONS

from ..place import is_part_of_store

__all__ = ["detect_image_folders", "is_image", "lenient_environment", "walk_own"]

_CLUTTER = {"thumbs.db", "desktop.ini", "__macosx"}


def is_image(name: str) -> bool:
    """Tell by its extension, as Datumaro does."""
    return os.path.splitext(name)[1].lower() in IMAGE_EXTENSIONS


def walk_own(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """`os.walk` over what is the dataset's own: nothing hidden, no clutter, no store; sorted."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if _is_own(parent, name))
        yield Path(parent), folders, sorted(name for name in files if _is_own(parent, name))


def detect_image_folders(path: Path) -> str | None:
    """Return the format of folders that hold images and clutter alone; else None."""
    depths, tops = set(), set()
    for parent, folders, files in walk_own(path):
        if not all(map(is_image, files)):
            return None
        if SUBSET_NAME_BLACKLIST & {name.lower() for name in folders}:  # as of YOLO, unrecognised
            return None
        if files:
            parts = parent.relative_to(path).parts
            depths.add(len(parts))
            tops.add(parts[0].lower() if parts else "")
    if not depths:
        return None
    if depths == {0}:
        return "image_dir"
    has_subsets = tops <= SUBSET_NAME_WHITELIST and min(depths) > 1
    return "imagenet_with_subset_dirs" if has_subsets else "imagenet"


def lenient_environment() -> Environment:
    """Datumaro's formats, those of image folders lenient."""
    environment = Environment()
    environment.importers.register(ImagenetImporter.NAME, _Importer)
    environment.importers.register(ImagenetWithSubsetDirsImporter.NAME, _SubsetsImporter)
    environment.extractors.register(ImagenetBase.NAME, _Extractor)
    return environment


def _is_own(folder: str, name: str) -> bool:
    if name.startswith(".") or name.lower() in _CLUTTER:
        return False
    return is_image(name) or not is_part_of_store(Path(folder, name))


class _Importer(ImagenetImporter):  # type: ignore[misc]
    """Takes whatever folder it is given; its extractor reads the images alone."""

    NAME = ImagenetImporter.NAME

    @classmethod
    def contains_only_images(cls, path: str | Path) -> bool:  # noqa: ARG003
        return True


class _SubsetsImporter(ImagenetWithSubsetDirsImporter):  # type: ignore[misc]
    """Takes every folder for a subset that has one."""

    NAME = ImagenetWithSubsetDirsImporter.NAME

    def __call__(self, path: str, **extra_params: Any) -> list[dict[str, Any]]:
        return [
            {
                "url": entry.path,
                "format": ImagenetBase.NAME,
                "options": {**extra_params, "subset": entry.name},
            }
            for entry in sorted(os.scandir(path), key=lambda entry: entry.name)
            if entry.is_dir() and _is_own(path, entry.name)
        ]


class _Extractor(ImagenetBase):  # type: ignore[misc]
    """Makes no labels of the folders of stores."""

    NAME = ImagenetBase.NAME

    def _load_categories(self, path: str) -> dict[AnnotationType, DmCategories]:
        found: dict[AnnotationType, DmCategories] = super()._load_categories(path)
        labels = found[AnnotationType.label]
        stores = [Path(label.name) for label in labels if is_part_of_store(Path(path, label.name))]
        if not stores:
            return found
        own = LabelCategories()
        for label in labels:
            if not _is_below(label.name, stores):
                own.add(label.name, label.parent)
        for group in labels.label_groups:
            if not _is_below(group.name, stores):
                own.add_label_group(group.name, group.labels, group.group_type)
        return {AnnotationType.label: own}


def _is_below(name: str, folders: Sequence[Path]) -> bool:
    return any(Path(name).is_relative_to(folder) for folder in folders)
