"""Planted strangers that the audit finds, with and without labels, beside fastdup.

    python benchmarks/planted_outliers.py /tmp/planted5 /tmp/p5.h5
    VENV/bin/python benchmarks/peers/fastdup_outliers.py /tmp/planted5

VENV: a virtual environment with fastdup.

Dataset, truth (``outlier``: image id, what it is) and store as in planted_labels.py.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from PIL import Image

from datumaro_embed import open_store
from datumaro_embed.auditing.mislabels import find_mislabels
from datumaro_embed.auditing.outliers import (
    find_outliers,
    isolation,
    label_distances,
    least_of_items,
    texture,
    texture_distances,
)
from datumaro_embed.signatures import describe
from planted_labels import load

_FIRST = (20, 30, 40)


def main() -> None:
    """Print a row for each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("store", type=Path)
    options = parser.parse_args()
    truth = json.loads(Path(f"{options.dataset}_truth.json").read_text())
    strangers = {name for name, _ in truth["outlier"]}
    with open_store(options.store) as store:
        rows = np.flatnonzero(store.items.has_vector)
        keys = [store.key(int(row)) for row in rows]
        vectors, n_items = np.array(store.embeddings()), len(store)
        objects = np.flatnonzero(store.objects.has_vector & (np.asarray(store.objects.labels) >= 0))
        owners = store.objects.item_rows[objects]
    found = load(options.dataset, options.store)
    groups = np.arange(n_items)
    groups[owners] = found["groups"]
    groups = groups[rows]
    files = [options.dataset / "images" / key.subset / f"{key.id}.jpg" for key in keys]
    described = [describe(Image.open(file).convert("RGB")) for file in files]
    signatures, statistics = (np.array(part) for part in zip(*described, strict=True))
    is_stranger = np.array([Path(key.id).stem in strangers for key in keys])

    start = time.perf_counter()
    apart, bland = isolation(vectors, rows, groups)
    measures = {
        "texture": texture_distances(texture(signatures, statistics), groups),
        "isolation": apart,
        "blandness": bland,
    }
    labels, every = found["labels"], np.arange(len(objects))
    judged = find_mislabels(found["vectors"], every, labels, found["groups"], found["names"])
    of_objects = {
        "label": label_distances(found["vectors"], every, labels),
        "variety": judged.variety,
    }
    of_labels = {
        name: least_of_items(values, owners, n_items)[rows] for name, values in of_objects.items()
    }
    seconds = time.perf_counter() - start
    print(f"{seconds:.1f} s\n| way | in the first 20 / 30 / 40 |\n|---|---|")
    ways = {
        "with labels": measures | of_labels,
        "without": measures,
        "with labels, without pixels": {"isolation": apart, "blandness": bland} | of_labels,
        "texture alone": {"texture": measures["texture"]},
        "isolation alone": {"isolation": apart},
    }
    for way, some in ways.items():
        order = find_outliers(**some).ranked
        firsts = " / ".join(str(int(is_stranger[order[:k]].sum())) for k in _FIRST)
        print(f"| {way} | {firsts} of {is_stranger.sum()} |")


if __name__ == "__main__":
    main()
