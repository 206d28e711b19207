"""Search the store of 1_embed.py by text, by image and by example item.

python examples/2_search.py [--folder DIR]
"""

from __future__ import annotations

from common import SAMPLE, folder

from datumaro_embed import ItemKey, open_store, search

with open_store(folder() / "embeddings.h5") as store:
    for hit in search(store, "a butterfly", k=3):
        print(f"text     {hit.similarity:.3f}  {hit.key}  {', '.join(hit.labels)}")

    for hit in search(store, SAMPLE / "coco" / "images" / "train" / "photo_01.jpg", k=3):
        print(f"picture  {hit.similarity:.3f}  {hit.key}  {', '.join(hit.labels)}")

    for hit in search(store, ItemKey("train", "scene_012"), k=3, splits=["val"]):
        print(f"example  {hit.similarity:.3f}  {hit.key}  {', '.join(hit.labels)}")
