"""Paths as a user gives them: an empty one, as of an unset shell variable, is refused."""

from __future__ import annotations

import os
from argparse import ArgumentTypeError
from pathlib import Path

from .errors import UsageError

__all__ = ["path_given", "refuse_empty", "text_given"]

_EMPTY = "The path is empty. Check the shell variables in it."


def refuse_empty(path: str | os.PathLike[str]) -> None:
    """Refuse an empty path, which `pathlib` takes for the current folder; raises `UsageError`."""
    if not os.fspath(path):
        raise UsageError(_EMPTY)


def text_given(text: str) -> str:
    """Return an argument of the command line that is, or begins with, a path."""
    if not text:
        raise ArgumentTypeError(_EMPTY)
    return text


def path_given(text: str) -> Path:
    """Return an argument of the command line that is a path."""
    return Path(text_given(text))
