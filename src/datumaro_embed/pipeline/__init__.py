"""Dataset → vectors → store: reading, batching, order, failures, resume, re-use, progress."""

from .embed import check_place, embed_dataset, embed_source
from .options import EmbedOptions
from .progress import EmbedSummary, TableSummary
from .reading import read_item, read_item_info

__all__ = [
    "EmbedOptions",
    "EmbedSummary",
    "TableSummary",
    "check_place",
    "embed_dataset",
    "embed_source",
    "read_item",
    "read_item_info",
]
