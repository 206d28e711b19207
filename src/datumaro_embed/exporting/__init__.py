"""A model directory from a checkpoint of torch: the only room that imports torch."""

from .export import export_model

__all__ = ["export_model"]
