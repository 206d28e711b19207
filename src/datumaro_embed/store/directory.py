"""A store directory in a writer's hands: its lock, its manifests, and what lies there unnamed."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ..errors import StoreCorruptError, StoreForeignError
from ..escaping import printable
from ..tally import counted
from .files import (
    TEMPORARY_PREFIX,
    TEMPORARY_SUFFIX,
    FileSystem,
    make_parents,
    publish,
    write_errors,
)
from .lock import StoreLock
from .manifest import (
    LOCK_NAME,
    SHARD_FOLDER,
    Manifest,
    Part,
    is_shard_name,
    manifest_files,
    manifest_path,
    read_manifest,
    shard_name,
    write_manifest,
)
from .rows import RowReader
from .skeleton import file_blocks, make_skeleton, shapes_of
from .writer import new_info

__all__ = ["RunDirectory", "holds_only_leftovers"]

_log = logging.getLogger("datumaro_embed")
_MAX_ORPHANS = 2
_MAX_NAMED = 5
_TEMPORARY = re.compile(
    rf"{re.escape(TEMPORARY_PREFIX)}[0-9a-f]{{16}}{re.escape(TEMPORARY_SUFFIX)}"
)
_NUMBER = re.compile(r"-([0-9]+)\.h5")


class RunDirectory:
    """One writer's hold on a store directory, from construction to `leave`.

    Parameters
    ----------
    path : Path
        Made where it is missing.
    files : FileSystem
    writer : str
        Name in the manifest and the shards.
    store : Path, optional
        What messages call it; `path` unless given.
    restart : bool
        Drop damaged manifests of this writer.

    Raises
    ------
    StoreLockedError
    StoreCorruptError, StoreForeignError
        A manifest that is damaged, or of a newer format.
    StoreWriteError
    """

    def __init__(
        self,
        path: Path,
        files: FileSystem,
        *,
        writer: str = "0",
        store: Path | None = None,
        restart: bool = False,
    ) -> None:
        self.path = path
        self.files = files
        self._writer = writer
        self._made: list[Path] = []
        self._named_others: list[str] = []
        self._is_work = store is not None and store != path
        self._published = self._is_work and store is not None and store.exists()
        with write_errors(path):
            make_parents(path, files, self._made)
        try:
            self._lock = StoreLock(path / LOCK_NAME, store or path)
        except BaseException:  # the lock file may be that of another writer
            with suppress(OSError):
                for made in reversed(self._made):
                    files.remove_directory(made)
            raise
        try:
            self._refuse_links()
            with write_errors(path):
                for made in self._made:
                    files.fsync_directory(made.parent)
            self.finished = self._read(complete=True, restart=restart)
            self.unfinished = self._read(complete=False, restart=restart)
            if not restart:
                self._refuse_orphans()
        except BaseException:
            self._remove_if_empty()
            self._lock.release()
            raise
        self._next_number = 1 + max([0, *map(_number, self._all_names())])

    def _read(self, *, complete: bool, restart: bool) -> Manifest | None:
        path = self._manifest(complete=complete)
        try:
            return read_manifest(path)
        except FileNotFoundError:
            return None
        except StoreCorruptError:
            if not restart:
                raise
            self.files.unlink(path)
            return None

    def _refuse_links(self) -> None:
        """Refuse to write, and to clean up, where a link leads to a folder of somebody else."""
        if self._shards.is_symlink():
            raise StoreForeignError(
                f"'{self._shards}' is a symbolic link, and a store keeps its shards in a folder of "
                "its own. Remove the link, or choose another path.",
                path=str(self._shards),
            )

    def _refuse_orphans(self) -> None:
        """Refuse to clean up shards whose manifest somebody lost.

        A crash leaves two such shards at most, or any number of them once the file is published.
        """
        if self._published:
            return
        orphans = [path for path in self._shard_files() if self._is_own(path)]
        if len(orphans) > _MAX_ORPHANS and not manifest_files(self.path):
            raise StoreCorruptError(
                f"'{self.path}' has {counted(len(orphans), 'shards')} and no manifest; "
                "`datumaro-embed repair` saves their rows, --restart drops them.",
                path=str(self.path),
                place=SHARD_FOLDER,
            )

    def others(self) -> Iterator[Manifest]:
        """Manifests of other writers of this directory."""
        own = {self._manifest(complete=complete) for complete in (True, False)}
        return (read_manifest(path) for path in manifest_files(self.path) if path not in own)

    @property
    def _shards(self) -> Path:
        return self.path / SHARD_FOLDER

    def _all_names(self) -> set[str]:
        named = {part.name for m in (self.finished, self.unfinished) if m for part in m.parts}
        return named | {path.name for path in self._shard_files()}

    def _shard_files(self) -> list[Path]:
        return sorted(self._shards.glob("*.h5"))

    def _is_own(self, path: Path) -> bool:
        """Tell whether this writer made a file: by its name, and it is no link."""
        return is_shard_name(path.name, self._writer) and not path.is_symlink()

    def commit_file(self, arrays: Mapping[str, npt.NDArray[Any]], run_fingerprint: str) -> Part:
        """Write one file into the folder of shards; it does not count before a manifest names it.

        Raises
        ------
        StoreWriteError
        """
        name = shard_name(self._writer, self._next_number)
        self._next_number += 1
        info = new_info(name, arrays, run_fingerprint)
        skeleton = make_skeleton(shapes_of(arrays), info)
        blocks = file_blocks(skeleton, lambda path: [arrays[path]])
        digest = publish(self._shards / name, blocks, skeleton.size_bytes, self.files)
        part = Part(name, info.n_rows, info.n_annotations, skeleton.size_bytes, digest)
        if not info.n_rows:
            return part
        rows = RowReader(name, info.n_rows, arrays.__getitem__)
        ends = {"first": rows.key(0), "last": rows.key(info.n_rows - 1)}
        return Part(part.name, part.n_rows, part.n_annotations, part.n_bytes, digest, **ends)

    def save(self, manifest: Manifest) -> None:
        """Commit the state of the run under way.

        Raises
        ------
        StoreWriteError
        """
        write_manifest(self._manifest(complete=False), manifest, self.files)
        self.unfinished = manifest

    def _manifest(self, *, complete: bool) -> Path:
        return manifest_path(self.path, self._writer, complete=complete)

    def finish(self) -> None:
        """Make the run under way the store: one rename; then remove what it does not name.

        Raises
        ------
        StoreWriteError
        """
        unfinished, finished = self._manifest(complete=False), self._manifest(complete=True)
        with write_errors(finished):
            self.files.replace(unfinished, finished)
            self.files.fsync_directory(self.path)
        self.finished, self.unfinished = self.unfinished, None
        with suppress(OSError):
            self.clean()

    def forget_unfinished(self) -> None:
        """Drop the run under way and its shards.

        Raises
        ------
        StoreWriteError
        """
        path = self._manifest(complete=False)
        with write_errors(path):
            if path.exists():
                self.files.unlink(path)
                self.files.fsync_directory(self.path)
            self.unfinished = None
            self.clean()

    def clean(self) -> None:
        """Remove temporaries of dead processes and own shards that no manifest names.

        Files of any other name belong to somebody else: they stay, and are named once.
        """
        named = {
            part.name for path in manifest_files(self.path) for part in read_manifest(path).parts
        }
        for folder in (self.path, self._shards):
            for path in folder.glob(f"{TEMPORARY_PREFIX}*{TEMPORARY_SUFFIX}"):
                if _TEMPORARY.fullmatch(path.name):
                    self.files.unlink(path)
        others = []
        for path in self._shard_files():
            if path.name in named:
                continue
            if self._is_own(path):
                self.files.unlink(path)
            else:
                others.append(path.name)
        self._name_others(others)

    def _name_others(self, names: list[str]) -> None:
        if names and names != self._named_others:
            self._named_others = names
            more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
            _log.warning(
                "'%s' holds files that are no part of the store; they are left alone: %s%s",
                self._shards,
                printable(", ".join(names[:_MAX_NAMED])),
                more,
            )

    def leave(self) -> None:
        """Release the lock; where nothing was ever committed, nothing is left behind."""
        with suppress(OSError):
            if not manifest_files(self.path):
                self.clean()
                self._remove_if_empty()
        self._lock.release()

    def _remove_if_empty(self) -> None:
        """Remove the directory if it holds a lock at most, and parents that were made for it."""
        with suppress(OSError):
            if self._shards.is_dir():
                self.files.remove_directory(self._shards)
            if {entry.name for entry in self.path.iterdir()} <= {LOCK_NAME}:
                with suppress(FileNotFoundError):
                    self.files.unlink(self.path / LOCK_NAME)
                if self._is_work or self.path in self._made:
                    self.files.remove_directory(self.path)
                for parent in reversed(self._made[:-1]):
                    self.files.remove_directory(parent)


def holds_only_leftovers(directory: Path, published_uuid: str | None = None) -> bool:
    """Tell whether nothing is lost with a directory: what a killed merge or repair leaves.

    Parameters
    ----------
    directory : Path
    published_uuid : str, optional
        Of the store that lies where the run was to publish; it must be the run's own.

    Raises
    ------
    StoreReadError
    StoreCorruptError, StoreForeignError
        A manifest that is damaged, or of a newer format.
    """
    manifests = manifest_files(directory)
    if any(not path.name.startswith("next-") for path in manifests):
        return False
    found = [read_manifest(path) for path in manifests]
    if not all(manifest.purpose for manifest in found):
        return False
    if published_uuid and [manifest.uuid for manifest in found] != [published_uuid]:
        return False
    known = {LOCK_NAME, SHARD_FOLDER, *(path.name for path in manifests)}
    others = {path.name for path in directory.iterdir()} - known
    return all(_TEMPORARY.fullmatch(name) for name in others) and (
        bool(manifests) or len(list((directory / SHARD_FOLDER).glob("*.h5"))) <= _MAX_ORPHANS
    )


def _number(name: str) -> int:
    found = _NUMBER.search(name)
    return int(found.group(1)) if found else 0
