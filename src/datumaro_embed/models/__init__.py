"""Model directories: their manifest, finding one by name, and the catalogue of published models."""

from .catalogue import CATALOGUE, CatalogueEntry, entry_of
from .files import ModelFiles, read_bytes
from .graph import openvino_core
from .making import golden_pixels, golden_vector
from .manifest import (
    Calibration,
    ImageSpec,
    ModelManifest,
    TextSpec,
    load_manifest,
    save_calibration,
    sha256_file,
)
from .resolve import available_models, resolve_model, user_cache_dir
from .tokenizers import TextTokenizer

__all__ = [
    "CATALOGUE",
    "Calibration",
    "CatalogueEntry",
    "ImageSpec",
    "ModelFiles",
    "ModelManifest",
    "TextSpec",
    "TextTokenizer",
    "available_models",
    "entry_of",
    "golden_pixels",
    "golden_vector",
    "load_manifest",
    "openvino_core",
    "read_bytes",
    "resolve_model",
    "save_calibration",
    "sha256_file",
    "user_cache_dir",
]
