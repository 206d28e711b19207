"""Make a model directory from a torch checkpoint; only this subpackage imports torch."""

from .export import export_model

__all__ = ["export_model"]
