"""What is wrong with a dataset, as findings: arrays of a store in, rows out."""

from .boxes import failures, odd_boxes

__all__ = ["failures", "odd_boxes"]
