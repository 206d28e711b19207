"""CLIP embeddings of Datumaro datasets, in HDF5.

``embed_dataset`` writes a store, ``open_store`` reads one, ``ClipEncoder.load`` gives the model
itself. Importing this package registers its plugins with Datumaro and loads none of OpenVINO, h5py
and Datumaro; the names below do so on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import datumaro_embed_bridge

from .records import AnnotationRecord, Categories, ItemKey, ItemRecord, Split, Status

if TYPE_CHECKING:
    from .encoders import ClipEncoder, Encoder
    from .pipeline import embed_dataset
    from .progress import EmbedSummary
    from .store import EmbeddingStore, open_store

__version__ = "0.1.0.dev0"

__all__ = [
    "AnnotationRecord",
    "Categories",
    "ClipEncoder",
    "EmbedSummary",
    "EmbeddingStore",
    "Encoder",
    "ItemKey",
    "ItemRecord",
    "Split",
    "Status",
    "embed_dataset",
    "open_store",
]

_LAZY = {
    "ClipEncoder": "encoders",
    "EmbedSummary": "progress",
    "EmbeddingStore": "store",
    "Encoder": "encoders",
    "embed_dataset": "pipeline",
    "open_store": "store",
}

datumaro_embed_bridge.install()


def __getattr__(name: str) -> Any:
    """Import the room of a public name when it is first asked for (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_LAZY[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
