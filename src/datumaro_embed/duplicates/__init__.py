"""Find near-duplicates and leakage, as pairs and groups."""

from .find import (
    DuplicateReport,
    by_preference,
    check_finding,
    check_threshold,
    find_duplicates,
    keep_order,
)
from .grouping import Components, equal_files

__all__ = [
    "Components",
    "DuplicateReport",
    "by_preference",
    "check_finding",
    "check_threshold",
    "equal_files",
    "find_duplicates",
    "keep_order",
]
