"""A model directory: its manifest, how a name finds it, how one is made."""

from .export import export_model
from .manifest import ImageSpec, ModelManifest, TextSpec, load_manifest
from .resolve import DEFAULT_MODEL, available_models, resolve_model

__all__ = [
    "DEFAULT_MODEL",
    "ImageSpec",
    "ModelManifest",
    "TextSpec",
    "available_models",
    "export_model",
    "load_manifest",
    "resolve_model",
]
