"""Model directories: their manifest, finding one by name, and making one."""

from .files import ModelFiles, read_bytes
from .graph import openvino_core
from .making import golden_pixels, golden_vector
from .manifest import ImageSpec, ModelManifest, TextSpec, load_manifest, sha256_file
from .pull import pull_model
from .resolve import CATALOGUE, available_models, resolve_model, user_cache_dir
from .tokenizers import TextTokenizer

__all__ = [
    "CATALOGUE",
    "ImageSpec",
    "ModelFiles",
    "ModelManifest",
    "TextSpec",
    "TextTokenizer",
    "available_models",
    "golden_pixels",
    "golden_vector",
    "load_manifest",
    "openvino_core",
    "pull_model",
    "read_bytes",
    "resolve_model",
    "sha256_file",
    "user_cache_dir",
]
