"""Search: filters; queries by text, image and row; the index; copies of the images found."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names
from .filters import Filters, matching_rows, table_to_search
from .query import QueryEmbedder, compose, model_of
from .searching import (
    Hits,
    SearchOptions,
    SearchResult,
    run_search,
    search,
    search_request,
    search_vectors,
)

if TYPE_CHECKING:
    from .background import Relevance
    from .indexing import build_index
    from .saving import (
        check_folder,
        media_file,
        media_root_of,
        save_hits,
        search_files,
        stale_query,
    )

__all__ = [
    "Filters",
    "Hits",
    "QueryEmbedder",
    "Relevance",
    "SearchOptions",
    "SearchResult",
    "build_index",
    "check_folder",
    "compose",
    "matching_rows",
    "media_file",
    "media_root_of",
    "model_of",
    "run_search",
    "save_hits",
    "search",
    "search_files",
    "search_request",
    "search_vectors",
    "stale_query",
    "table_to_search",
]

__getattr__ = lazy_names(
    __name__,
    {
        "Relevance": "background",
        "build_index": "indexing",
        "check_folder": "saving",
        "media_file": "saving",
        "media_root_of": "saving",
        "save_hits": "saving",
        "search_files": "saving",
        "stale_query": "saving",
    },
)
