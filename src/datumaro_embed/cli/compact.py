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
        help="join the small segments of a store directory",
        description="Rewrite neighbouring small segments as larger ones. No row changes.",
    )
    parser.add_argument("store", type=Path)
    parser.set_defaults(command=_compact)


def _compact(store: Path) -> int:
    from ..maintenance import compact_store
    from ..store import open_store

    with open_store(store):  # says what it is where it is no store
        pass
    done = compact_store(store)
    say([f"{counted(done.n_before, 'segments')} before, {done.n_after} now"])
    return 0
