"""Near-duplicates and leakage: finding the pairs, grouping them, deciding what becomes of them."""

from .cleaning import ACTIONS, Change, check_action, plan_changes, plan_summary
from .find import DuplicateReport, check_finding, check_threshold, find_duplicates

__all__ = [
    "ACTIONS",
    "Change",
    "DuplicateReport",
    "check_action",
    "check_finding",
    "check_threshold",
    "find_duplicates",
    "plan_changes",
    "plan_summary",
]
