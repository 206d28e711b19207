"""Keys of `datumaro.experimental` datasets, whose samples have a path and a subset but no id.

This module imports neither `datumaro.experimental` nor polars: a dataset can only be of that kind
if the caller has imported them.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from .errors import DatasetReadError
from .records import ItemKey, is_split_name, split_of

__all__ = ["PATH_FIELDS", "Samples", "field_names", "frame", "is_experimental", "items_of"]

PATH_FIELDS = ("ImagePathField", "MediaPathField", "VideoFramePathField")
_IMAGE_FOLDER = re.compile("images|jpegimages|default|unassigned|obj_((train|valid|test)_)?data")
_SUBSETS = {"TRAINING": "train", "VALIDATION": "val", "TESTING": "test", "UNASSIGNED": "default"}


def is_experimental(dataset: object) -> bool:
    """Tell whether a dataset is one of `datumaro.experimental`."""
    module = sys.modules.get("datumaro.experimental.dataset")
    return module is not None and isinstance(dataset, module.Dataset)


def field_names(dataset: Any, *kinds: str, semantic: str | None = None) -> list[str]:
    """Return the names of the fields of these classes, in schema order."""
    return [
        name
        for name, info in dataset.schema.attributes.items()
        if type(info.field).__name__ in kinds and semantic in (None, info.field.semantic)
    ]


def frame(dataset: Any, names: Iterable[str]) -> Any:
    """Return all columns of some fields, as a polars data frame."""
    names = list(names)
    transforms = dataset._transforms
    table = dataset.df if transforms is None else transforms.apply(names)
    fields = dataset.schema.attributes
    wanted = [column for name in names for column in fields[name].field.to_polars_schema(name)]
    return table.select([column for column in wanted if column in table.columns])


class Samples:
    """Samples of a dataset, named like items of Datumaro's importers: SUBSET and path below it.

    Parameters
    ----------
    dataset : datumaro.experimental Dataset
    root : path, optional
        The dataset's folder. Give it if all images are in one nested folder, which would otherwise
        be taken for the dataset's folder.

    Attributes
    ----------
    keys : list of ItemKey
        In the dataset's order.
    paths : list of str
        Files of images and videos.
    frames : list of int or None
        Frames of videos.
    root : str
        The dataset's folder, as given or as found from the paths.
    """

    def __init__(self, dataset: Any, root: str = "") -> None:
        media = field_names(dataset, *PATH_FIELDS)[:1]
        subset = field_names(dataset, "SubsetField")[:1]
        table = frame(dataset, [*media, *subset])

        def column(names: list[str], suffix: str = "") -> list[Any]:
            found = [name + suffix for name in names if name + suffix in table.columns]
            return list(table[found[0]].to_list()) if found else [None] * len(dataset)

        paths = column(media)
        if None in paths:
            raise DatasetReadError(
                f"Sample {paths.index(None)} of the dataset has no path to an image. Save its "
                "image to a file, and give the dataset an `image_path_field`."
            )
        self.paths: list[str] = paths
        self.frames: list[int | None] = column(media, "_frame_index")
        common, prefix = _folders(self.paths, root)
        above = Path(common).parts[: len(Path(common).parts) - len(prefix)]
        self.root = root or (str(Path(*above)) if above else "")
        self.keys: list[ItemKey] = []
        for named, path, at in zip(column(subset), self.paths, self.frames, strict=True):
            below = Path(os.path.relpath(os.path.abspath(path), common)).parts
            folders = (*prefix, *below[:-1])
            subset_name, inner = _subset_and_inner(folders, named or "UNASSIGNED")
            stem = os.path.splitext(below[-1])[0] if at is None else f"{below[-1]}#{at:06}"
            self.keys.append(ItemKey(subset_name, "/".join((*inner, stem))))


def items_of(dataset: Any, root: str, path_of: Callable[[ItemKey], str | None]) -> list[Any]:
    """Return the items of a legacy dataset, or the keys of samples: each has a subset and an id.

    If two images share a stem, such as ``a.jpg`` and ``a.png``, the second is the item ``a.png``.
    Only the paths in the store show which one is second: `path_of` returns an item's path, or None
    if the store has no such item.
    """
    if not is_experimental(dataset):
        return list(dataset)
    samples = Samples(dataset, root)
    keys = []
    for key, path in zip(samples.keys, samples.paths, strict=True):
        second = ItemKey(key.subset, key.id + os.path.splitext(path)[1])
        is_second = os.path.basename(path_of(second) or "") == os.path.basename(
            path
        ) and os.path.join(root, path_of(key) or "") != os.path.realpath(path)
        keys.append(second if is_second else key)
    return keys


def _folders(paths: list[str], root: str) -> tuple[str, tuple[str, ...]]:
    """Return the common folder of all files, and its last parts that lie in the dataset."""
    try:
        common = os.path.commonpath({os.path.dirname(os.path.abspath(p)) for p in paths if p})
    except ValueError:  # no files at all, or on several drives
        return "", ()
    for folder in (Path(common), Path(os.path.realpath(common))) if root else ():
        for base in (os.path.abspath(root), os.path.realpath(root)):
            if folder.is_relative_to(base):
                return common, folder.relative_to(base).parts
    return common, tuple(_run(Path(common).parts[::-1], is_split_name))[::-1]


def _subset_and_inner(folders: tuple[str, ...], subset: str) -> tuple[str, tuple[str, ...]]:
    """Return the subset's name, as its folder spells it, and the folders below that folder.

    Example: ``images/train2017/a`` with subset TRAINING gives ``train2017`` and ``a``.
    """
    name = _SUBSETS.get(subset, subset)

    def is_own(part: str) -> bool:
        known = subset in _SUBSETS and is_split_name(part)
        return part == name or (known and split_of(part) is split_of(name))

    starts = (first for first in range(len(folders)) if _run(folders[first:], is_own))
    first = next(starts, 0)
    run = _run(folders[first:], is_own)
    return [name, *filter(is_own, run)][-1], folders[first + len(run) :]


def _run(folders: Sequence[str], is_subset: Callable[[str], bool]) -> list[str]:
    """Return the leading folders that name an image folder or a subset, at most one of each."""
    run: dict[bool, str] = {}
    for part in folders:
        kind = is_subset(part)
        if kind in run or not (kind or _IMAGE_FOLDER.fullmatch(part.lower())):
            break
        run[kind] = part
    return list(run.values())
