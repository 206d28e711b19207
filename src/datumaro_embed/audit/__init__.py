"""What is wrong with a dataset, as findings: arrays of a store in, rows out."""

from .boxes import failures, odd_boxes
from .copies import Copies, find_copies
from .run import audit, audit_lines

__all__ = ["Copies", "audit", "audit_lines", "failures", "find_copies", "odd_boxes"]
