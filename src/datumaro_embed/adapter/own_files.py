"""Stores in the folder of a dataset, which are not part of the dataset."""

from __future__ import annotations

from pathlib import Path

from ..errors import StoreError, StoreForeignError
from ..files import TEMPORARY_PREFIX
from ..place import SEGMENT_FOLDER, SUFFIXES, WORK_SUFFIX, is_hdf5_file, manifest_files
from ..store import open_store


def is_part_of_store(path: Path) -> bool:
    """Tell a store, whole, unfinished or damaged, and its parts and index, from all else.

    Opens files and folders only where their names, or what is in them, are those of a store.
    """
    suffix = path.suffix.lower()
    if suffix in SUFFIXES and path.is_file():
        try:
            if is_file := is_hdf5_file(path):
                open_store(path).close()
            return is_file
        except StoreForeignError as error:
            return hasattr(error, "found")  # ours, of another version
        except (OSError, StoreError):
            return True
    if suffix == ".usearch" or path.name.startswith(TEMPORARY_PREFIX):
        return path.is_file()
    if suffix in {WORK_SUFFIX, ".parts"} and Path(path.stem).suffix.lower() in SUFFIXES:
        return path.is_dir()
    try:
        return (path / SEGMENT_FOLDER).is_dir() and bool(manifest_files(path))
    except PermissionError as error:
        raise PermissionError(error.errno, error.strerror, str(path)) from error
