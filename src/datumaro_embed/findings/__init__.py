"""What an analysis found, one row each; a person fills in ``action``, and one function acts.

Modules that change a dataset import Datumaro, which takes a second, so they are imported at their
first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .actions import act, contradict, refuse_contradictions, spelled
from .columns import Finding
from .rows import finding, ranked
from .table import Findings

if TYPE_CHECKING:
    from .apply import (
        ApplySummary,
        apply_findings,
        apply_to_path,
        changed,
        refuse_lost,
        refuse_uneven,
    )
    from .plan import Plan, fresh_items, plan_changes

__all__ = [
    "ApplySummary",
    "Finding",
    "Findings",
    "Plan",
    "act",
    "apply_findings",
    "apply_to_path",
    "changed",
    "contradict",
    "finding",
    "fresh_items",
    "plan_changes",
    "ranked",
    "refuse_contradictions",
    "refuse_lost",
    "refuse_uneven",
    "spelled",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = "plan" if name in ("Plan", "fresh_items", "plan_changes") else "apply"
    return getattr(import_module(f".{room}", __name__), name)
