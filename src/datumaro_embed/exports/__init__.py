"""A store → files that other tools read; each appears whole or not at all, and overwrites nothing.

vector_files.py  Parquet, CSV, NumPy, FAISS (extra `faiss`)
coco_json.py     COCO JSON of the normalised annotations
"""

from .convert import FORMATS, ConvertSummary, convert_store

__all__ = ["FORMATS", "ConvertSummary", "convert_store"]
