"""What an analysis found, one row each; a person fills in ``action``, and one function acts."""

from .apply import ApplySummary, apply_findings, apply_to_path, changed, refuse_lost
from .finding import Finding
from .plan import Plan, fresh_items, plan_changes
from .table import Findings

__all__ = [
    "ApplySummary",
    "Finding",
    "Findings",
    "Plan",
    "apply_findings",
    "apply_to_path",
    "changed",
    "fresh_items",
    "plan_changes",
    "refuse_lost",
]
