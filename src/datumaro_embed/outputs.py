"""What every command asks of its output before it works: nothing is there, and its folder is."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import OutputFolderError, StoreExistsError

__all__ = ["check_output"]


def check_output(path: str | os.PathLike[str], *, remedy: str = "") -> None:
    """Refuse an output that would overwrite something, or whose folder does not exist.

    Parameters
    ----------
    path : path of a file or folder to be
    remedy : str
        The flag that replaces what is there, for commands that have one.

    Raises
    ------
    StoreExistsError, OutputFolderError
    """
    path = Path(path)
    if os.path.lexists(path):
        ways = (
            f"Choose another path, or replace it with {remedy}."
            if remedy
            else ("Choose another path, or remove it.")
        )
        raise StoreExistsError(f"'{path}' exists. {ways}", path=str(path))
    if not path.absolute().parent.is_dir():
        raise OutputFolderError(
            f"The folder '{path.parent}' does not exist. Create it, or choose another path.",
            path=str(path),
        )
