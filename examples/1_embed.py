"""Embed a Datumaro dataset and match the vectors to its items.

python examples/1_embed.py [--folder DIR]
"""

from __future__ import annotations

from common import SAMPLE, folder
from datumaro import Dataset

from datumaro_embed import embed_dataset

dataset = Dataset.import_from(str(SAMPLE / "coco"), "coco")

with embed_dataset(dataset, folder() / "embeddings.h5", model="demo", restart=True) as store:
    print(f"{len(store)} items, {store.dim} dimensions, {store.dtype}")
    print(f"{(store.statuses != 0).sum()} failed")

    # Store rows are sorted by (subset, id); for_dataset returns vectors in the dataset's order.
    vectors = store.for_dataset(dataset)
    for item, vector in list(zip(dataset, vectors, strict=True))[:3]:
        n_annotations = len(item.annotations)
        print(f"{item.subset}/{item.id}  annotations {n_annotations}  {vector[:4].round(3)}")
