"""Export the store of 1_embed.py to Parquet, NumPy and a report, and import it again.

python examples/4_export.py [--folder DIR]
"""

from __future__ import annotations

import shutil

from common import folder

from datumaro_embed import convert_store, import_vectors, open_store, write_report

out = folder() / "exports"
shutil.rmtree(out, ignore_errors=True)  # exports do not overwrite files
out.mkdir()  # or create parent folders

with open_store(folder() / "embeddings.h5") as store:
    print("\n".join(convert_store(store, out / "items.parquet", to="parquet").lines()))
    print("\n".join(convert_store(store, out / "clip_retrieval", to="npy").lines()))
    print("\n".join(write_report(store, out / "report.html").lines()))

    frame = store.to_pandas()
    print(frame.groupby("subset")["labels"].agg(lambda lists: len(set().union(*lists))))

import_vectors(out / "items.parquet", out / "again.h5")
with open_store(out / "again.h5") as again:
    print(f"imported again: {len(again)} items, {again.provenance['source']}")
