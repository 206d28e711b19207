"""How well object vectors tell wrong labels, on a dataset with planted ones: which crop is best.

    python benchmarks/object_labels.py TRUTH.json STORE...

TRUTH.json has ``label``: [image id, split, …, right name, wrong name] for each planted label. An
object is suspicious where few of its ten nearest neighbours in other images have its label.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from datumaro_embed import open_store

_NEIGHBOURS = 10


def main() -> None:
    """Print a row for each store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("truth", type=Path)
    parser.add_argument("stores", type=Path, nargs="+")
    options = parser.parse_args()
    truth = json.loads(options.truth.read_text())["label"]
    wrong = {(name, new.replace("-", " ")) for name, *_, new in truth}
    print("| store | wrong labels | in the first 30 | in the first 60 | in the first 100 |")
    print("|---|---|---|---|---|")
    for path in options.stores:
        found = np.array(ranked(path, wrong))
        counts = " | ".join(str(int(found[:k].sum())) for k in (30, 60, 100))
        print(f"| {path.name} | {int(found.sum())} | {counts} |")


def ranked(path: Path, wrong: set[tuple[str, str]]) -> list[bool]:
    """Tell for each object, the most suspicious first, whether its label is a planted one."""
    with open_store(path) as store:
        objects = store.objects
        rows = np.flatnonzero(objects.has_vector)
        vectors = np.asarray(objects.embeddings(rows), np.float32)
        items, labels = objects.item_rows[rows], np.asarray(objects.labels)[rows]
        names = objects.label_names
        agreement = np.empty(len(rows))
        for first in range(0, len(rows), 512):
            some = slice(first, first + 512)
            cosines = vectors[some] @ vectors.T
            cosines[items[some, None] == items[None]] = -2
            nearest = np.argpartition(-cosines, _NEIGHBOURS, axis=1)[:, :_NEIGHBOURS]
            weights = np.take_along_axis(cosines, nearest, axis=1)
            same = labels[nearest] == labels[some, None]
            agreement[some] = (weights * same).sum(axis=1) / weights.sum(axis=1)
        order = np.argsort(agreement, kind="stable")
        keys = [store.key(int(items[n])).id for n in order]
        return [
            (Path(key).stem, names[labels[n]]) in wrong for key, n in zip(keys, order, strict=True)
        ]


if __name__ == "__main__":
    main()
