"""Near-duplicates and leakage: finding the pairs, and grouping them."""

from .find import DuplicateReport, check_finding, check_threshold, find_duplicates

__all__ = ["DuplicateReport", "check_finding", "check_threshold", "find_duplicates"]
