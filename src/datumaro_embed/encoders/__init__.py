"""Encoders: they embed images and texts as unit vectors in one space."""

from .base import Encoder, ImageEncoder, ImageInput, Session, TextEncoder, texts_of
from .clip import FAMILIES, ClipEncoder, load_encoder
from .fake import FakeEncoder
from .images import BATCH_SIZE, OpenVinoImageEncoder
from .preprocess import resizing_library

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
