"""Public test kits: subclass one, and pytest checks a backend of yours as it checks ours.

Needs pytest: ``pip install "datumaro-embed[test]"``.
"""

from .encoder import EncoderContract, ImageEncoderContract
from .store import StoreContract

__all__ = ["EncoderContract", "ImageEncoderContract", "StoreContract"]
