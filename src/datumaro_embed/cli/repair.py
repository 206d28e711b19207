"""`datumaro-embed repair`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..flags import add_partial_argument
from .output import say

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "repair",
        help="save what verifies of a damaged store",
        description="Write a new store of every row whose checksum is right, and mark the others "
        "for `embed` to make again. The damaged store is not touched.",
    )
    parser.add_argument("store", type=Path)
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE.h5|FOLDER/", help="must not exist"
    )
    add_partial_argument(parser)
    parser.set_defaults(command=_repair)


def _repair(store: Path, output: str, partial: bool) -> int:
    from ..maintenance import repair_store

    say(repair_store(store, output, partial=partial).lines())
    return 0
