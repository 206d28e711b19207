"""`datumaro-embed report`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..flags import DEFAULT_THRESHOLD, add_partial_argument
from .opening import opened_store
from .output import say

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "report",
        help="one offline HTML page about a store",
        description="Write one HTML file that needs no network: what the dataset is, a map of the "
        "embeddings, duplicates and leaks, failures. Needs the `report` extra.",
    )
    parser.add_argument("store", type=Path, help="a store, file or folder")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE.html", help="must not exist"
    )
    parser.add_argument(
        "--media-root",
        type=Path,
        metavar="DIR",
        help="where the images lie (default: where they lay when they were embedded)",
    )
    parser.add_argument(
        "--umap", action="store_true", help="add a UMAP to the PCA map; some seconds to minutes"
    )
    parser.add_argument(
        "--threshold",
        type=float,
        default=DEFAULT_THRESHOLD,
        metavar="COSINE",
        help="similarity from which two items are near-duplicates (default: %(default)g)",
    )
    parser.add_argument(
        "--max-mb",
        type=float,
        default=25.0,
        metavar="N",
        help="maximum size of the file in megabytes; pictures that would exceed it are left out "
        "(default: %(default)g)",
    )
    parser.add_argument("--title", help="heading of the page (default: the store's name)")
    add_partial_argument(parser)
    parser.set_defaults(command=_report)


def _report(store: Path, output: Path, partial: bool, **options: Any) -> int:
    from ..report import ReportOptions, write_report

    with opened_store(store, partial=partial) as opened:
        say(write_report(opened, output, ReportOptions(**options)).lines())
    return 0
