"""Encoders: images and texts → unit vectors of one space."""

from .base import Encoder, ImageInput
from .clip import BATCH_SIZE, ClipEncoder
from .fake import FakeEncoder
from .preprocess import resizing_library

__all__ = ["BATCH_SIZE", "ClipEncoder", "Encoder", "FakeEncoder", "ImageInput", "resizing_library"]
