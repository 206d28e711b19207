"""Which of Datumaro's formats a folder has: as Datumaro detects it, but for stores of ours in it.

Datumaro takes any folder with an ``.h5`` file for the format nyu_depth_v2, any with a ``.csv`` for
tabular, and a folder of images for none as soon as anything else lies in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from datumaro.components.dataset import Dataset
from datumaro.components.environment import Environment
from datumaro.components.errors import MultipleFormatsMatchError, NoMatchingFormatsError

from ..errors import DatasetReadError
from ..kinds import is_image_name
from ..logs import without_warnings
from ..store import is_part_of_store
from .coco_files import COCO_FORMATS, holds_coco, holds_datumaro
from .image_folders import detect_image_folders, walk_own
from .unrecognised import explain_unrecognised
from .yolo import holds_yolo

__all__ = ["detect_format"]


def detect_format(path: Path) -> str:
    """Return the name of the format of a dataset.

    Raises
    ------
    DatasetReadError
        None is recognised (which files were looked for, and what was found), or several are.
    """
    held = [name for name, holds in _HOLDS.items() if holds(path)]
    # Datumaro would take one of two, and not say so.
    formats = held if held == ["yolo"] or len(held) > 1 else _formats(path) or held
    formats = formats or detect_image_folders(path)
    if not formats:
        raise DatasetReadError(explain_unrecognised(path), path=str(path))
    if len(formats) > 1:
        ways = " or ".join(f"{path}:{name}" for name in formats)
        if "imagenet" in formats:
            ways += " (where the folders at the top are subsets, not labels)"
        raise DatasetReadError(
            f"{path}: holds what more than one format has ({', '.join(formats)}). "
            f"Name the one to read: {ways}.",
            path=str(path),
        )
    return formats[0]


def _holds_voc(path: Path) -> bool:
    return next(path.glob("ImageSets/*/*.txt"), None) is not None


_HOLDS = {"coco": holds_coco, "datumaro": holds_datumaro, "voc": _holds_voc, "yolo": holds_yolo}

# detect_image_folders() tells these. Datumaro needs one file for those without images.
_IMAGE_FOLDERS = {"image_dir", "imagenet", "imagenet_with_subset_dirs"}
_NO_IMAGES = {"kinetics", "sly_pointcloud", "tabular", "video_frames", "video_keyframes"}
_IN_CONTAINERS = {"arrow", "cifar", "image_zip", "mnist", "mnist_csv", "nyu_depth_v2"}


def _formats(path: Path) -> list[str]:
    """Return what Datumaro detects; of names that mean the same, the one that reads most.

    Image files win over formats that have their images in files of another kind.
    """
    environment = Environment()
    if path.is_dir():
        has_images = any(is_image_name(name) for *_, files in walk_own(path) for name in files)
        left_out = _IMAGE_FOLDERS | _NO_IMAGES | (_IN_CONTAINERS if has_images else set())
        for group in environment.importers.extension_groups.values():
            group[:] = [(name, importer) for name, importer in group if name not in left_out]
    with _without_stores(path) as clean, without_warnings():  # of formats that may not be it
        try:
            formats = [Dataset.detect(str(clean), env=environment)]
        except NoMatchingFormatsError:
            formats = []
        except MultipleFormatsMatchError as error:
            formats = list(error.formats)
    if not formats:
        return []
    if COCO_FORMATS.keys() >= set(formats):
        return ["coco"]
    if all(name.split("_")[0] == "voc" for name in formats):
        return ["voc"]
    return formats


@contextmanager
def _without_stores(path: Path) -> Iterator[Path]:
    """Give a folder as it would be without stores of ours: itself, or links to all else in it."""
    if not path.is_dir() or not _holds_stores(path):
        yield path
        return
    with TemporaryDirectory(prefix="datumaro-embed-") as temporary:
        view = Path(temporary, path.resolve().name or "dataset")
        _link_others(path, view)
        yield view


def _holds_stores(folder: Path) -> bool:
    entries = list(folder.iterdir())
    if any(map(is_part_of_store, entries)):
        return True
    # Of a single folder Datumaro looks into that.
    return len(entries) == 1 and entries[0].is_dir() and _holds_stores(entries[0])


def _link_others(folder: Path, view: Path) -> None:
    view.mkdir()
    entries = [entry for entry in folder.iterdir() if not is_part_of_store(entry)]
    if len(entries) == 1 and entries[0].is_dir():
        _link_others(entries[0], view / entries[0].name)
        return
    for entry in entries:
        (view / entry.name).symlink_to(os.path.abspath(entry))
