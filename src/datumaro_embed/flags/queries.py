"""The flags of search and duplicates that the command line and the Datumaro transforms share."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = [
    "DEFAULT_K",
    "DEFAULT_KEEP_SPLIT",
    "DEFAULT_THRESHOLD",
    "add_duplicate_arguments",
    "add_search_arguments",
    "add_stale_argument",
]

DEFAULT_K = 20
DEFAULT_THRESHOLD = 0.95
DEFAULT_KEEP_SPLIT = "train"


def add_search_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a search; `request.search_request` reads them."""
    add = parser.add_argument
    repeat: dict[str, Any] = {"action": "append", "default": []}
    add("--image", **repeat, metavar="FILE", help="search for what an image file shows")
    add("--item", **repeat, metavar="SUBSET/ID", help="search for what an item of the store shows")
    add("--not", **repeat, dest="minus", metavar="TEXT", help="subtract a text from the query")
    add("--not-image", **repeat, metavar="FILE", help="subtract an image file")
    add("--not-item", **repeat, metavar="SUBSET/ID", help="subtract an item of the store")
    add(
        "-k",
        type=int,
        default=DEFAULT_K,
        metavar="N",
        help="maximum number of hits (default: %(default)s)",
    )
    add("--subset", **repeat, metavar="NAME", help="only items of this subset")
    add("--split", **repeat, metavar="NAME", help="only items of train, val, test or other")
    add("--label", **repeat, metavar="NAME", help="only items with an annotation of this label")
    add("--model", metavar="MODEL", help="model directory or name (default: the store's own)")
    add("--exact", action="store_true", help="compare every row, even where there is an index")


def add_stale_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--skip-stale``."""
    parser.add_argument(
        "--skip-stale",
        action="store_true",
        help="leave alone items that the store does not know or whose image has changed since; "
        "without it they are an error and nothing is written",
    )


def add_duplicate_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of duplicates; their destinations are arguments of `find_duplicates`."""
    parser.add_argument(
        "--threshold",
        type=float,
        default=DEFAULT_THRESHOLD,
        metavar="COSINE",
        help="least similarity of a pair, above 0 and at most 1 (default: %(default)s)",
    )
    parser.add_argument(
        "--across-splits", action="store_true", help="only pairs across train, val and test"
    )
    parser.add_argument(
        "--all-pairs",
        action="store_const",
        const=True,
        help="compare every pair (the default up to 200,000 items)",
    )
    parser.add_argument(
        "--keep-split",
        default=DEFAULT_KEEP_SPLIT,
        choices=("train", "val", "test"),
        help="which copy stays where a group is in several splits (default: %(default)s)",
    )
