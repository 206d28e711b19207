"""A model directory: its manifest, how a name finds it, how one is made."""

from .catalogue import CATALOGUE, CatalogueEntry
from .core import openvino_core
from .manifest import ImageSpec, ModelManifest, TextSpec, load_manifest, sha256_file
from .pull import pull_model
from .resolve import available_models, resolve_model, user_cache_dir

__all__ = [
    "CATALOGUE",
    "CatalogueEntry",
    "ImageSpec",
    "ModelManifest",
    "TextSpec",
    "available_models",
    "load_manifest",
    "openvino_core",
    "pull_model",
    "resolve_model",
    "sha256_file",
    "user_cache_dir",
]
