"""Compare image files on disk with those of items, and count the ones that an importer skipped."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from datumaro.util.image import IMAGE_EXTENSIONS as DATUMAROS

from ..kinds import is_image_name
from ..records import is_split_name
from ..tally import Tally
from .dataset import SourceDataset
from .fence import Fence
from .media import media_file
from .same_stem import can_be_id

_IMAGES = "images"
_WHOLE = frozenset({"image_dir", "imagenet", "imagenet_with_subset_dirs"})
_MASK_WORD = (
    r"(masks?|mattes?|seg|segmentations?(class|object)?(aug|raw)?|panoptic|semantic|instances?|"
    r"annot(ation)?s?|labels?(ids)?|instanceids|ground_?truth|gt(fine|coarse|left|right|txt)?|"
    r"sem_?seg|depth|parts?_?\d*)"
)
_MASK_FOLDER = re.compile(rf"(.*[_-]|train|val|test)?{_MASK_WORD}([_-].*)?", re.IGNORECASE)
_MASK_SUFFIX = re.compile(rf"[_.-]{_MASK_WORD}$", re.IGNORECASE)


def is_mask_folder(name: str) -> bool:
    """Tell whether a folder's name means masks, such as ``masks`` or ``SegmentationClass``."""
    return _MASK_FOLDER.fullmatch(name) is not None


def unused_images(source: SourceDataset) -> Tally:
    """Count the unused image files of a dataset that the user imported with Datumaro.

    Like `count_unused_images`, in the common folder of all images; if that is ``images``, a split's
    folder or both, in the folder above.
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
    """Count the image files in a dataset's folder that belong to no item.

    In formats whose annotations may be images, masks are not counted: files in a folder named like
    ``masks/`` that holds no item's image, and files named like ``a_seg.png`` beside ``a.jpg``.

    Lists each folder once and opens no file.

    Parameters
    ----------
    files : iterable of (path, item's id)
        Files of items; other files than images are ignored.
    root : Path
        The dataset's folder.
    format_name : str
        Datumaro's name of the format.
    follow_symlinks : bool
        As in `SourceDataset`.
    """
    fence = Fence(root, follow_symlinks)
    places = (os.path.split(os.path.abspath(file)) for file, _ in files if is_image_name(file))
    used = {os.path.join(fence.real_folder(folder), name) for folder, name in places}
    if not used or not root.is_dir():
        return
    has_masks = format_name not in _WHOLE and "yolo" not in format_name
    holders = {Path(folder) for folder in {os.path.dirname(file) for file in used}}
    holders |= {above for folder in holders for above in folder.parents}
    masks: set[str] = set()  # folders that hold only masks, and those below them
    passed_over, targets = [], set()
    for folder in fence.walk(Tally()):
        parent, name = os.path.split(folder.path)
        is_mask = parent in masks or is_mask_folder(name)
        if has_masks and is_mask and Path(folder.real) not in holders:
            masks.add(folder.path)
            continue
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


def _reason(name: str, taken: dict[str, str]) -> tuple[str, str] | None:
    """Return why an image has no item, and text to add to its name; None for a mask."""
    stem, extension = os.path.splitext(name)
    if stem in taken:
        reason = "image files whose name differs from another only in the extension"
        return reason, f" beside {taken[stem]}"
    if _MASK_SUFFIX.search(stem) and _MASK_SUFFIX.sub("", stem) in taken:
        return None
    if not can_be_id(stem):
        return "image files whose name cannot be an id", ""
    if extension.lower() not in DATUMAROS:
        return "image files of types that Datumaro does not look for", ""
    return "image files without an item", ""
