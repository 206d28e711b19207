"""What every command shares: how it prints, and how it opens a store.

Names from a dataset reach no terminal unescaped; an unfinished store is read only on purpose.
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
    """Print each line, its control characters escaped; return the exit status of success."""
    for line in lines:
        print(printable(str(line)), file=file)
    return 0


def tell(line: str) -> None:
    """Print one line on standard error, beside what a program reads."""
    say([line], sys.stderr)


@contextmanager
def opened_store(path: Path, *, partial: bool) -> Iterator[EmbeddingStore]:
    """Open a store for one command; with `partial`, say on stderr how much of it there is."""
    from ..store import open_store

    with open_store(path, partial=partial) as store:
        if not store.complete:
            tell(f"{path} is unfinished: {progress(store.n_rows, store.n_expected)} read.")
        yield store
