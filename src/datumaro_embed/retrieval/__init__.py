"""Search: filters; queries by text, image and row; the index; copies of the images found."""

from .background import Relevance
from .filters import Filters, matching_rows, table_to_search
from .indexing import build_index
from .query import QueryEmbedder, compose, model_of
from .saving import check_folder, media_file, media_root_of, save_hits, search_files, stale_query
from .searching import (
    Hits,
    SearchOptions,
    SearchResult,
    run_search,
    search,
    search_request,
    search_vectors,
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
