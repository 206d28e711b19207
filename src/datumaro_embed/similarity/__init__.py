"""Nearest rows and near-equal pairs of rows, by cosine: arrays in, arrays out.

cosine.py    cosine in float64: what decides order, ties and thresholds
exact.py     the k nearest rows of a query, equal to brute force in float64
codes.py     rows rounded to int8, and how far a cosine can be above that of rounded rows
pairs.py     all pairs of rows at or above a similarity, equal to brute force in float64
cells.py     nearly all such pairs of a big store
row_graph.py a HNSW index file: nearest rows of a big store, approximately
"""

from .cells import likely_pairs
from .cosine import paired_cosines
from .exact import nearest_rows, unit_queries
from .pairs import PairBlock, collapse_equal, similar_pairs
from .row_graph import RowGraph, build_graph, graph_path, open_graph, write_graph

__all__ = [
    "PairBlock",
    "RowGraph",
    "build_graph",
    "collapse_equal",
    "graph_path",
    "likely_pairs",
    "nearest_rows",
    "open_graph",
    "paired_cosines",
    "similar_pairs",
    "unit_queries",
    "write_graph",
]
