"""A store → files that other tools read; each appears whole or not at all, and overwrites nothing.

place.py    where an export appears: built beside it, then renamed
parquet.py  one file, embedding as a fixed-size list
arrays.py   npy + parquet metadata, as embedding-reader and clip-retrieval read them
flat.py     CSV
coco.py     COCO JSON of the normalised annotations
index.py    FAISS (extra `faiss`)
"""

from .convert import FORMATS, ConvertSummary, convert_store

__all__ = ["FORMATS", "ConvertSummary", "convert_store"]
