"""Flags that the transforms and the command line share; loads nothing heavy."""

from .embedding import DEFAULT_MODEL, add_embed_arguments
from .machines import add_machine_arguments
from .partial import add_partial_argument
from .queries import (
    DEFAULT_K,
    DEFAULT_KEEP_SPLIT,
    DEFAULT_THRESHOLD,
    add_duplicate_arguments,
    add_search_arguments,
    add_stale_argument,
)

__all__ = [
    "DEFAULT_K",
    "DEFAULT_KEEP_SPLIT",
    "DEFAULT_MODEL",
    "DEFAULT_THRESHOLD",
    "add_duplicate_arguments",
    "add_embed_arguments",
    "add_machine_arguments",
    "add_partial_argument",
    "add_search_arguments",
    "add_stale_argument",
]
