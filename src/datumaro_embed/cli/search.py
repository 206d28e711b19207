"""`datumaro-embed search`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..flags import add_partial_argument, add_search_arguments, add_stale_argument
from .opening import opened_store
from .output import say, tell

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "search",
        help="find items by text, image or example",
        description="Print the items nearest to a query, best first. Of several queries the mean "
        "is searched for. Texts are embedded as typed, with the model that made the store.",
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("queries", nargs="*", metavar="QUERY", help="a text")
    add_search_arguments(parser)
    _add_output_flags(parser)
    add_stale_argument(parser)
    _allow_intermixed(parser)
    add_partial_argument(parser)
    parser.set_defaults(command=_search)


def _add_output_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--json", action="store_true", dest="as_json", help="print one JSON object")
    add("--save-to", type=Path, metavar="DIR", help="copy the images found into a new folder")
    add("--media-root", type=Path, metavar="DIR", help="where the images lie, if they have moved")


def _allow_intermixed(parser: argparse.ArgumentParser) -> None:
    """Let queries stand before, between and after flags, as `search STORE -k 5 "a cat"`."""
    plain = parser.parse_known_args

    def parse(*arguments: Any, **named: Any) -> Any:
        parser.parse_known_args = plain  # type: ignore[method-assign]
        try:
            return parser.parse_known_intermixed_args(*arguments, **named)
        finally:
            parser.parse_known_args = parse  # type: ignore[method-assign]

    parser.parse_known_args = parse  # type: ignore[method-assign]


def _search(
    store: Path,
    queries: list[str],
    as_json: bool,
    save_to: Path | None,
    media_root: Path | None,
    partial: bool,
    skip_stale: bool,
    **flags: Any,
) -> int:
    from ..listing import hits_json, hits_lines
    from ..retrieval import (
        MediaFiles,
        check_folder,
        media_root_of,
        run_search,
        save_hits,
        search_request,
    )

    plus, options = search_request(queries, **flags)
    with opened_store(store, partial=partial) as opened:
        if save_to is None:
            result = run_search(opened, plus, options)
            say(hits_json(result).splitlines() if as_json else hits_lines(result))
            return 0
        check_folder(save_to)
        root = media_root_of(opened, media_root)
        files = MediaFiles(opened, root)
        files.check_queries(options.items(plus))
        keep = files.is_fresh_hit if skip_stale else None
        result = run_search(opened, plus, options, keep=keep)
        files.check_any(result.hits)
        say(hits_json(result).splitlines() if as_json else hits_lines(result))
        changed = save_hits(opened, result.hits, save_to, media_root=root, skip_stale=skip_stale)
    for problem in (*files.lines(), *changed):
        tell(f"not copied: {problem}")
    return 0
