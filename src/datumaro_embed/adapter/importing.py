"""Import ``PATH[:FORMAT]`` as a SourceDataset, and count what Datumaro drops."""

from __future__ import annotations

import gc
import os
from dataclasses import dataclass, field
from pathlib import Path
from traceback import extract_tb

from datumaro.components.annotation import AnnotationType
from datumaro.components.dataset import Dataset
from datumaro.components.errors import DatasetNotFoundError, DatumaroError, UnknownFormatError

from ..errors import DatasetReadError, EmptyDatasetError
from ..logs import each_warning_once, log
from ..paths import refuse_empty
from ..tally import Tally
from .coco import read_coco
from .coco_files import COCO_FORMATS
from .dataset import SourceDataset
from .disk import count_unused_images
from .fence import read_error
from .image_folders import BY_FOLDER, read_imagenet, read_images
from .media import loading_images, media_file

_YOLO = {"roboflow_yolo", "yolo", "yolo_loose", "yolo_strict", "yolo_ultralytics"}


@dataclass(frozen=True, slots=True)
class ImportedDataset:
    """An imported dataset, and what was lost of the dataset on disk."""

    source: SourceDataset
    losses: Tally = field(default_factory=Tally)
    form: str = ""  # Datumaro's name of the format, for writing


@loading_images()
def import_dataset(
    pathspec: str, *, follow_symlinks: bool = False, every: int = 1
) -> ImportedDataset:
    """Import a dataset like ``datum``, but continue after a bad item.

    Raises `DatasetReadError` (no such path, no such format, or Datumaro cannot read the dataset at
    all) and `EmptyDatasetError`.

    Datumaro's dataset is freed before this returns; its items, about 2 KB each, are kept
    compressed.

    Parameters
    ----------
    pathspec : str
        ``PATH`` (the format is detected) or ``PATH:FORMAT``.
    follow_symlinks, every
        As in `SourceDataset`.
    """
    path, format_name = split_pathspec(pathspec)
    if not os.path.lexists(path):
        raise read_error(path, "no such dataset. Check the path.")
    if not os.access(path, os.R_OK | os.X_OK if path.is_dir() else os.R_OK):
        raise read_error(path, "cannot be read. Check its permissions, and what it links to.")
    losses = Tally()
    with each_warning_once():
        try:
            is_detected = format_name is None
            if format_name is None:
                from .detecting import detect_format

                format_name = detect_format(path)
            dataset, root = _read(
                path, format_name, losses, follow_symlinks=follow_symlinks, every=every
            )
            if format_name in BY_FOLDER and is_detected:
                meaning = f"labels. Use {path}:image_dir to read the images without labels."
                if not len(dataset.categories()[AnnotationType.label]):
                    meaning = (
                        f"subsets: no item has a label. Use {path}:imagenet to read them as labels."
                    )
                what = "%s: read as %s, which uses folder names as %s"
                log.warning(what, path, format_name, meaning)
            files = ((media_file(item.media), item.id) for item in dataset)
            count_unused_images(
                files, root, losses, format_name=format_name, follow_symlinks=follow_symlinks
            )
        except DatasetReadError:
            raise
        except Exception as error:
            raise DatasetReadError(_explain(path, format_name, error), path=str(path)) from error
        try:
            source = SourceDataset(
                dataset, root=root, follow_symlinks=follow_symlinks, packed=True, every=every
            )
        except EmptyDatasetError as error:
            lost = f" Lost on import: {'; '.join(losses.lines(''))}." if losses else ""
            raise EmptyDatasetError(
                f"{path}: read as {format_name}, the dataset has no items.{lost}{_found(path)} "
                "Check the path and the format."
            ) from error
    del dataset
    gc.collect()
    if format_name in _YOLO:
        from .yolo_config import find_config

        file = find_config(path)
        format_name = "yolo" if file and file.suffix == ".data" else "yolo_ultralytics"
    return ImportedDataset(source, losses, format_name)


def _read(
    path: Path, format_name: str, losses: Tally, *, follow_symlinks: bool, every: int
) -> tuple[Dataset, Path]:
    """Return a dataset and its folder."""
    if format_name == "videos" or (format_name == "video_frames" and path.is_dir()):
        from .videos import read_videos

        return read_videos(path, losses, follow_symlinks=follow_symlinks, every=every)
    if format_name in _YOLO:
        from .yolo import read_yolo

        return read_yolo(path, losses, follow_symlinks=follow_symlinks)
    if format_name in COCO_FORMATS:
        return read_coco(path, format_name, losses)
    if format_name == "image_dir":
        return read_images(path, losses, follow_symlinks=follow_symlinks), path
    if format_name in BY_FOLDER:
        return read_imagenet(path, format_name, losses), path
    from .by_datumaro import read_by_datumaro

    return read_by_datumaro(path, format_name, losses), path


def split_pathspec(pathspec: str) -> tuple[Path, str | None]:
    """Split at the last colon, unless the whole text is an existing path; it is not empty."""
    refuse_empty(pathspec)
    head, _, tail = pathspec.rpartition(":")
    if not head or Path(pathspec).exists():
        return Path(pathspec), None
    return Path(head), tail


def _found(path: Path) -> str:
    from .detecting import found_files

    return f" Found: {found_files(path)}." if path.is_dir() else ""


def _explain(path: Path, format_name: str | None, error: Exception) -> str:
    if isinstance(error, UnknownFormatError):
        return f"{path}: Datumaro has no format {format_name!r}. `datum format` lists its formats."
    cause = error.__cause__ if isinstance(error, DatumaroError) and error.__cause__ else error
    if isinstance(cause, AssertionError) and extract_tb(cause.__traceback__)[-1].name == "add":
        return f"{path}: two classes are called '{cause}'. Rename one of them."  # LabelCategories
    if isinstance(cause, PermissionError):
        return f"{cause.filename or path}: cannot be read. Check its permissions."
    if isinstance(cause, DatasetNotFoundError):
        return (
            f"{path}: no {format_name} dataset found here.{_found(path)} Check the path and format."
        )
    what = f"{type(cause).__name__}: {cause}".splitlines()[0]
    other = f", or use {path}:image_dir for images without annotations" if path.is_dir() else ""
    what = f"as {format_name} ({what})" if format_name else f"({what})"
    return f"{path}: Datumaro cannot import this {what}. Check that `datum stats` reads it{other}."
