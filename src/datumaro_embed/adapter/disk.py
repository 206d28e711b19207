"""Compare image files on disk with those that items use, and count what an importer skipped."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from datumaro.util.image import IMAGE_EXTENSIONS as DATUMAROS

from ..kinds import is_image_name
from ..tally import Tally
from .dataset import SourceDataset, is_split_name
from .fence import Fence, Folder
from .media import media_file
from .same_stem import can_be_id

__all__ = ["count_unused_images", "is_mask_folder", "unused_images"]

_IMAGES = "images"
_WHOLE = frozenset({"image_dir", "imagenet", "imagenet_with_subset_dirs"})
_MASK_WORD = (
    r"(masks?|mattes?|seg|segmentations?(class|object)?(aug|raw)?|panoptic|semantic|instances?|"
    r"annot(ation)?s?|labels?(ids)?|instanceids|ground_?truth|gt(fine|coarse)?|depth|parts?_?\d*)"
)
_MASK_FOLDER = re.compile(rf"(.*[_-])?{_MASK_WORD}([_-].*)?", re.IGNORECASE)
_MASK_SUFFIX = re.compile(rf"[_.-]{_MASK_WORD}$", re.IGNORECASE)


def is_mask_folder(name: str) -> bool:
    """Tell by its name a folder whose images are annotations: ``masks``, ``SegmentationClass``."""
    return _MASK_FOLDER.fullmatch(name) is not None


def unused_images(source: SourceDataset) -> Tally:
    """Count the image files beside those of a dataset that Datumaro has imported itself.

    As `count_unused_images`, from the folder in which all images lie, and where that is ``images``,
    a split's or both, from the folder above.
    """
    root = source.root.absolute()
    for folder in (root, root.parent):
        if folder.name.lower() == _IMAGES:
            root = folder.parent
    if root != source.root.absolute() and is_split_name(root.name):
        root = root.parent
    losses = Tally()
    files = ((media_file(entry.medium), entry.key.id) for entry in source)
    count_unused_images(files, root, losses)
    return losses


def count_unused_images(
    files: Iterable[tuple[str, str]],
    root: Path,
    losses: Tally,
    *,
    format_name: str = "",
    follow_symlinks: bool = False,
) -> None:
    """Count the image files in the image folders of a dataset that no item has.

    Image folders are those that hold items' images, or that their ids are paths below (of ``cat/a``
    that of ``cat``), and all below them; of a path that leads through ``images/`` that folder; and
    folders beside one called ``train`` (``val2017``) whose name says that they are a split too.
    Folders and files named as masks are (``masks/``, ``a_seg.png``) are not counted.

    Parameters
    ----------
    files : iterable of (path, item's id)
        Those that are no images, and empty ones, are left aside.
    root : Path
        The dataset's folder.
    format_name : str
        Datumaro's; formats of images alone have images in every folder.

    Notes
    -----
    Lists each folder once and opens no file.
    """
    fence = Fence(root, follow_symlinks)
    used: set[str] = set()
    bases: set[str] = set()
    for file, item_id in files:
        if is_image_name(file):
            real = fence.real_path(*os.path.split(os.path.abspath(file)))
            used.add(real)
            bases.add(_base(real, item_id))
    if not used or not root.is_dir():
        return
    passed_over, targets = [], set()
    for folder in _image_folders(fence, used, bases, is_whole=format_name in _WHOLE):
        images = {
            name: os.path.join(folder.real, name) for name in folder.files if is_image_name(name)
        }
        taken = {os.path.splitext(name)[0]: name for name, real in images.items() if real in used}
        for name, real in images.items():
            target = os.path.realpath(real) if name in folder.links else real
            if real in used:
                targets.add(target)
            elif why := _reason(name, taken):
                passed_over.append((os.path.join(folder.path, name), real, target, why))
    for path, real, target, (reason, beside) in passed_over:
        if real not in targets and target not in used:
            losses.add(reason, fence.relative(path) + beside)


def _base(file: str, item_id: str) -> str:
    """Return the folder below which an item's id is the path of its file; else the file's own."""
    stem = os.path.splitext(file)[0]
    is_path = stem.endswith(os.sep + item_id.replace("/", os.sep))
    return stem[: -len(item_id) - 1] or os.sep if is_path else os.path.dirname(file)


def _image_folders(
    fence: Fence, used: set[str], bases: set[str], *, is_whole: bool
) -> Iterator[Folder]:
    """Yield the folders whose image files are counted."""
    root = os.path.realpath(fence.root)
    holders = {os.path.dirname(file) for file in used}
    tops = {root} if is_whole else {_top(folder, root) for folder in holders | bases}
    beside_splits = {os.path.dirname(top) for top in tops if is_split_name(os.path.basename(top))}
    within: dict[str, bool] = {}
    for folder in fence.walk(Tally()):
        parent, name = os.path.split(folder.path)
        is_one = folder.real in tops or folder.real in holders
        # A class of images may be called "with_mask".
        if not is_one and (is_whole or not is_mask_folder(name)):
            is_beside = os.path.dirname(folder.real) in beside_splits and is_split_name(name)
            is_one = is_beside or within.get(parent, False)
        within[folder.path] = is_one
        if is_one:
            yield folder


def _top(folder: str, root: str) -> str:
    """Return the image folder that a folder is part of: up to ``images``, or a split's name."""
    parts = os.path.relpath(folder, root).split(os.sep)
    for number, part in enumerate(parts, start=1):
        if part.lower() == _IMAGES or is_split_name(part):
            return os.path.join(root, *parts[:number])
    return folder


def _reason(name: str, taken: dict[str, str]) -> tuple[str, str] | None:
    """Return why an image has no item, and what to add to its name; nothing for a mask."""
    stem, extension = os.path.splitext(name)
    if stem in taken:
        reason = "image files of a name that another has but for the extension"
        return reason, f" beside {taken[stem]}"
    if _MASK_SUFFIX.search(stem) and _MASK_SUFFIX.sub("", stem) in taken:
        return None
    if not can_be_id(stem):
        return "image files whose name cannot be an id", ""
    if extension.lower() not in DATUMAROS:
        return "image files of types that Datumaro does not look for", ""
    return "image files that no item has", ""
