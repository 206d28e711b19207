"""Limit access to the dataset's folder: the files that may be opened, the folders to list."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ..errors import DatasetReadError
from ..tally import Tally

_LEAVES = "the path leaves the dataset folder"
LINKED_OUT = "a symbolic link leads out of the dataset folder; --follow-symlinks allows such links"
LINKED_FOLDERS = (
    "folders behind links that lead out of the dataset folder (--follow-symlinks allows them)"
)
_NO_FOLDERS = frozenset({"__MACOSX", "$RECYCLE.BIN", "System Volume Information"})
_MAX_BY_LINK = 8  # limits walks through folders that link to each other


class Folder(NamedTuple):
    """A folder of a walk: its path, its path without links, and the names in it."""

    path: str
    real: str
    files: list[str]
    links: frozenset[str]


class Fence:
    """Checks that paths lie in a dataset's folder; `follow_symlinks` allows links out of it."""

    def __init__(self, root: str | Path, follow_symlinks: bool = False) -> None:
        self.root = os.path.abspath(root)
        self._real = os.path.realpath(root)
        self._follow_symlinks = follow_symlinks
        self.real_folder = lru_cache(maxsize=4096)(os.path.realpath)

    def place(self, path: str) -> tuple[str, str]:
        """Return a path relative to the root, and why it may not be opened; empty if it may."""
        absolute = os.path.abspath(path)
        if not is_within(absolute, self.root):
            return path, _LEAVES
        relative = self.relative(absolute)
        folder, name = os.path.split(absolute)
        is_link = os.path.islink(absolute)
        real = (
            os.path.realpath(absolute) if is_link else os.path.join(self.real_folder(folder), name)
        )
        is_allowed = self._follow_symlinks or is_within(real, self._real)
        return relative, "" if is_allowed else LINKED_OUT

    def relative(self, path: str) -> str:
        """Return a path relative to the root, with ``/``; it must be absolute and in the root."""
        return path[len(self.root) :].strip(os.sep).replace(os.sep, "/") or "."

    def walk(self, losses: Tally) -> Iterator[Folder]:
        """Yield the root and all folders below it, each before its subfolders.

        Hidden files and folders and those of operating systems are left out. A link to a folder is
        followed by the same rule as for files, but not into a folder that contains the link.
        Folders that cannot be read are losses.
        """
        by_link: Counter[str] = Counter()
        pending = [(self.root, self._real, frozenset((self._real,)), False)]
        while pending:
            path, real, above, is_linked = pending.pop()
            by_link[real] += is_linked
            if is_linked and by_link[real] > _MAX_BY_LINK:
                losses.add("folders skipped because too many links lead there", self.relative(path))
                continue
            try:
                files, links, folders = _scan(path)
            except OSError as error:
                what = f"{self.relative(path)}: {error.strerror}"
                losses.add("folders that cannot be read", what)
                continue
            yield Folder(path, real, files, links)
            for name in reversed(folders):
                below = os.path.join(path, name)
                target = os.path.realpath(below) if name in links else os.path.join(real, name)
                if not (self._follow_symlinks or is_within(target, self._real)):
                    losses.add(LINKED_FOLDERS, self.relative(below))
                elif target not in above:
                    linked = is_linked or name in links
                    pending.append((below, target, above | {target}, linked))


def read_error(path: str | Path, what: str) -> DatasetReadError:
    """Return the error for a path; `what` says what is wrong and what to do."""
    return DatasetReadError(f"{path}: {what}", path=str(path))


def is_hidden(name: str) -> bool:
    """Tell whether a name starts with a dot or belongs to an operating system."""
    return name.startswith(".") or name in _NO_FOLDERS


def is_within(path: str, folder: str) -> bool:
    """Tell whether an absolute path is a folder or lies below it; compares only the text."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _scan(path: str) -> tuple[list[str], frozenset[str], list[str]]:
    """Return the sorted names of files, of links, and of folders, without hidden ones.

    A broken link counts as a file; pipes and devices do not.
    """
    files, links, folders = [], set(), []
    with os.scandir(path) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if entry.is_symlink():
                links.add(entry.name)
                is_folder = os.path.isdir(entry.path)
                is_file = os.path.isfile(entry.path) or not os.path.exists(entry.path)
            else:
                is_folder, is_file = entry.is_dir(), entry.is_file()
            if is_folder:
                folders.append(entry.name)
            elif is_file:
                files.append(entry.name)
    return sorted(files), frozenset(links), sorted(folders)
