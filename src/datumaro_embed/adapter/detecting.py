"""Detect the format of a folder, ignoring our stores in it, or say what the folder lacks.

Datumaro takes any folder with an ``.h5`` file for nyu_depth_v2 and any with a ``.csv`` file for
tabular, and does not recognize a folder of images if it has any other file.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from datumaro.components.dataset import Dataset
from datumaro.components.environment import Environment
from datumaro.components.errors import MultipleFormatsMatchError, NoMatchingFormatsError

from ..kinds import is_image_name, is_video_name
from ..logs import without_warnings
from ..tally import counted
from .coco_files import COCO_FORMATS, holds_coco, holds_datumaro
from .fence import read_error
from .image_folders import detect_image_folders, walk_own
from .own_files import is_part_of_store
from .yolo import holds_yolo

_MAX_FOLDERS = 10_000
_KINDS_NAMED = 4
_NO_FILES = "no files"


def detect_format(path: Path) -> str:
    """Return the name of the format of a dataset.

    Raises `DatasetReadError` if no format or more than one is recognized; the message lists the
    files that were looked for and those that were found.
    """
    held = [name for name, holds in _HOLDS.items() if holds(path)]
    # Datumaro would silently take one of two.
    formats = held if held == ["yolo"] or len(held) > 1 else _formats(path) or held
    formats = formats or detect_image_folders(path)
    if not formats:  # a video, or a folder with only videos and system files
        names = [path.name]
        if path.is_dir():
            names = [name for *_, files in walk_own(path) for name in files]
        formats = ["videos"] if names and all(map(is_video_name, names)) else []
    if len(formats) > 1:
        ways = " or ".join(f"{path}:{name}" for name in formats)
        if "imagenet" in formats:
            ways += " (for top-level folders that are subsets, not labels)"
        raise read_error(
            path,
            f"fits more than one format ({', '.join(formats)}). Choose one: {ways}.",
        )
    if not formats:
        raise read_error(path, _unrecognised(path) if path.is_dir() else _no_folder(path))
    return formats[0]


def found_files(path: Path) -> str:
    """Count the files by kind and folder, the most frequent first."""
    kinds = Counter(
        (file.suffix or "other", file.parent.relative_to(path).as_posix())
        for file in _own_files(path)
    )
    if not kinds:
        return _NO_FILES
    named = kinds.most_common(_KINDS_NAMED)
    rest = sum(kinds.values()) - sum(count for _, count in named)
    parts = [
        counted(count, f"{suffix} files") + (f" in {folder}/" if folder != "." else "")
        for (suffix, folder), count in named
    ]
    return ", ".join([*parts, *([f"{rest} more"] if rest else [])])


_HOLDS: dict[str, Callable[[Path], bool]] = {
    "coco": holds_coco,
    "datumaro": holds_datumaro,
    "voc": lambda path: any(path.glob("ImageSets/*/*.txt")),
    "yolo": holds_yolo,
}

# detect_image_folders() detects these. Datumaro recognizes formats without images by one file.
_IMAGE_FOLDERS = {"image_dir", "imagenet", "imagenet_with_subset_dirs"}
_NO_IMAGES = {"kinetics", "sly_pointcloud", "tabular", "video_frames", "video_keyframes"}
_IN_CONTAINERS = {"arrow", "cifar", "image_zip", "mnist", "mnist_csv", "nyu_depth_v2"}


def _formats(path: Path) -> list[str]:
    """Return the formats that Datumaro detects; of equivalent ones, the one that reads most.

    Image files take precedence over formats that keep images in other files.
    """
    environment = Environment()
    if path.is_dir():
        has_images = any(is_image_name(name) for *_, files in walk_own(path) for name in files)
        left_out = _IMAGE_FOLDERS | _NO_IMAGES | (_IN_CONTAINERS if has_images else set())
        for group in environment.importers.extension_groups.values():
            group[:] = [(name, importer) for name, importer in group if name not in left_out]
    with _without_stores(path) as clean, without_warnings():  # they may be about other formats
        try:
            formats = [Dataset.detect(str(clean), env=environment)]
        except NoMatchingFormatsError:
            return []
        except MultipleFormatsMatchError as error:
            formats = list(error.formats)
    if COCO_FORMATS.keys() >= set(formats):
        return ["coco"]
    if all(name.split("_")[0] == "voc" for name in formats):
        return ["voc"]
    return formats


@contextmanager
def _without_stores(path: Path) -> Iterator[Path]:
    """Yield a view of a folder without our stores: the folder, or links to its other entries."""
    folder, below, has_stores = path, Path(path.resolve().name or "dataset"), False
    while folder.is_dir():
        entries = list(folder.iterdir())
        own = [entry for entry in entries if not is_part_of_store(entry)]
        has_stores |= len(own) < len(entries)
        if len(own) != 1 or not own[0].is_dir():
            break
        folder, below = own[0], below / own[0].name  # Datumaro descends into a single folder
    if not has_stores:
        yield path
        return
    with TemporaryDirectory(prefix="datumaro-embed-") as temporary:
        view = Path(temporary, below)
        view.mkdir(parents=True)
        for entry in own:
            (view / entry.name).symlink_to(os.path.abspath(entry))
        yield Path(temporary, below.parts[0])


def _own_files(path: Path) -> Iterator[Path]:
    for parent, _, files in islice(walk_own(path), _MAX_FOLDERS):
        yield from (parent / name for name in files)


def _unrecognised(path: Path) -> str:
    """Return a sentence on the files that common formats need, those found, and the next step."""
    images = (file.parent for file in _own_files(path) if is_image_name(file.name))
    folder = next(images, None)
    ways = [f"{path}:coco"]
    if any(is_video_name(file.name) for file in _own_files(path)):
        ways = [f"{path}:videos for the frames of its videos"]
    if folder is not None:
        ways = [f"{folder}:image_dir for the images of one folder"]
        if folder != path:
            ways.insert(0, f"{path}:imagenet where folders name labels")

    coco = "no annotations/*.json"
    if json_file := next(path.rglob("*.json"), None):
        name = json_file.relative_to(path).as_posix()
        coco = f"no JSON file with images and annotations ({name} is not one)"
    yaml = next(path.glob("*.y*ml"), None)
    names = f" ({yaml.name} names no classes)" if yaml else ""
    xml = next(path.glob("Annotations/**/*.xml"), None)
    lacking = [
        f"coco: {coco}",
        f"yolo: no data.yaml, and no obj.data{names}",
        f"voc: {'Annotations/*.xml, but ' if xml else ''}no ImageSets/*/*.txt",
    ]
    other = next((file for file in _own_files(path) if not is_image_name(file.name)), None)
    if other is not None:
        name = other.relative_to(path).as_posix()
        lacking.append(f"imagenet: not only images ({name} is not one)")
        lacking.append("image_dir: not only images in one folder")
        lacking.append("videos: not only videos")
    else:
        lacking.append("imagenet: no CLASS/*.jpg, and no train/CLASS/*.jpg")
        lacking.append("image_dir: no images")
    lacking.append('datumaro: no annotations/*.json with "items" and "categories"')
    found = found_files(path)
    if found == _NO_FILES:
        return f"no known dataset format. Found: {found}. Check the path."
    return (
        f"no known dataset format. Found: {found}. Not recognized as {'; '.join(lacking)}. Check "
        f"the path, or give the format: {' or '.join(ways)}."
    )


def _no_folder(path: Path) -> str:
    suffix = path.suffix.lower()
    if is_part_of_store(path):
        return "this is an embedding store. Give the path of its dataset."
    if is_image_name(path.name):
        return f"this is a single image. Use its folder: {path.parent}:image_dir."
    if suffix == ".zip":
        return (
            f"this is an archive. Unpack it and use the folder, or use {path}:image_zip to embed "
            "the images in it without annotations."
        )
    if suffix == ".json":
        return (
            "this file has no COCO annotations (images, annotations, categories). Use the "
            "dataset's folder, or add the format of the file after a colon."
        )
    return "this is a file. Give the path of a dataset's folder."
