"""CLIP embeddings of Datumaro datasets, in HDF5.

``embed_dataset`` writes a store, ``open_store`` reads one, ``ClipEncoder.load`` gives the model
itself. Importing this package registers its plugins with Datumaro but loads neither OpenVINO, h5py
nor Datumaro; the names below load them on first use.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import datumaro_embed_bridge

from .lazy import lazy_names
from .records import (
    AnnotationRecord,
    CaptionRecord,
    Categories,
    DuplicateGroup,
    DuplicatePair,
    Hit,
    ItemKey,
    ItemRecord,
    ObjectKey,
    ObjectRecord,
    ObjectStatus,
    Split,
    Status,
)

if TYPE_CHECKING:
    from .adapter.experimental import add_embeddings
    from .auditing import audit, label_findings
    from .auditing.compare import Comparison, compare
    from .auditing.selection import Selection, select
    from .duplicates import DuplicateReport, find_duplicates
    from .encoders import ClipEncoder, Encoder
    from .exports import convert_store
    from .findings import Finding, Findings, apply_findings
    from .imports import import_vectors
    from .page import Explorer, ReportOptions, explore, show, write_report
    from .pipeline import EmbedSummary, embed_dataset
    from .retrieval import build_index, search, search_vectors
    from .store import EmbeddingStore, open_store

__version__ = "0.1.0.dev0"

__all__ = [
    "AnnotationRecord",
    "CaptionRecord",
    "Categories",
    "ClipEncoder",
    "Comparison",
    "DuplicateGroup",
    "DuplicatePair",
    "DuplicateReport",
    "EmbedSummary",
    "EmbeddingStore",
    "Encoder",
    "Explorer",
    "Finding",
    "Findings",
    "Hit",
    "ItemKey",
    "ItemRecord",
    "ObjectKey",
    "ObjectRecord",
    "ObjectStatus",
    "ReportOptions",
    "Selection",
    "Split",
    "Status",
    "add_embeddings",
    "apply_findings",
    "audit",
    "build_index",
    "compare",
    "convert_store",
    "embed_dataset",
    "explore",
    "find_duplicates",
    "import_vectors",
    "label_findings",
    "open_store",
    "search",
    "search_vectors",
    "select",
    "show",
    "write_report",
]

__getattr__ = lazy_names(
    __name__,
    {
        "add_embeddings": "adapter.experimental",
        "ClipEncoder": "encoders",
        "DuplicateReport": "duplicates",
        "EmbedSummary": "pipeline",
        "EmbeddingStore": "store",
        "Encoder": "encoders",
        "Explorer": "page",
        "explore": "page",
        "Finding": "findings",
        "Findings": "findings",
        "ReportOptions": "page",
        "apply_findings": "findings",
        "audit": "auditing",
        "Comparison": "auditing.compare",
        "compare": "auditing.compare",
        "label_findings": "auditing",
        "Selection": "auditing.selection",
        "build_index": "retrieval",
        "convert_store": "exports",
        "embed_dataset": "pipeline",
        "find_duplicates": "duplicates",
        "import_vectors": "imports",
        "open_store": "store",
        "search": "retrieval",
        "search_vectors": "retrieval",
        "select": "auditing.selection",
        "show": "page",
        "write_report": "page",
    },
)

datumaro_embed_bridge.install()

# OpenVINO and NNCF report their import over the network, from a process that they fork in a
# thread, which is unsafe in a threaded program. They do neither if they cannot import this package.
# (An openvino_telemetry that is already imported stays.)
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def __dir__() -> list[str]:
    return sorted(__all__)
