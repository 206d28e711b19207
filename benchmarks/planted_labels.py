"""Planted wrong labels that the audit finds, beside cleanlab on the same vectors.

    python benchmarks/planted_labels.py /tmp/planted5 /tmp/p5.h5 [--also N] [--vectors /tmp/p5.npz]
    VENV/bin/python benchmarks/peers/datalab_labels.py /tmp/p5.npz

VENV: a virtual environment with cleanlab[datalab].

The store is made by ``datumaro-embed embed DATASET:coco --store STORE --objects``; the dataset lies
beside its DATASET_truth.json (``label``: image id, split, …, right name, wrong name). ``--also``
makes N further labels wrong, at random, or all wrong labels right with 0. Neighbours in proven
duplicates, here the planted ones, are left out.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from datumaro_embed import open_store
from datumaro_embed.auditing.mislabels import find_mislabels

_FIRST = (30, 40, 60)


def load(dataset: Path, store_path: Path) -> dict[str, Any]:
    """Read vectors of objects, and what is right and planted."""
    truth = json.loads(Path(f"{dataset}_truth.json").read_text())
    wrong = {
        (name, new.replace("-", " ")): old.replace("-", " ")
        for name, *_, old, new in truth["label"]
    }
    with open_store(store_path) as store:
        objects = store.objects
        rows = np.flatnonzero(objects.has_vector & (np.asarray(objects.labels) >= 0))
        names, stems = objects.label_names, [Path(store.key(n).id).stem for n in range(len(store))]
        groups = np.arange(len(stems))
        numbers = {stem: n for n, stem in enumerate(stems)}
        for pair in (*truth["exact"], *truth["near"], *truth["leak"]):
            groups[numbers[pair[1]]] = groups[numbers[pair[0]]]
        items, labels = objects.item_rows[rows], np.asarray(objects.labels)[rows].astype(np.int64)
        keys = [(stems[n], names[label]) for n, label in zip(items, labels, strict=True)]
        right = [names.index(wrong.get(key, key[1])) for key in keys]
        return {
            "vectors": np.array(objects.embeddings(rows)),
            "labels": labels,
            "right": np.array(right),
            "groups": groups[items],
            "names": np.array(store.label_embeddings),
        }


def main() -> None:
    """Print a row for each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("--also", type=int)
    parser.add_argument("--vectors", type=Path)
    options = parser.parse_args()
    found = load(options.dataset, options.store)
    labels, right, rng = found["labels"], found["right"], np.random.default_rng(0)
    if options.also == 0:
        labels[:] = right
    elif options.also:
        some = rng.choice(len(labels), options.also, replace=False)
        n_names = len(found["names"])
        labels[some] = (labels[some] + rng.integers(1, n_names, len(some))) % n_names
    if options.vectors:
        np.savez(options.vectors, **found)
    print("| way | in the first 30 / 40 / 60 | right suggestions | said to be wrong | s |")
    print("|---|---|---|---|---|")
    for way, names in (("with label names", found["names"]), ("without", None)):
        start = time.perf_counter()
        rows = np.arange(len(labels))
        result = find_mislabels(found["vectors"], rows, labels, found["groups"], names)
        seconds = time.perf_counter() - start
        order, is_wrong = result.ranked, labels != right
        firsts = " / ".join(str(int(is_wrong[order[:k]].sum())) for k in _FIRST)
        hits = order[is_wrong[order]]
        n_right = int((result.suggestions[hits] == right[hits]).sum())
        cells = [way, f"{firsts} of {is_wrong.sum()}", f"{n_right} of {len(hits)}", result.n_wrong]
        print(f"| {' | '.join(map(str, cells))} | {seconds:.1f} |")


if __name__ == "__main__":
    main()
