"""Read image folders: ImageNet's layout, in which folder names are labels, or without labels.

Datumaro recognizes and reads such a folder only if it has no other file anywhere, not even a
``.DS_Store``, a ``.gif`` or a store of ours, and it does not recognize ``.JPG``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from datumaro.components.annotation import AnnotationType, Label, LabelCategories
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DEFAULT_SUBSET_NAME, DatasetItem
from datumaro.components.errors import DatasetNotFoundError
from datumaro.components.media import Image
from datumaro.plugins.data_formats.imagenet import ImagenetPath
from datumaro.util.definitions import SUBSET_NAME_BLACKLIST
from datumaro.util.image import find_images

from ..kinds import IMAGE_SUFFIXES, is_image_name
from ..records import is_split_name
from ..tally import Tally
from .fence import Fence, read_error
from .own_files import is_part_of_store
from .same_stem import can_be_id, with_distinct_ids

BY_FOLDER = ("imagenet", "imagenet_with_subset_dirs")
"""Datumaro's names of ImageNet's layout, in which a folder is the label, and in the id."""

_LETTER = re.compile("[A-Za-z]")
_CLUTTER = {"thumbs.db", "desktop.ini", "__macosx"}


def walk_own(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Like `os.walk`, sorted, without hidden files, system files and stores."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if _is_own(parent, name))
        yield Path(parent), folders, sorted(name for name in files if _is_own(parent, name))


def detect_image_folders(path: Path) -> list[str]:
    """Return the formats that fit a folder with only images and system files.

    Returns both ImageNet formats if a folder called ``train`` may be a class: it is beside folders
    that are not splits, or it is alone and has no subfolders. Folders without images may be beside
    splits.
    """
    tops: set[str] = set()
    flat: set[str] = set()  # top folders with images of their own
    unlike: set[str] = set()  # top folders with other files than images
    for parent, _, files in walk_own(path):
        top, *below = parent.relative_to(path).parts or ("",)
        inner = below[:1] if is_split_name(top) else [top]
        if not all(map(is_image_name, files)) or SUBSET_NAME_BLACKLIST & {*map(str.lower, inner)}:
            unlike.add(top)
        if any(map(is_image_name, files)):
            tops.add(top)
            flat.update(() if below else (top,))
    splits = {top for top in tops if is_split_name(top)}
    if splits and tops - splits <= {""} and (len(splits) > 1 or not splits & flat):
        return [] if splits & unlike else ["imagenet_with_subset_dirs"]
    if unlike or not tops:
        return []
    if tops == {""}:
        return ["image_dir"]
    return ["imagenet", "imagenet_with_subset_dirs"] if splits else ["imagenet"]


def read_images(path: Path, losses: Tally, *, follow_symlinks: bool) -> Dataset:
    """Read every image below a folder, without labels; Datumaro does not read subfolders."""
    if not path.is_dir():
        raise read_error(path, "is not a folder. Give the path of a folder of images.")
    fence = Fence(path, follow_symlinks)
    items = []
    for folder in fence.walk(losses):
        for name in filter(is_image_name, folder.files):
            file = os.path.join(folder.path, name)
            item_id = os.path.splitext(fence.relative(file))[0]
            if can_be_id(item_id):
                items.append(DatasetItem(item_id, media=Image.from_file(path=file)))
    return Dataset.from_iterable(with_distinct_ids(items, losses), ann_types=set())


def read_imagenet(path: Path, format_name: str, losses: Tally) -> Dataset:
    """Read images whose folders are labels, below subset folders if the format has them.

    Ids are the same as in Datumaro and begin with the label. Unlike Datumaro, this accepts a label
    of one letter (Datumaro takes it for a drive), images with the same stem, and subsets with
    different labels.
    """
    if not path.is_dir():
        raise DatasetNotFoundError(str(path), format_name)
    roots = {DEFAULT_SUBSET_NAME: path}
    if format_name == "imagenet_with_subset_dirs":
        own = (at for at in sorted(path.iterdir()) if at.is_dir() and _is_own(str(path), at.name))
        roots = {folder.name: folder for folder in own}

    # The same labels as in Datumaro: each folder's path, grouped by parent folder
    folders: set[Path] = set()
    for root in roots.values():
        for parent, names, _ in os.walk(root):
            names[:] = [name for name in names if not is_part_of_store(Path(parent, name))]
            folders.update(Path(parent, name).relative_to(root) for name in names)
    folders.discard(Path(ImagenetPath.IMAGE_DIR_NO_LABEL))
    labels = LabelCategories()
    groups: dict[str, list[str]] = {}
    for below in sorted(folders):
        above = str(below.parent) if len(below.parts) > 1 else None
        labels.add(str(below), above)
        if above is not None:
            groups.setdefault(above, []).append(below.name)
    for name, members in groups.items():
        labels.add_label_group(name, members, group_type=0)

    items = []
    for subset, root in roots.items():
        for image in find_images(str(root), IMAGE_SUFFIXES, recursive=True):
            folder, name = os.path.split(os.path.relpath(image, root))
            label, _ = labels.find(folder)
            item = DatasetItem(
                id_in_folder(folder, os.path.splitext(name)[0]),
                subset=subset,
                media=Image.from_file(path=image),
                annotations=[] if label is None else [Label(label)],
            )
            items.append(item)
    return Dataset.from_iterable(
        with_distinct_ids(items, losses), categories={AnnotationType.label: labels}, ann_types=set()
    )


def id_in_folder(label: str, stem: str) -> str:
    """Return the id of an image in the folder of its label; an empty label is none.

    It is Datumaro's, except for a label of one letter: Datumaro refuses ``a:1``, as `a` is a drive.
    """
    separator = "/" if _LETTER.fullmatch(label) else ImagenetPath.SEP_TOKEN
    return f"{label or ImagenetPath.IMAGE_DIR_NO_LABEL}{separator}{stem}"


def for_exporter(item: DatasetItem) -> DatasetItem:
    """Return an item that Datumaro writes into the folder of its label, also one of one letter.

    Datumaro takes what is behind the colon for the file's name, else the whole id: ``a/a/1.jpg``.
    """
    letter, slash, stem = item.id.partition("/")
    if not slash or not _LETTER.fullmatch(letter):
        return item
    return item.wrap(id=f"{letter}/{ImagenetPath.SEP_TOKEN}{stem}")


def _is_own(folder: str, name: str) -> bool:
    if name.startswith(".") or name.lower() in _CLUTTER:
        return False
    return is_image_name(name) or not is_part_of_store(Path(folder, name))
