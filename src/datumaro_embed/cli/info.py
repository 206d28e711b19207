"""`datumaro-embed info`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import StoreUnfinishedError
from .opening import opened_store
from .output import say

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "info",
        help="what is in a store",
        description="Print model, dimensions and counts by subset, status and label. Exits 3 where "
        "the store is unfinished.",
    )
    parser.add_argument("store", type=Path)
    parser.add_argument(
        "--items", type=int, default=0, metavar="N", help="also print the first N items and vectors"
    )
    parser.add_argument(
        "--failed", action="store_true", help="also print every item that failed, and why"
    )
    parser.set_defaults(command=_info)


def _info(store: Path, items: int, failed: bool) -> int:
    from ..info import describe, describe_failures, describe_items

    with opened_store(store, partial=True) as opened:
        say(describe(opened))
        say(describe_items(opened, items))
        if failed:
            say(describe_failures(opened))
        return 0 if opened.complete else StoreUnfinishedError.exit_status
