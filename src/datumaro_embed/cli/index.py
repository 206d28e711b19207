"""`datumaro-embed index`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .output import say

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "index",
        help="make searches of a big store faster",
        description="Write an approximate index (HNSW) beside the store, as STORE.usearch. "
        "`search` asks it where there is one, for questions without filters and at most 1,000 "
        "hits; worth it from some hundred thousand items.",
    )
    parser.add_argument("store", type=Path)
    parser.add_argument(
        "--rebuild", action="store_true", help="build it again, even where it is up to date"
    )
    parser.set_defaults(command=_index)


def _index(store: Path, rebuild: bool) -> int:
    from ..retrieval import build_index
    from ..store import open_store

    with open_store(store) as opened:
        say([build_index(opened, rebuild=rebuild, progress=True)])
    return 0
