"""`datumaro-embed duplicates`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..flags import add_duplicate_arguments, add_partial_argument
from .opening import opened_store
from .output import say

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "duplicates",
        help="find near-duplicates and leakage between splits",
        description="Print the groups of items that show the same, those across train, val and "
        "test first. `datum transform -t clip_duplicates` removes them.",
    )
    parser.add_argument("store", type=Path)
    add_duplicate_arguments(parser)
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", dest="as_json", help="print one JSON object")
    output.add_argument("--csv", type=Path, metavar="FILE", help="write one line for each pair")
    add_partial_argument(parser)
    parser.set_defaults(command=_duplicates)


def _duplicates(store: Path, as_json: bool, csv: Path | None, partial: bool, **flags: Any) -> int:
    from ..duplicates import find_duplicates
    from ..listing import duplicates_json, duplicates_lines, write_pairs_csv

    with opened_store(store, partial=partial) as opened:
        report = find_duplicates(opened, progress=True, **flags)
    if csv is not None:  # first: who reads the print may stop (`| head`)
        write_pairs_csv(report, csv)
    say(duplicates_json(report).splitlines() if as_json else duplicates_lines(report))
    return 0
