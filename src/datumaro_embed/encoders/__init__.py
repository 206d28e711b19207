"""Encoders: images and texts → unit vectors of one space."""

from .base import Encoder, ImageInput
from .clip import BATCH_SIZE, ClipEncoder
from .fake import FakeEncoder

__all__ = ["BATCH_SIZE", "ClipEncoder", "Encoder", "FakeEncoder", "ImageInput"]
