"""Folders of images, whose names may be labels: ImageNet's layout; and images without labels.

Datumaro recognises and reads them only if no other file is anywhere in them, be it ``.DS_Store``, a
``.gif`` or a store of ours, and recognises no ``.JPG``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
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
from ..store import is_part_of_store
from ..tally import Tally
from .fence import Fence, read_error
from .same_stem import can_be_id, with_distinct_ids

_CLUTTER = {"thumbs.db", "desktop.ini", "__macosx"}


def walk_own(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """`os.walk` over what is the dataset's own: nothing hidden, no clutter, no store; sorted."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if _is_own(parent, name))
        yield Path(parent), folders, sorted(name for name in files if _is_own(parent, name))


def detect_image_folders(path: Path) -> list[str]:
    """Return the formats of folders that hold images and clutter alone.

    Both of ImageNet's where a folder called ``train`` may be a class: it lies beside folders that
    are no split, or alone, without folders in it. Beside splits, folders without images may lie.
    """
    tops: set[str] = set()
    flat: set[str] = set()  # which hold images themselves
    unlike: set[str] = set()  # which hold more than images
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
    """Read every image below a folder, without labels; Datumaro reads the folder's own alone."""
    if not path.is_dir():
        raise read_error(path, "is not a folder of images. Name one.")
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
    """Read images whose folders are labels, below each subset's folder where the format has some.

    Ids are Datumaro's, which begin with the label. But it takes a label of one letter for a drive,
    and gives images of one stem one item; and its subsets must have the same labels.
    """
    if not path.is_dir():
        raise DatasetNotFoundError(str(path), format_name)
    roots = {DEFAULT_SUBSET_NAME: path}
    if format_name == "imagenet_with_subset_dirs":
        own = (at for at in sorted(path.iterdir()) if at.is_dir() and _is_own(str(path), at.name))
        roots = {folder.name: folder for folder in own}
    labels = _labels(roots.values())
    items = []
    for subset, root in roots.items():
        for image in find_images(str(root), IMAGE_SUFFIXES, recursive=True):
            folder, name = os.path.split(os.path.relpath(image, root))
            separator = "/" if re.fullmatch("[A-Za-z]", folder) else ImagenetPath.SEP_TOKEN
            above = folder or ImagenetPath.IMAGE_DIR_NO_LABEL
            label, _ = labels.find(folder)
            item = DatasetItem(
                above + separator + os.path.splitext(name)[0],
                subset=subset,
                media=Image.from_file(path=image),
                annotations=[] if label is None else [Label(label)],
            )
            items.append(item)
    return Dataset.from_iterable(
        with_distinct_ids(items, losses), categories={AnnotationType.label: labels}, ann_types=set()
    )


def _is_own(folder: str, name: str) -> bool:
    if name.startswith(".") or name.lower() in _CLUTTER:
        return False
    return is_image_name(name) or not is_part_of_store(Path(folder, name))


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
