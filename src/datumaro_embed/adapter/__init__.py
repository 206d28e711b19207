"""Convert Datumaro's items, categories and annotations to records; only plugins/ also uses it."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names
from .annotations import with_labels
from .dataset import SourceDataset, SourceItem, format_of
from .fence import LINKED_FOLDERS, LINKED_OUT
from .image_folders import BY_FOLDER, id_in_folder
from .importing import ImportedDataset, import_dataset, split_pathspec
from .media import EncoderInput, encoder_input

if TYPE_CHECKING:
    from .copying import with_copied_image
    from .disk import unused_images
    from .samples import changed_samples
    from .writing import as_dataset, check_format, with_label, write_dataset
    from .yolo import refuse_stand_ins

__all__ = [
    "BY_FOLDER",
    "LINKED_FOLDERS",
    "LINKED_OUT",
    "EncoderInput",
    "ImportedDataset",
    "SourceDataset",
    "SourceItem",
    "as_dataset",
    "changed_samples",
    "check_format",
    "encoder_input",
    "format_of",
    "id_in_folder",
    "import_dataset",
    "refuse_stand_ins",
    "split_pathspec",
    "unused_images",
    "with_copied_image",
    "with_label",
    "with_labels",
    "write_dataset",
]

__getattr__ = lazy_names(
    __name__,
    {
        "as_dataset": "writing",
        "changed_samples": "samples",
        "check_format": "writing",
        "refuse_stand_ins": "yolo",
        "unused_images": "disk",
        "with_copied_image": "copying",
        "with_label": "writing",
        "write_dataset": "writing",
    },
)
