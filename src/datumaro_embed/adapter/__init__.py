"""Datumaro items, categories and annotations → records; beside plugins/, all that uses Datumaro."""

from .dataset import SourceDataset, SourceItem, format_of
from .disk import unused_images
from .importing import ImportedDataset, import_dataset
from .media import EncoderInput, encoder_input
from .yolo import refuse_stand_ins

__all__ = [
    "EncoderInput",
    "ImportedDataset",
    "SourceDataset",
    "SourceItem",
    "encoder_input",
    "format_of",
    "import_dataset",
    "refuse_stand_ins",
    "unused_images",
]
