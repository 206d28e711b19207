"""Find near-duplicates and leakage, as pairs and groups."""

from .find import (
    DuplicateReport,
    check_finding,
    check_threshold,
    find_duplicates,
    keep_order,
    kept_item,
)
from .grouping import Components, equal_files

__all__ = [
    "Components",
    "DuplicateReport",
    "check_finding",
    "check_threshold",
    "equal_files",
    "find_duplicates",
    "keep_order",
    "kept_item",
]
