"""Where ``--store`` puts a store: one file, or a directory that keeps its shards."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from .errors import StoreError, StoreExistsError, StoreForeignError, UsageError
from .sharding import Parts, Shard, named
from .store import is_hdf5_file, is_store_directory, open_store
from .store.files import TEMPORARY_PREFIX, check_writable
from .tally import counted

__all__ = ["SUFFIXES", "StorePlace", "is_part_of_store", "misdetection"]

SUFFIXES = {".h5", ".hdf5"}
"""Of the file that is a store."""

_MAX_NAME_BYTES = 240  # X.h5.usearch, X.h5.parts and X.h5.work lie beside X.h5
_OWN_ENTRIES = {"lock", "shards"}
_WORK, _INDEX = ".work", ".usearch"


@dataclass(frozen=True, slots=True)
class StorePlace:
    """A store to write.

    Attributes
    ----------
    target : Path
        The sealed file, or the directory.
    keeps_shards : bool
        The store stays a directory.
    shard : Shard or None
        It is the part of a store that one shard's run writes.
    whole : Path or None
        The store that the parts will be.
    ends_open : bool
        The path was written with a separator at its end.
    """

    target: Path
    keeps_shards: bool
    shard: Shard | None = None
    whole: Path | None = None
    ends_open: bool = False

    @classmethod
    def of(cls, store: str | os.PathLike[str], shard: Shard | None = None) -> StorePlace:
        """Read a path as the user wrote it; with a shard, the place of that part of the store.

        A directory is meant by a separator at the end, by a store directory that is there, or by a
        name that does not end in ``.h5`` or ``.hdf5``; a file otherwise.
        """
        name = os.fspath(store)
        path = _without_links(name)
        ends_open = name.endswith(tuple(filter(None, (os.sep, os.altsep))))
        file_like = Path(name).suffix.lower() in SUFFIXES and not ends_open
        keeps_shards = not file_like or is_store_directory(path)
        if shard is None:
            return cls(path, keeps_shards, ends_open=ends_open)
        part = Parts.of(path).path(shard, keeps_shards=keeps_shards)
        return cls(part, keeps_shards, shard, path, ends_open)

    @property
    def directory(self) -> Path:
        """Where shards are written: the store itself, or a directory beside the file to be."""
        return self.target if self.keeps_shards else Path(f"{self.target}{_WORK}")

    def outlook(self) -> str:
        """Say, once a part is finished, which others are not, or how to join all; else nothing."""
        if self.whole is None:
            return ""
        parts = Parts.of(self.whole)
        if missing := parts.missing():
            n_all = missing[0].count
            of_all = counted(n_all, "shards")
            return f"{len(missing):,} of {of_all} not finished yet: {named(missing)}"
        return (
            "All shards are finished; join them: "
            f"{_merge_command(parts, StorePlace(self.whole, self.keeps_shards))}"
        )

    def check(self) -> None:
        """Refuse early what cannot become a store; leaves nothing behind.

        Raises
        ------
        UsageError, StoreExistsError, StoreWriteError
        """
        self._check_name()
        self._check_suffix()
        if self.whole is not None and self.shard is not None:
            StorePlace(self.whole, self.keeps_shards, ends_open=self.ends_open).check()
            Parts.of(self.whole).check(self.shard.count)
        if self.target.is_dir():
            self._check_directory()
        elif os.path.lexists(self.target) and (self.keeps_shards or not is_hdf5_file(self.target)):
            raise StoreExistsError(
                f"'{self.target}' exists and is no embedding store, so it is not replaced; "
                "remove it, or choose another path.",
                path=str(self.target),
            )
        check_writable(self.target)

    def _check_name(self) -> None:
        """Refuse a name to which no file system lets us add what lies beside a store."""
        n_bytes = len(os.fsencode(self.target.name))
        if n_bytes > _MAX_NAME_BYTES:
            raise UsageError(
                f"The name of the store has {n_bytes} bytes, and {_MAX_NAME_BYTES} is the limit. "
                "Choose a shorter name."
            )

    def _check_suffix(self) -> None:
        """Refuse a folder that nobody would expect under its name, as ``clip.txt``."""
        suffix = self.target.suffix
        meant = self.ends_open or self.shard is not None or self.target.is_dir()
        if self.keeps_shards and not meant and re.fullmatch(r"\.[A-Za-z][A-Za-z0-9]*", suffix):
            raise UsageError(
                f"'{self.target}' ends in {suffix}. Name a file that ends in .h5 or .hdf5, or end "
                f"the name with '{os.sep}' for a folder of shards."
            )

    def _check_directory(self) -> None:
        ours = is_store_directory(self.target) or all(
            path.name in _OWN_ENTRIES or path.name.startswith(TEMPORARY_PREFIX)
            for path in self.target.iterdir()
        )
        if not (self.keeps_shards and ours):
            raise UsageError(
                f"'{self.target}' is a folder and no embedding store. Name a file in it, as "
                f"{self.target / 'clip.h5'}, or a new folder."
            )


def _without_links(name: str) -> Path:
    """Follow links, so that a store has one place and one lock however it is reached.

    Raises
    ------
    UsageError
        No file can have this path.
    """
    try:
        real = os.path.realpath(name)
    except ValueError as error:  # a NUL or a lone surrogate
        raise UsageError(f"{name!r} cannot be the path of a store. Choose another name.") from error
    return Path(name) if real == os.path.abspath(name) else Path(real)


def _merge_command(parts: Parts, whole: StorePlace) -> str:
    file_like = whole.target.suffix.lower() in SUFFIXES
    output = f"{whole.target}{os.sep if whole.keeps_shards and file_like else ''}"
    there = any(map(os.path.lexists, (whole.target, whole.directory)))
    words = ["datumaro-embed", "merge", str(parts.folder), "-o", output]
    return shlex.join(words + ["--replace"] * there)


def is_part_of_store(path: Path) -> bool:
    """Tell a store, whole, unfinished or damaged, and its parts and index, from all else.

    Notes
    -----
    Opens files and folders only where their names, or what is in them, are those of a store.
    """
    suffix = path.suffix.lower()
    if suffix in SUFFIXES and path.is_file():
        return _is_store_file(path)
    if suffix == _INDEX or path.name.startswith(TEMPORARY_PREFIX):
        return path.is_file()
    if suffix in {_WORK, ".parts"} and Path(path.stem).suffix.lower() in SUFFIXES:
        return path.is_dir()
    try:
        return (path / "shards").is_dir() and is_store_directory(path)
    except PermissionError as error:
        raise PermissionError(error.errno, error.strerror, str(path)) from error


def _is_store_file(path: Path) -> bool:
    try:
        if not is_hdf5_file(path):
            return False
        with open_store(path):
            return True
    except StoreForeignError as error:
        return hasattr(error, "found")  # ours, of another version
    except (OSError, StoreError):
        return True


def misdetection(store: str | os.PathLike[str], folder: str | os.PathLike[str]) -> str:
    """Say that `datum` will not recognise a dataset for a store in its folder; else nothing.

    Datumaro takes a folder with a file ``*.h5`` for its format nyu_depth_v2. Commands of this
    package do not.
    """
    path = Path(os.path.abspath(store))
    if path.suffix != ".h5" or str(path.parent) != os.path.abspath(folder):
        return ""
    return (
        f"`datum` takes a folder with an .h5 file in it for the format nyu_depth_v2, so it will "
        f"not recognise '{folder}'. Name the store {path.with_suffix('.hdf5').name}, or put it "
        "elsewhere."
    )
