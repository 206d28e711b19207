"""Find the images of a YOLO dataset, with the subset and label file of each.

The label file of an image is the one that Ultralytics uses: ``labels/`` replaces the last
``images/`` of its path, else it is beside the image. Ids are paths below the subset's folder
without the extension, like COCO's file names.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

from datumaro.components.dataset_base import DEFAULT_SUBSET_NAME

from ..kinds import is_image_name
from ..records import is_split_name, split_of
from ..tally import Tally
from .disk import is_mask_folder
from .fence import Fence, is_within
from .yolo_config import YoloConfig, read_lines

_LABELS = ("labels", "Labels", "annotations", "Annotations")  # only Datumaro uses the last two
_NO_LABELS = frozenset({"classes.txt", "notes.txt", "readme.txt", "predefined_classes.txt"})


class YoloImage(NamedTuple):
    """One image of one subset; `label` is empty if it has no label file."""

    subset: str
    item_id: str
    path: str
    label: str


def find_images(config: YoloConfig, fence: Fence, losses: Tally) -> list[YoloImage]:
    """Return the images of all splits, and those of image folders that form another subset.

    `losses` counts paths of the description that do not exist, and label files that belong to no
    item or to several.
    """
    finder = _Finder(config, fence, losses)
    images = [*finder.of_splits()]
    if not config.is_darknet:
        images.extend(finder.of_no_split(images))
    if not images:
        images.extend(finder.with_labels())
    finder.count_labels(images)
    return images


class _Finder:
    """A dataset's files, listed once."""

    def __init__(self, config: YoloConfig, fence: Fence, losses: Tally) -> None:
        self._config = config
        self._fence = fence
        self._losses = losses
        self._files = {folder.path: frozenset(folder.files) for folder in fence.walk(losses)}
        home = os.path.abspath(config.file.parent)
        self._bases = [home]
        if config.base and (base := self._find(config.base, self._is_folder)):
            self._bases.insert(0, base)
        self._listed_folders: set[str] = set()
        self._label_folders = lru_cache(maxsize=None)(self._find_label_folders)

    def of_splits(self) -> Iterator[YoloImage]:
        """Yield the images of the folders and lists that the description names."""
        folders: list[tuple[str, str]] = []
        for key, written in self._config.splits.items():
            for text in written:
                if folder := self._find(text, self._is_folder):
                    within = os.path.join(folder, "images")
                    folders.append((key, within if within in self._files else folder))
                elif file := self._find(text, self._is_file):
                    yield from self._of_list(key, file)
                else:
                    reason = f"splits of {self._config.file.name} not found"
                    self._losses.add(reason, f"{key}: {text}")
        subsets = [self._subset(self._parts(folder), key) for key, folder in folders]
        count = Counter(subsets)
        for subset, (_, folder) in zip(subsets, folders, strict=True):
            for path in self._images_below(folder):
                alone = os.path.relpath(path, folder) if count[subset] == 1 else ""
                yield self._image(subset, path, alone)

    def of_no_split(self, images: list[YoloImage]) -> Iterator[YoloImage]:
        """Yield the images of image folders whose subset is not in the description."""
        known = {image.path for image in images}
        subsets = {image.subset for image in images}
        for folder in self._files:
            subset = self._subset(self._parts(folder))
            is_other = subset not in subsets and folder not in self._listed_folders
            if is_other and self._is_image_folder(folder):
                for path in self._images_in(folder):
                    if path not in known:
                        yield self._image(subset, path)

    def with_labels(self) -> Iterator[YoloImage]:
        """Yield images with label files from folders of any name."""
        for folder in self._files:
            parts = self._parts(folder)
            if not any(map(is_mask_folder, parts)):
                for path in self._images_in(folder):
                    image = self._image(self._subset(parts), path, os.path.basename(path))
                    if image.label:
                        yield image

    def count_labels(self, images: list[YoloImage]) -> None:
        """Count label files that belong to no item or to several images."""
        owners: dict[str, str] = {}
        shared: dict[str, dict[str, None]] = {}
        for image in images:
            if image.label and (first := owners.setdefault(image.label, image.path)) != image.path:
                shared.setdefault(image.label, {first: None})[image.path] = None
        for label, paths in shared.items():
            self._losses.add(
                "label files that belong to several images, which all get the annotations",
                f"{self._fence.relative(label)}: {', '.join(map(self._fence.relative, paths))}",
            )
        for folder, names in self._files.items():
            if set(_LABELS) & set(self._parts(folder)):
                for name in sorted(names):
                    path = os.path.join(folder, name)
                    is_label = name.endswith(".txt") and name.lower() not in _NO_LABELS
                    if is_label and path not in owners:
                        self._losses.add("label files without an item", self._fence.relative(path))

    def _of_list(self, key: str, file: str) -> Iterator[YoloImage]:
        try:
            entries = [line for line in read_lines(file) if line]
        except OSError as error:
            what = f"{self._fence.relative(file)}: {error.strerror or error}"
            self._losses.add("lists of images that cannot be read", what)
            return
        for entry in entries:
            here = os.path.dirname(file)
            if path := self._find(entry, self._is_file, here, n_kept=2):
                paths = [path]
            elif folder := self._find(entry, self._is_folder, here):
                paths = [*self._images_below(folder)]
            else:
                # Give the missing image a row, which says that it is missing.
                at = os.path.join(self._bases[0], entry.replace("\\", "/"))
                paths = [os.path.normpath(at)]
            for path in paths:
                self._listed_folders.add(os.path.dirname(path))
                yield self._image(key, path)

    def _find(
        self, written: str, is_there: Callable[[str], bool], *bases: str, n_kept: int = 1
    ) -> str | None:
        """Return the existing path for a path in a description, maybe written on another machine.

        Tries it relative to each of `bases` and the dataset's folder, then without its first parts
        (``../``, ``data/``, ``/home/somebody/``), keeping at least the last `n_kept`.
        """
        parts = written.replace("\\", "/").split("/")
        # The first parts may only be a former location of the dataset: never ``images``, the folder
        # above it, or an image's folder, as ``val/1.jpg`` is not ``train/1.jpg``; always a folder
        # with the dataset's name.
        n_dots = next((n for n, part in enumerate(parts) if part not in {"", ".", ".."}), 0)
        last, at = len(parts) - n_kept, _last_images(parts)
        if at >= 0:
            last = min(last, at if at < len(parts) - 1 else at - 1)
        last = max(last, n_dots)
        if parts[last:-1] and parts[last] == os.path.basename(self._bases[-1]):
            last += 1
        for start in range(last + 1):
            tail = "/".join(parts[start:]) or "."
            for base in (*bases, *self._bases):
                path = os.path.normpath(os.path.join(base, tail))
                if is_there(path) and is_within(path, self._fence.root):
                    return path
        return None

    def _is_folder(self, path: str) -> bool:
        return path in self._files

    def _is_file(self, path: str) -> bool:
        folder, name = os.path.split(path)
        return name in self._files.get(folder, ())

    def _images_below(self, folder: str) -> Iterator[str]:
        for below in self._files:
            if is_within(below, folder):
                yield from self._images_in(below)

    def _images_in(self, folder: str) -> Iterator[str]:
        for name in sorted(filter(is_image_name, self._files[folder])):
            yield os.path.join(folder, name)

    def _is_image_folder(self, folder: str) -> bool:
        """Tell whether a folder is ``images/…`` or ``SPLIT/images/…``, not ``runs/images/…``."""
        if not is_within(folder, self._bases[0]):
            return False
        parts = self._parts(folder)
        at = [part.lower() == "images" for part in (*parts, "", "")]
        if at[0] or not at[1]:
            return at[0]
        parent = os.path.join(self._bases[0], parts[0])
        has_labels = any(os.path.join(parent, word) in self._files for word in _LABELS[:2])
        return has_labels or is_split_name(parts[0])

    def _image(self, subset: str, path: str, item_id: str = "") -> YoloImage:
        folder, name = os.path.split(path)
        stem = os.path.splitext(name)[0]
        text = f"{stem}.txt"
        folders = self._label_folders(folder)
        labels = (os.path.join(at, text) for at in folders if text in self._files[at])
        if item_id:
            item_id = os.path.splitext(item_id)[0].replace(os.sep, "/")
            return YoloImage(subset, item_id, path, next(labels, ""))
        # The folders that become part of the id: neither ``images`` nor the subset's
        parts = self._parts(folder)
        if self._config.is_darknet:  # [data/]obj_train_data/…, like Datumaro
            rest = parts[2:] if parts[:1] == ["data"] else parts[1:]
        else:
            before, after = _around_images(parts)
            rest = [part for part in (*before, *after) if part not in {"..", os.sep, ""}]
            if subset in rest:
                rest.remove(subset)
        item_id = "/".join([*rest, stem])
        return YoloImage(subset, item_id, path, next(labels, ""))

    def _subset(self, parts: list[str], key: str = "") -> str:
        """Return the subset's name: the folder's if it fits the split, else the split's.

        ``val: images/val2017`` gives val2017, as in COCO; ``val: images/second_half`` gives val.
        """
        before, after = _around_images(parts)
        near = [*before[-1:], *after[:1]]
        for name in near:
            if is_split_name(name) and (not key or split_of(name) is split_of(key)):
                return name
        return key or (near[-1] if near else DEFAULT_SUBSET_NAME)

    def _parts(self, folder: str) -> list[str]:
        """Return the folders of a path below the folder that the description names."""
        base = self._bases[0] if is_within(folder, self._bases[0]) else self._fence.root
        relative = os.path.relpath(folder, base)
        return [] if relative == "." else relative.split(os.sep)

    def _find_label_folders(self, folder: str) -> list[str]:
        """Return the folders that may hold the label files of a folder's images, in order."""
        parts = os.path.relpath(folder, self._fence.root).split(os.sep)
        at = _last_images(parts)
        if at >= 0:
            places = [*([*parts[:at], word, *parts[at + 1 :]] for word in _LABELS), parts]
        else:
            places = [parts, *([word, *rest] for word in _LABELS for rest in (parts, parts[1:]))]
        paths = (os.path.normpath(os.path.join(self._fence.root, *place)) for place in places)
        return [path for path in paths if path in self._files]


def _last_images(parts: list[str]) -> int:
    """Return the index of the last ``images``; -1 if there is none."""
    return max((at for at, part in enumerate(parts) if part.lower() == "images"), default=-1)


def _around_images(parts: list[str]) -> tuple[list[str], list[str]]:
    """Split a path at its last ``images``, or before its last folder."""
    at = _last_images(parts)
    return (parts[:at], parts[at + 1 :]) if at >= 0 else (parts[:-1], parts[-1:])
