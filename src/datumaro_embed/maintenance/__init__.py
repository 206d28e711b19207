"""Work on stores as a whole: join them, and save what can be saved of a damaged one."""

from __future__ import annotations

from .compact import CompactSummary, compact_store
from .merge import MergeSummary, merge_stores, refuse_unlike
from .repair import RepairSummary, repair_store

__all__ = [
    "CompactSummary",
    "MergeSummary",
    "RepairSummary",
    "compact_store",
    "merge_stores",
    "refuse_unlike",
    "repair_store",
]
