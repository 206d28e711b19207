"""Find nearest rows and near-equal pairs of rows by cosine; works on arrays only."""

from .cells import likely_pairs
from .cosine import paired_cosines
from .exact import all_cosines, nearest_rows, unit_queries
from .neighbours import neighbours
from .pairs import (
    LEVELS,
    ROUNDING,
    PairBlock,
    collapse_equal,
    counts_at,
    equal_places,
    join_labels,
    similar_pairs,
)
from .row_graph import RowGraph, build_graph, graph_path, open_graph, write_graph

__all__ = [
    "LEVELS",
    "ROUNDING",
    "PairBlock",
    "RowGraph",
    "all_cosines",
    "build_graph",
    "collapse_equal",
    "counts_at",
    "equal_places",
    "graph_path",
    "join_labels",
    "likely_pairs",
    "nearest_rows",
    "neighbours",
    "open_graph",
    "paired_cosines",
    "similar_pairs",
    "unit_queries",
    "write_graph",
]
