"""The file-system seam: every write, fsync, rename and unlink of a store goes through `FileSystem`.

A test (or a crash laboratory) hands in a subclass that records or fails calls.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import StoreWriteError

__all__ = ["FileSystem", "check_writable", "publish", "write_errors"]

_BLOCK_BYTES = 32 * 2**20
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class FileSystem:
    """The operating system's calls, one method each; every one raises `OSError`."""

    def free_bytes(self, directory: Path) -> int:
        """Bytes that this user may still write."""
        return shutil.disk_usage(directory).free

    def make_directory(self, directory: Path) -> None:
        """Create one directory, whose parent exists."""
        directory.mkdir()

    def create(self, path: Path) -> int:
        """Open a new file for writing; fails where one is there."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        return os.open(path, flags, 0o666)

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write some of the bytes and tell how many."""
        return os.write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        """Return when the file's bytes are on the device."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Close, and hear of errors that only now come up."""
        os.close(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        """Rename in one step; readers see the old file or the new one."""
        source.replace(target)

    def fsync_directory(self, directory: Path) -> None:
        """Return when the directory's entries are on the device; Windows has no such call."""
        if os.name == "nt":
            return
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        path.unlink()

    def remove_directory(self, directory: Path) -> None:
        """Remove an empty directory."""
        directory.rmdir()


@contextmanager
def write_errors(path: Path, needs_bytes: int = 0, free_bytes: int | None = None) -> Iterator[None]:
    """Turn an `OSError` into a `StoreWriteError` that names path and cause."""
    try:
        yield
    except StoreWriteError:
        raise
    except OSError as error:
        if error.errno in _DISK_FULL:
            free = "unknown" if free_bytes is None else f"{free_bytes:,}"
            message = (
                f"Disk full ({error.strerror}): '{path}' needs {needs_bytes:,} bytes, free {free}; "
                "free some space or choose another place."
            )
        else:
            message = (
                f"Cannot write '{path}': {error.strerror or error}; "
                "check the path and its permissions, or choose another place."
            )
        raise StoreWriteError(
            message,
            path=path,
            os_errno=error.errno,
            needs_bytes=needs_bytes,
            free_bytes=free_bytes,
        ) from error


def check_writable(path: Path) -> None:
    """Refuse early a place where no file can be made; leaves nothing behind.

    Raises
    ------
    StoreWriteError
        Where the nearest existing parent is no directory, or may not be written.
    """
    with write_errors(path):
        parent = path.parent
        while not os.path.lexists(parent) and parent != parent.parent:
            parent = parent.parent
        if not parent.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"'{parent}' is no directory")
        if not os.access(parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, f"no permission to write in '{parent}'")


def publish(path: Path, data: memoryview, files: FileSystem) -> None:
    """Put a whole file in place: readers see what was there before, or all of it; never a part.

    Free space is checked, then: temporary file in the same directory, write, fsync, rename over the
    target, fsync of the directory. Missing parent directories are made, and removed on failure.

    Raises
    ------
    StoreWriteError
        What was there before is untouched and nothing else is left, unless the failure was in the
        very last step, after which the new file is in place but may not survive a power loss.
    """
    made: list[Path] = []
    try:
        with write_errors(path, len(data)):
            _make_parents(path.parent, files, made)
        free = _checked_free_bytes(path, len(data), files)
        temporary = path.parent / f".datumaro-embed-{secrets.token_hex(8)}.tmp"
        try:
            with write_errors(path, len(data), free):
                _write_file(temporary, data, files)
                files.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                files.unlink(temporary)
            raise
    except BaseException:
        with suppress(OSError):
            for directory in reversed(made):
                files.remove_directory(directory)
        raise
    with write_errors(path, len(data)):
        for directory in dict.fromkeys([path.parent, *(d.parent for d in reversed(made))]):
            files.fsync_directory(directory)


def _make_parents(directory: Path, files: FileSystem, made: list[Path]) -> None:
    missing: list[Path] = []
    while not directory.exists():
        missing.append(directory)
        directory = directory.parent
    for parent in reversed(missing):
        files.make_directory(parent)
        made.append(parent)


def _checked_free_bytes(path: Path, needs_bytes: int, files: FileSystem) -> int:
    with write_errors(path, needs_bytes):
        free = files.free_bytes(path.parent)
    with write_errors(path, needs_bytes, free):
        if free < needs_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return free


def _write_file(path: Path, data: memoryview, files: FileSystem) -> None:
    descriptor = files.create(path)
    try:
        rest = data.cast("B")
        while rest:
            written = files.write(descriptor, rest[:_BLOCK_BYTES])
            if written <= 0:
                raise OSError(errno.EIO, "the system wrote no byte and gave no reason")
            rest = rest[written:]
        files.fsync(descriptor)
    except BaseException:
        with suppress(OSError):
            files.close(descriptor)
        raise
    files.close(descriptor)
