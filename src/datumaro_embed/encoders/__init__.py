"""Encoders: they embed images and texts as unit vectors in one space.

Classes that run models import OpenVINO, which takes a quarter of a second, so they are imported at
their first use; so is the encoder that needs no model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names
from .base import Encoder, ImageEncoder, ImageInput, Session, TextEncoder, texts_of
from .preprocess import resizing_library

if TYPE_CHECKING:
    from .clip import FAMILIES, ClipEncoder, load_encoder
    from .fake import FakeEncoder
    from .images import BATCH_SIZE, OpenVinoImageEncoder

__all__ = [
    "BATCH_SIZE",
    "FAMILIES",
    "ClipEncoder",
    "Encoder",
    "FakeEncoder",
    "ImageEncoder",
    "ImageInput",
    "OpenVinoImageEncoder",
    "Session",
    "TextEncoder",
    "load_encoder",
    "resizing_library",
    "texts_of",
]

__getattr__ = lazy_names(
    __name__,
    {
        "BATCH_SIZE": "images",
        "FAMILIES": "clip",
        "ClipEncoder": "clip",
        "FakeEncoder": "fake",
        "OpenVinoImageEncoder": "images",
        "load_encoder": "clip",
    },
)
