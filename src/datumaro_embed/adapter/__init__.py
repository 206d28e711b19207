"""Datumaro items, categories and annotations → records (with plugins/ the only user of datumaro).

importing.py    PATH[:FORMAT] → SourceDataset, with what Datumaro dropped counted
dataset.py      a Datumaro dataset → SourceDataset: sorted, split, path-checked
items.py        its items, as they are or packed
disk.py         image files on disk against those that items use
fence.py        the dataset's folder as a limit: what may be opened, where a walk may go
yolo*.py        YOLO: its description, its images, the lines of its label files
coco*.py         COCO: which files, one file, its categories, its images and annotations
same_stem.py    a.jpg beside a.png: an id for each
voc_images.py   Pascal VOC: the image of each item
media.py        a Datumaro medium → encoder input: path, bytes or pixels, and a region of interest
annotations.py  Datumaro annotations and categories → records
noticing.py     the reasons that are counted for annotations that are wrong, or cannot be read
loading.py      what Datumaro needs to load images and masks in any thread
detecting.py    which format a folder has, stores of ours in it or not
unrecognised.py what a folder lacks to have one
image_folders.py  ImageNet's layout, whatever else lies in it
voc_masks.py    Pascal VOC: what is wrong with annotations costs them alone
jsonable.py     any attribute value → JSON, losslessly
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
