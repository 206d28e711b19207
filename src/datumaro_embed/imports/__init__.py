"""Someone's own vectors, or an export of ours → a store with provenance ``imported``.

sources.py  npy, parquet and folders of both → vectors and a table of items
rows.py     a table of items → records
write.py    `import_vectors`
"""

from .write import ImportSummary, import_vectors

__all__ = ["ImportSummary", "import_vectors"]
