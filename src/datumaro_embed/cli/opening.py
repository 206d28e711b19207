"""How every command that reads opens its store: an unfinished one only on purpose, and said so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..tally import progress
from .output import tell

if TYPE_CHECKING:
    from ..store import EmbeddingStore

__all__ = ["opened_store"]


@contextmanager
def opened_store(path: Path, *, partial: bool) -> Iterator[EmbeddingStore]:
    """Open a store for one command; with `partial`, say on stderr how much of it there is."""
    from ..store import open_store

    with open_store(path, partial=partial) as store:
        if not store.complete:
            tell(f"{path} is unfinished: {progress(store.n_rows, store.n_expected)} read.")
        yield store
