"""Keys of `datumaro.experimental` datasets, whose samples have a path, a subset and no id.

Imports neither that nor polars: where nobody has imported them, no dataset is of that kind.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from .records import ItemKey, Split, is_split_name, split_of

__all__ = ["MEDIA_FIELDS", "Samples", "field_names", "frame", "is_experimental", "read_samples"]

MEDIA_FIELDS = (
    "ImagePathField",
    "MediaPathField",
    "VideoFramePathField",
    "ImageBytesField",
    "ImageField",
    "ImageCallableField",
)
_IMAGE_FOLDERS = {"images", "jpegimages", "default", "unassigned", "obj_data"} | {
    f"obj_{name}_data" for name in ("train", "valid", "test")
}
_SUBSETS = {"TRAINING": "train", "VALIDATION": "val", "TESTING": "test", "UNASSIGNED": "default"}


@dataclass(frozen=True, slots=True)
class Samples:
    """What the samples of a dataset are called, in its order.

    Attributes
    ----------
    keys : list of ItemKey
    paths : list of str
        Files of images and videos; empty where a sample has none.
    frames : list of int or None
        Frames of videos.
    root : str
        The dataset's folder as the paths tell it; empty where there are none.
    """

    keys: list[ItemKey]
    paths: list[str]
    frames: list[int | None]
    root: str


def is_experimental(dataset: object) -> bool:
    """Tell whether a dataset is one of `datumaro.experimental`."""
    module = sys.modules.get("datumaro.experimental.dataset")
    return module is not None and isinstance(dataset, module.Dataset)


def field_names(dataset: Any, *kinds: str, semantic: str | None = None) -> list[str]:
    """Names of the fields of some classes, in the order of the classes and of the schema."""
    fields = {name: info.field for name, info in dataset.schema.attributes.items()}
    return [
        name
        for kind in kinds
        for name, field in fields.items()
        if type(field).__name__ == kind and semantic in (None, field.semantic)
    ]


def frame(dataset: Any, names: Iterable[str]) -> Any:
    """Columns of some fields, all that belong to them: a polars data frame."""
    names = list(names)
    transforms = dataset._transforms
    table = dataset.df if transforms is None else transforms.apply(names)
    wanted = dict.fromkeys(
        column
        for name in names
        for column in dataset.schema.attributes[name].field.to_polars_schema(name)
        if column in table.columns
    )
    return table.select(list(wanted))


def read_samples(dataset: Any, root: str = "") -> Samples:
    """Name the samples as Datumaro's importers name items: SUBSET, and path below its folder.

    A string field with the semantic ``id`` is the id. Without it and without a path, the number
    field ``image_id`` is, or else the place in the dataset.

    Parameters
    ----------
    dataset : datumaro.experimental Dataset
    root : path, optional
        The dataset's folder, which may lie anywhere now. Without it a dataset that has images of
        one nested folder only cannot tell that folder from its own.
    """
    media = field_names(dataset, *MEDIA_FIELDS[:3])[:1]
    subset = field_names(dataset, "SubsetField")[:1]
    given = field_names(dataset, "StringField", semantic="id")
    number = field_names(dataset, "NumericField", semantic="image_id")
    table = frame(dataset, [*media, *subset, *given, *number])

    def column(names: list[str], suffix: str = "") -> list[Any]:
        found = [name + suffix for name in names if name + suffix in table.columns]
        return list(table[found[0]].to_list()) if found else [None] * len(dataset)

    paths = [str(path or "") for path in column(media)]
    frames = column(media, "_frame_index")
    common, prefix = _folders(paths, root)
    keys = []
    ids = zip(column(given), column(number), strict=True)
    for place, (path, at, name, (own, image_id)) in enumerate(
        zip(paths, frames, column(subset), ids, strict=True)
    ):
        below = Path(os.path.relpath(os.path.abspath(path), common)).parts if path else ()
        folders = (*prefix, *below[:-1])
        named, inner = _subset_and_inner(folders, "default" if name is None else str(name))
        file = below[-1] if below else ""
        stem = os.path.splitext(file)[0] if at is None else f"{file}#{at:06}"
        found = "/".join((*inner, stem)) if path else str(place if image_id is None else image_id)
        keys.append(ItemKey(named, found if own is None else str(own)))
    above = Path(common).parts[: len(Path(common).parts) - len(prefix)] if common else ()
    return Samples(keys, paths, frames, str(Path(*above)) if above else "")


def _folders(paths: list[str], root: str) -> tuple[str, tuple[str, ...]]:
    """Return the folder that all files share, and which of its last parts are the dataset's."""
    try:
        common = os.path.commonpath({os.path.dirname(os.path.abspath(p)) for p in paths if p})
    except ValueError:  # no files at all, or on several drives
        return "", ()
    if root:
        for folder in (Path(common), Path(os.path.realpath(common))):
            for base in (os.path.abspath(root), os.path.realpath(root)):
                if folder.is_relative_to(base):
                    return common, folder.relative_to(base).parts
    run = takewhile(lambda part: _is_marker(part, None), reversed(Path(common).parts))
    return common, tuple(run)[::-1]


def _subset_and_inner(folders: tuple[str, ...], subset: str) -> tuple[str, tuple[str, ...]]:
    """Return the subset's name, as its folder spells it, and the folders below that folder.

    ``images/train2017/a`` of TRAINING is ``train2017`` and ``a``.
    """
    known = _SUBSETS.get(subset)
    split = split_of(known or "")
    marks = [_is_marker(part, split) or part == subset for part in folders]
    first = marks.index(True) if True in marks else 0
    end = first + sum(1 for _ in takewhile(bool, marks[first:]))
    spelled = [part for part in folders[first:end] if known and _is_split(part, split)]
    return (spelled or [known or subset])[-1], folders[end:]


def _is_marker(part: str, split: Split | None) -> bool:
    return part.lower() in _IMAGE_FOLDERS or _is_split(part, split)


def _is_split(part: str, split: Split | None) -> bool:
    return is_split_name(part) and split in (None, split_of(part))
