"""Where every command prints: names from a dataset reach no terminal unescaped."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TextIO

from ..escaping import printable

__all__ = ["say", "tell"]


def say(lines: Iterable[object], file: TextIO | None = None) -> None:
    """Print each line, its control characters escaped; on standard output unless told."""
    for line in lines:
        print(printable(str(line)), file=file)


def tell(line: str) -> None:
    """Print one line on standard error, beside what a program reads."""
    say([line], sys.stderr)
