"""What every command checks before it works: its output does not exist, and its folder does."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import OutputFolderError, StoreExistsError


def check_output(path: str | os.PathLike[str], *, remedy: str = "") -> None:
    """Refuse an output that would overwrite something, or whose folder does not exist.

    `remedy` is what replaces an existing output, for commands that can.
    Raises `StoreExistsError`, `OutputFolderError`.
    """
    path = Path(path)
    if os.path.lexists(path):
        way = f"set {remedy} to replace it" if remedy else "remove it"
        raise StoreExistsError(f"'{path}' exists. Choose another path, or {way}.", path=str(path))
    if not path.absolute().parent.is_dir():
        raise OutputFolderError(
            f"The folder '{path.parent}' does not exist. Create it, or choose another path.",
            path=str(path),
        )
