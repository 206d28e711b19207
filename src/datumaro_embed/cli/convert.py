"""`datumaro-embed convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..flags import add_partial_argument
from .opening import opened_store
from .output import say

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "convert",
        help="write a store as parquet, npy, csv, faiss or coco",
        description="Write a store in a format that other tools read. Nothing is overwritten.",
    )
    parser.add_argument("store", type=Path, help="a store, file or folder")
    parser.add_argument(
        "--to",
        required=True,
        choices=("parquet", "npy", "csv", "faiss", "coco"),
        help="parquet, csv and coco write a file; npy and faiss (extra `faiss`) a directory",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT", help="must not exist"
    )
    parser.add_argument(
        "--embedded-only", action="store_true", help="leave out items without a vector"
    )
    parser.add_argument(
        "--vectors", action="store_true", help="csv: one column for each dimension too"
    )
    add_partial_argument(parser)
    parser.set_defaults(command=_convert)


def _convert(store: Path, to: str, output: Path, partial: bool, **options: bool) -> int:
    from ..exports import convert_store

    with opened_store(store, partial=partial) as opened:
        say(convert_store(opened, output, to=to, **options).lines())
    return 0
