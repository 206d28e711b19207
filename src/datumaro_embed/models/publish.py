"""Publish a directory all at once: whoever looks sees the old one, none, or the whole new one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..outputs import check_output

__all__ = ["check_free", "publish_directory"]


@contextmanager
def publish_directory(out_dir: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty directory beside `out_dir` that takes its place when the block succeeds.

    Parameters
    ----------
    out_dir : Path
        Its folder must exist. When the block raises, nothing is left behind.
    overwrite : bool
        Replace an existing directory (there is an instant without either).

    Raises
    ------
    StoreExistsError, OutputFolderError
        `out_dir` exists and `overwrite` is false; its folder does not exist.
    OSError
        The operating system refused a write.
    """
    out_dir = Path(os.path.abspath(out_dir))
    check_free(out_dir, overwrite=overwrite)
    work = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}.", suffix=".tmp", dir=out_dir.parent))
    try:
        fresh = work / "new"
        fresh.mkdir()
        yield fresh
        _sync_tree(fresh)
        if out_dir.exists():
            out_dir.rename(work / "old")
        fresh.rename(out_dir)
        _sync(out_dir.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def check_free(out_dir: Path, *, overwrite: bool) -> None:
    """Refuse early a directory that exists, unless it is to be replaced.

    Raises
    ------
    StoreExistsError, OutputFolderError
    """
    if not (out_dir.is_dir() and overwrite):
        check_output(out_dir, remedy="--overwrite")


def _sync_tree(folder: Path) -> None:
    for path in (*folder.rglob("*"), folder):
        _sync(path)


def _sync(path: Path) -> None:
    if os.name == "nt":  # directories cannot be opened, and rename is enough for the rest
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
