"""Functions that all commands share, to print and to open a store.

They escape names from a dataset, and read an unfinished store only with ``--partial``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ..escaping import printable
from ..tally import progress

if TYPE_CHECKING:
    from ..store import EmbeddingStore


def say(lines: Iterable[object], file: TextIO | None = None) -> int:
    """Print each line with control characters escaped; return exit status 0."""
    for line in lines:
        print(printable(str(line)), file=file)
    return 0


def tell(line: str) -> None:
    """Print one line to standard error, separate from output that a program reads."""
    say([line], sys.stderr)


@contextmanager
def opened_store(path: Path, *, partial: bool) -> Iterator[EmbeddingStore]:
    """Open a store for one command; with `partial`, print to stderr how many rows it has."""
    from ..store import open_store

    with open_store(path, partial=partial) as store:
        if not store.complete:
            tell(f"{path} is unfinished: {progress(store.n_rows, store.n_expected)} read.")
        yield store
