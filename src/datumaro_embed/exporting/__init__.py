"""A model directory from a checkpoint of torch: the only room that imports torch."""

from .export import PRECISIONS, export_model

__all__ = ["PRECISIONS", "export_model"]
