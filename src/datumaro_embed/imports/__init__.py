"""Someone's own vectors, or an export of ours → a store with provenance ``imported``.

sources.py  npy, parquet and folders of both → vectors and a table of items
write.py    `import_vectors`: a table of items → records, which go into a store
"""

from .write import ImportSummary, import_vectors

__all__ = ["ImportSummary", "import_vectors"]
