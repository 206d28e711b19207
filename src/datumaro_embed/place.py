"""Where ``--store`` puts a store: one file, or a directory that keeps its shards."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .errors import StoreExistsError, UsageError
from .store import is_hdf5_file, is_store_directory
from .store.files import TEMPORARY_PREFIX, check_writable

__all__ = ["StorePlace"]

_SUFFIXES = {".h5", ".hdf5"}
_OWN_ENTRIES = {"lock", "shards"}


@dataclass(frozen=True, slots=True)
class StorePlace:
    """A store to write.

    Attributes
    ----------
    target : Path
        The sealed file, or the directory.
    keeps_shards : bool
        The store stays a directory.
    """

    target: Path
    keeps_shards: bool

    @classmethod
    def of(cls, store: str | os.PathLike[str]) -> StorePlace:
        """Read a path as the user wrote it.

        A directory is meant by a separator at the end, by a store directory that is there, or by a
        name that does not end in ``.h5`` or ``.hdf5``; a file otherwise.
        """
        name, path = os.fspath(store), Path(store)
        ends_open = name.endswith(tuple(filter(None, (os.sep, os.altsep))))
        file_like = path.suffix.lower() in _SUFFIXES and not ends_open
        return cls(path, not file_like or is_store_directory(path))

    @property
    def directory(self) -> Path:
        """Where shards are written: the store itself, or a directory beside the file to be."""
        return self.target if self.keeps_shards else Path(f"{self.target}.work")

    def check(self) -> None:
        """Refuse early what cannot become a store; leaves nothing behind.

        Raises
        ------
        UsageError, StoreExistsError, StoreWriteError
        """
        if self.target.is_dir():
            self._check_directory()
        elif os.path.lexists(self.target) and (self.keeps_shards or not is_hdf5_file(self.target)):
            raise StoreExistsError(
                f"'{self.target}' exists and is no embedding store, so it is not replaced; "
                "remove it, or choose another path.",
                path=str(self.target),
            )
        check_writable(self.target)

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
