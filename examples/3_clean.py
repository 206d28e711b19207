"""Find near-duplicates and leaks in the store of 1_embed.py, drop them and export the rest.

python examples/3_clean.py [--folder DIR]
"""

from __future__ import annotations

from common import SAMPLE, folder
from datumaro import Dataset

from datumaro_embed import find_duplicates

store = folder() / "embeddings.h5"

found = find_duplicates(store)
print(f"{len(found.groups)} groups of near-duplicates, {len(found.leaks)} pairs across splits")
for pair in found.leaks[:5]:
    print(f"leak  {pair.similarity:.4f}  {pair.first}  {pair.second}")

dataset = Dataset.import_from(str(SAMPLE / "coco"), "coco")
before = len(dataset)
dataset.transform("clip_duplicates", store=store, action="drop")
dataset.export(str(folder() / "cleaned"), "coco", save_media=True)

again = Dataset.import_from(str(folder() / "cleaned"), "coco")
print(f"{before} items before, {len(again)} after")
