"""Nearest rows and near-equal pairs of rows, by cosine: arrays in, arrays out.

cosine.py  cosine in float64: what decides order, ties and thresholds
exact.py   the k nearest rows of a query, equal to brute force in float64
pairs.py   all pairs of rows at or above a similarity, equal to brute force in float64
graph.py   a HNSW index file: nearest rows and pairs of big stores, approximately
"""

from .cosine import paired_cosines
from .exact import nearest_rows, unit_queries
from .graph import RowGraph, build_graph, graph_path, open_graph, write_graph
from .pairs import PairBlock, collapse_equal, similar_pairs

__all__ = [
    "PairBlock",
    "RowGraph",
    "build_graph",
    "collapse_equal",
    "graph_path",
    "nearest_rows",
    "open_graph",
    "paired_cosines",
    "similar_pairs",
    "unit_queries",
    "write_graph",
]
