"""`datumaro-embed merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .output import say

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "merge",
        help="join stores of the same model",
        description="Join stores of the same model into a new one; items keep their order by key.",
    )
    parser.add_argument(
        "stores",
        type=Path,
        nargs="+",
        metavar="STORE",
        help="a store, or a folder STORE.parts that runs with --shard filled",
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FILE.h5|FOLDER/",
        help="the store to write; must not exist, unless --replace is given",
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="replace a store at the output, once all rows are written",
    )
    parser.add_argument(
        "--on-duplicate",
        choices=("error", "first", "last"),
        default="error",
        help="which store wins where several have the same item (default: %(default)s)",
    )
    parser.set_defaults(command=_merge)


def _merge(stores: list[Path], output: str, on_duplicate: str, replace: bool) -> int:
    from ..maintenance import merge_stores

    summary = merge_stores(stores, output, on_duplicate=on_duplicate, replace=replace)
    say(summary.lines())
    return 0
