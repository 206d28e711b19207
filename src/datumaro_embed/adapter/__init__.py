"""Datumaro items, categories and annotations → records (with plugins/ the only user of datumaro).

importing.py    PATH[:FORMAT] → SourceDataset, with what Datumaro dropped counted
detecting.py    which format a folder has, stores of ours in it or not; or what it lacks
dataset.py      a Datumaro dataset → SourceDataset: sorted, split, path-checked
items.py        its items, as they are or packed
media.py        a Datumaro medium → encoder input; loading images and masks in any thread
annotations.py  Datumaro annotations and categories → records and notes
fence.py        the dataset's folder as a limit: what may be opened, where a walk may go
disk.py         image files on disk against those that items use
same_stem.py    a.jpg beside a.png: an id for each
yolo*.py        YOLO: its description, its images, the lines of its label files
coco*.py        COCO: which files, one file, its images, its categories and annotations
voc.py          Pascal VOC: the image of each item, and what is wrong with masks
image_folders.py  ImageNet's layout, whatever else lies in it; images without labels
"""

from .dataset import SourceDataset, SourceItem, format_of, split_of
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
    "split_of",
    "unused_images",
]
