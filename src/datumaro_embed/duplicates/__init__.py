"""Near-duplicates and leakage: finding the pairs, grouping them, deciding what becomes of them."""

from .cleaning import ACTIONS, Change, check_action, plan_changes, plan_summary
from .find import (
    DuplicateReport,
    check_finding,
    check_threshold,
    find_duplicates,
    keep_order,
    kept_item,
)
from .grouping import equal_files

__all__ = [
    "ACTIONS",
    "Change",
    "DuplicateReport",
    "check_action",
    "check_finding",
    "check_threshold",
    "equal_files",
    "find_duplicates",
    "keep_order",
    "kept_item",
    "plan_changes",
    "plan_summary",
]
