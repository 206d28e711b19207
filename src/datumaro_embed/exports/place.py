"""Where an export appears: built under another name beside it, flushed, then renamed."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..files import FileSystem, check_writable, write_errors
from ..outputs import check_output

__all__ = ["new_path"]


@contextmanager
def new_path(out: Path, *, directory: bool = False) -> Iterator[Path]:
    """Yield a path beside `out` to write to; it becomes `out` when the block succeeds.

    Parameters
    ----------
    out : Path
        Must not exist; its folder must.
    directory : bool
        An empty directory is made at the path yielded; otherwise the block makes a file there.

    Raises
    ------
    StoreExistsError
        Something is at `out`, before or after the block.
    OutputFolderError
    StoreWriteError
        The operating system refused; nothing is left behind.
    """
    check_output(out)
    check_writable(out)
    work = out.parent / f".datumaro-embed-{secrets.token_hex(8)}.tmp"
    files = FileSystem()
    try:
        with write_errors(out):
            if directory:
                work.mkdir()
            yield work
            for path in (*work.rglob("*"), work):
                _sync(path)
        check_output(out)
        with write_errors(out):
            files.replace(work, out)
            files.fsync_directory(out.parent)
    finally:
        _remove(work)


def _sync(path: Path) -> None:
    files = FileSystem()
    if path.is_dir():
        files.fsync_directory(path)
        return
    descriptor = os.open(path, os.O_RDWR)
    try:
        files.fsync(descriptor)
    finally:
        files.close(descriptor)


def _remove(work: Path) -> None:
    if work.is_dir():
        shutil.rmtree(work, ignore_errors=True)
    else:
        work.unlink(missing_ok=True)
