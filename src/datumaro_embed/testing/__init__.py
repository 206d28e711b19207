"""Public test kits: subclass one, and pytest checks a backend of yours as it checks ours.

The kits need pytest: ``pip install "datumaro-embed[test]"``. `MemoryStores` does not.
"""

from typing import TYPE_CHECKING

from ..lazy import lazy_names
from .memory import MemoryStores

if TYPE_CHECKING:
    from .encoder import EncoderContract, ImageEncoderContract
    from .store import StoreContract

__all__ = ["EncoderContract", "ImageEncoderContract", "MemoryStores", "StoreContract"]

__getattr__ = lazy_names(
    __name__,
    {"EncoderContract": "encoder", "ImageEncoderContract": "encoder", "StoreContract": "store"},
)
