"""Which class loads which model: one line for each family of model directories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..models import load_manifest, resolve_model
from .clip import ClipEncoder
from .images import OpenVinoImageEncoder

FAMILIES: dict[str, type[OpenVinoImageEncoder]] = {
    "clip": ClipEncoder,
    "siglip": ClipEncoder,
    "open_clip": ClipEncoder,
    "image": OpenVinoImageEncoder,
}
"""Family in model.json → its encoder; a model without a text encoder is loaded for images alone."""


def load_encoder(name_or_dir: str | Path, **options: Any) -> OpenVinoImageEncoder:
    """Load a model directory with the class of its family.

    Parameters
    ----------
    name_or_dir : str or Path
        A directory, or a name (see `models.resolve_model`).
    **options
        As for `OpenVinoImageEncoder.load`.

    Returns
    -------
    OpenVinoImageEncoder
        A `TextEncoder` too where the model has a text encoder.

    Raises
    ------
    ModelNotFoundError, ModelInvalidError, DeviceNotFoundError, UsageError, InferenceError
    """
    manifest = load_manifest(resolve_model(name_or_dir), verify_hashes=False)
    family = FAMILIES[manifest.family] if manifest.text is not None else OpenVinoImageEncoder
    return family.load(name_or_dir, **options)
