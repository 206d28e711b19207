"""`datumaro-embed compact`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..tally import counted
from .output import say

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "compact",
        help="put the small shards of a store directory together",
        description="Rewrite neighbouring small shards as larger ones; no row changes.",
    )
    parser.add_argument("store", type=Path)
    parser.set_defaults(command=_compact)


def _compact(store: Path) -> int:
    from ..store import compact_store, open_store

    with open_store(store):  # says what it is where it is no store
        pass
    done = compact_store(store)
    say([f"{counted(done.n_before, 'shards')} before, {done.n_after} now"])
    return 0
