"""Make a model directory: of a published one, or of a torch checkpoint, which alone needs torch."""

from .export import export_model
from .own import import_model
from .pull import pull_model

__all__ = ["export_model", "import_model", "pull_model"]
