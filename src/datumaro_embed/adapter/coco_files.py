"""Choose the JSON files of a COCO dataset, with the task, subset and image folder of each.

Datumaro reads every ``TASK_SUBSET.json`` below the folder (the last one found, if several have one
name) and finds images only below ``images/``. This module prefers the files nearest to the
dataset's folder, and also finds images where COCO's archives, FiftyOne, Roboflow, CVAT and
MMDetection put them.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from datumaro.components.dataset_base import DEFAULT_SUBSET_NAME
from datumaro.plugins.data_formats.coco.format import CocoTask

from ..records import is_split_name
from ..tally import Tally
from .fence import is_hidden, read_error

COCO_FORMATS: dict[str, frozenset[CocoTask]] = {
    "coco": frozenset(CocoTask),
    "roboflow_coco": frozenset((CocoTask.instances, CocoTask.person_keypoints)),
    "mmdet_coco": frozenset((CocoTask.instances,)),
    **{f"coco_{task.name}": frozenset((task,)) for task in CocoTask},
}
"""Datumaro's names of the COCO formats, and the tasks that each of them reads."""

_NAMED = re.compile(rf"({'|'.join(task.name for task in CocoTask)})_(.+)")
_BARE = {task.name for task in CocoTask} - {"labels"}  # labels.json is FiftyOne's, with boxes
_KINDS = {  # Datumaro reads only one of them
    CocoTask.instances,
    CocoTask.labels,
    CocoTask.panoptic,
    CocoTask.person_keypoints,
    CocoTask.stuff,
}
_ROBOFLOW = "_annotations.coco.json"
_ANNOTATIONS = "annotations"
_MANY = 50  # a folder with more JSON files has one per image, so it is not COCO
_N_SAMPLED = 50
_NOT_NEAREST = "annotation files not read: others have standard names or are closer to the root"


@dataclass(frozen=True, slots=True)
class CocoFile:
    """One annotation file."""

    path: Path
    task: CocoTask | None  # None if the name does not show it
    subset: str
    root: Path  # the folder that holds ``annotations/``, else the file's own
    is_named: bool  # whether tools use such a name only for COCO annotations


def holds_coco(path: Path) -> bool:
    """Tell whether a folder or a JSON file holds COCO annotations, by names and keys."""
    if path.is_dir():
        return next(_candidates(path), None) is not None
    return path.suffix.lower() == ".json" and _mentions_images(path)


def holds_datumaro(path: Path) -> bool:
    """Tell whether a folder holds JSON files of Datumaro's format, stored where COCO's are."""
    files = [*path.glob(f"{_ANNOTATIONS}/*.json")]
    return len(files) <= _MANY and any(
        not _mentions_images(file)
        and _mentions(file, b'"items"')
        and _mentions(file, b'"categories"')
        for file in files
    )


def find_coco_files(
    path: Path, tasks: frozenset[CocoTask], losses: Tally
) -> tuple[list[CocoFile], list[CocoFile]]:
    """Return the annotation files of some tasks to read, and those of other kinds to skip.

    Files with boxes come before those with keypoints. Files replaced by a nearer one are losses.

    Raises `DatasetReadError`: no file, or two equally near files of one task and subset.
    """
    if path.is_file():
        return [_coco_file(path, path.parent)], []
    found = [file for file in _candidates(path) if file.task is None or file.task in tasks]
    if not found:
        names = "|".join(sorted(task.name for task in tasks))
        raise read_error(
            path,
            f"no COCO annotations found (looked for annotations/({names})_*.json, "
            f"*/{_ROBOFLOW} and other JSON files with images). Check the path and the format.",
        )
    # Nearest to the dataset's folder, then in ``annotations/``, then with a COCO name
    ranks = [(len(f.root.parts), f.root == f.path.parent, not f.is_named) for f in found]
    nearest = [file for file, rank in zip(found, ranks, strict=True) if rank == min(ranks)]
    for file in sorted(set(found) - set(nearest), key=lambda file: file.path):
        losses.add(_NOT_NEAREST, relative(file.path, path))

    # Stuff and panoptic are not read together with instances. Like Datumaro, choose the first kind
    # by name; "instances" comes first. Datumaro skips keypoints too; here they join their objects.
    present = {file.task for file in nearest if file.task is not None} & _KINDS
    read = {min(present, key=lambda task: task.name)} if present else set()
    if CocoTask.instances in read:
        read.add(CocoTask.person_keypoints)
    files = [file for file in nearest if file.task not in present - read]
    others = [file for file in nearest if file.task in present - read]

    # The nearest file of each task and subset.
    chosen: dict[tuple[str, str], CocoFile] = {}
    unnamed = [file for file in files if file.task is None]
    if len({file.subset for file in unnamed}) < len(unnamed):  # a.json and b.json in one folder
        files = [f if f.task else replace(f, subset=f.path.stem) for f in files]
    for file in sorted(files, key=lambda file: (len(file.path.parts), file.path)):
        key = (file.task.name if file.task else "", file.subset)
        first = chosen.setdefault(key, file)
        if first is file:
            continue
        if len(first.path.parts) == len(file.path.parts):
            both = f"{relative(first.path, path)} and {relative(file.path, path)}"
            what = f"{both} have the same name. Pass the folder of one of them."
            raise read_error(path, what)
        losses.add(_NOT_NEAREST, relative(file.path, path))
    order = list(CocoTask)  # instances first: keypoints join them
    return sorted(chosen.values(), key=lambda f: order.index(f.task) if f.task else -1), others


def relative(path: Path, folder: Path) -> str:
    """Return a path relative to a folder, with ``/`` between its parts."""
    return os.path.relpath(path, folder).replace(os.sep, "/")


def find_images_folder(file: CocoFile, dataset: Path, file_names: Sequence[str]) -> Path:
    """Return the folder that holds most of about 50 listed images; else Datumaro's choice.

    Searches below `file.root` and the dataset's folder, and beside the file.
    """
    below = ("images/{}", "images", "{}/images", "{}", "data", "")
    folders = [base / place.format(file.subset) for base in (file.root, dataset) for place in below]
    folders = list(dict.fromkeys([*folders, file.path.parent]))
    sample = file_names[:: max(1, len(file_names) // _N_SAMPLED)]
    # Of equals, max() keeps the first. isfile() is False for an invalid file name.
    best = max(folders, key=lambda folder: sum(os.path.isfile(folder / name) for name in sample))
    return best if best.is_dir() else file.root


def _candidates(folder: Path) -> Iterator[CocoFile]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        json_files = [Path(parent, n) for n in names if n.lower().endswith(".json")]
        for path in sorted(path for path in json_files if not is_hidden(path.name)):
            file = _coco_file(path, folder)
            if file.is_named or (len(json_files) <= _MANY and _mentions_images(path)):
                yield file


def _coco_file(path: Path, dataset: Path) -> CocoFile:
    """Find task, subset and root from a file's path below the dataset's folder."""
    root = path.parent
    for folder in path.parents:
        if folder.name == _ANNOTATIONS:
            root = folder.parent
        if folder.name == _ANNOTATIONS or folder == dataset:
            break
    named = _NAMED.fullmatch(path.stem)
    if named:
        return CocoFile(path, CocoTask[named[1]], named[2], root, True)
    task = CocoTask[path.stem] if path.stem in _BARE else None
    # Guess the subset of ``train/_annotations.coco.json``, ``val/labels.json``, ``train.json``.
    subset = re.split(r"[_.-]", path.stem)[-1]
    if not is_split_name(subset):
        is_below = path.name == _ROBOFLOW and root != dataset
        names_it = is_below or is_split_name(root.name)
        subset = root.name if names_it else DEFAULT_SUBSET_NAME
    return CocoFile(path, task, subset, root, task is not None or path.name == _ROBOFLOW)


def _mentions_images(path: Path) -> bool:
    return _mentions(path, b'"images"') and _mentions(path, b'"annotations"', b'"categories"')


def _mentions(path: Path, *keys: bytes) -> bool:
    """Search for one of several keys without parsing, as a file may have hundreds of megabytes."""
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            return any(content.find(key) >= 0 for key in keys)
    except (OSError, ValueError):  # ValueError: the file is empty
        return False
