"""Where ``--store`` puts a store: one file, or a directory that keeps its segments."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from .errors import StoreExistsError, UsageError
from .files import TEMPORARY_PREFIX, check_writable, open_regular, read_errors
from .paths import refuse_empty

SUFFIXES = {".h5", ".hdf5"}
"""Of the file that is a store."""
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
WORK_SUFFIX = ".work"
SEGMENT_FOLDER, LOCK_NAME = "segments", "lock"

_MANIFESTS = ("manifest.json", "next.json")
_MAX_NAME_BYTES = 240  # X.h5.usearch, X.h5.parts and X.h5.work lie beside X.h5
_FILE_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]*")


def manifest_files(directory: Path) -> list[Path]:
    """Return the manifests in a directory: of the finished store, and of a run under way.

    Raises `StoreReadError`: the directory cannot be listed.
    """
    try:
        with read_errors(directory):
            names = set(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError, ValueError):  # or a path that no file can have
        return []
    return [directory / name for name in _MANIFESTS if name in names]


def is_hdf5_file(path: Path) -> bool:
    """Tell by its first bytes."""
    if not path.is_file():
        return False
    with open_regular(path) as stream, read_errors(path):
        return stream.read(len(HDF5_SIGNATURE)) == HDF5_SIGNATURE


@dataclass(frozen=True, slots=True)
class StorePlace:
    """A store to write."""

    target: Path  # the sealed file, or the directory
    keeps_segments: bool  # the store stays a directory
    directory: Path  # where segments are written: the store, or one beside the file to be
    ends_open: bool  # the path was written with a separator at its end

    @classmethod
    def of(cls, store: str | os.PathLike[str]) -> StorePlace:
        """Read a path as the user wrote it.

        A directory is meant by a separator at the end, by a store directory that is there, or by a
        name that does not end in ``.h5`` or ``.hdf5``; a file otherwise. Links are followed, so
        that a store has one place and one lock. Raises `UsageError`: no file can have this path.
        """
        refuse_empty(store)
        name = os.fspath(store)
        try:
            real = os.path.realpath(name)
        except ValueError as error:  # a NUL or a lone surrogate
            raise UsageError(
                f"{name!r} cannot be the path of a store. Choose another name."
            ) from error
        path = Path(name) if real == os.path.abspath(name) else Path(real)
        ends_open = name.endswith(tuple(filter(None, (os.sep, os.altsep))))
        file_like = Path(name).suffix.lower() in SUFFIXES and not ends_open
        keeps_segments = not file_like or bool(manifest_files(path))
        directory = path if keeps_segments else Path(f"{path}{WORK_SUFFIX}")
        return cls(path, keeps_segments, directory, ends_open)

    def check(self) -> None:
        """Refuse early what cannot become a store; leaves nothing behind.

        Raises `UsageError`, `StoreExistsError`, `StoreWriteError`.
        """
        # The name must leave room for what lies beside a store, and must not mislead.
        n_bytes = len(os.fsencode(self.target.name))
        if n_bytes > _MAX_NAME_BYTES:
            raise UsageError(
                f"The name of the store has {n_bytes} bytes; the limit is {_MAX_NAME_BYTES}. "
                "Choose a shorter name."
            )
        suffix, is_folder = self.target.suffix, self.target.is_dir()
        meant = self.ends_open or is_folder
        if self.keeps_segments and not meant and _FILE_SUFFIX.fullmatch(suffix):
            raise UsageError(
                f"'{self.target}' ends in {suffix}. Name a file that ends in .h5 or .hdf5, or end "
                f"the name with '{os.sep}' for a store directory."
            )

        if is_folder:
            ours = manifest_files(self.target) or all(
                path.name in (LOCK_NAME, SEGMENT_FOLDER) or path.name.startswith(TEMPORARY_PREFIX)
                for path in self.target.iterdir()
            )
            if not (self.keeps_segments and ours):
                raise UsageError(
                    f"'{self.target}' is a folder but not an embedding store. Name a file in it, "
                    f"such as {self.target / 'clip.h5'}, or a new folder."
                )
        elif self.keeps_segments and is_hdf5_file(self.target):
            raise StoreExistsError(
                f"'{self.target}' is a file, but the path ends like that of a folder. Leave out "
                f"the last '{os.sep}', or choose another path.",
                path=str(self.target),
            )
        elif os.path.lexists(self.target) and (
            self.keeps_segments or not is_hdf5_file(self.target)
        ):
            raise StoreExistsError(
                f"'{self.target}' exists but is not an embedding store, so it is not replaced. "
                "Choose another path.",
                path=str(self.target),
            )
        check_writable(self.target)


def misdetection(store: str | os.PathLike[str], folder: str | os.PathLike[str]) -> str:
    """Say that `datum` will not recognise a dataset for a store in its folder; else nothing.

    Datumaro takes a folder with a file ``*.h5`` for its format nyu_depth_v2. Commands of this
    package do not.
    """
    path = Path(os.path.abspath(store))
    if path.suffix != ".h5" or str(path.parent) != os.path.abspath(folder):
        return ""
    return (
        f"`datum` mistakes a folder that contains an .h5 file for the format nyu_depth_v2, so it "
        f"will not recognize '{folder}'. Name the store {path.with_suffix('.hdf5').name}, or put "
        "it elsewhere."
    )
