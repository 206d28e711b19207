"""`datumaro-embed info`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import StoreUnfinishedError
from .opening import opened_store

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
    parser.set_defaults(command=_info)


def _info(store: Path, items: int) -> int:
    from ..info import describe, describe_items

    with opened_store(store, partial=True) as opened:
        for line in (*describe(opened), *describe_items(opened, items)):
            print(line)
        return 0 if opened.complete else StoreUnfinishedError.exit_status
