"""FiftyOne's duplicates and outliers of a planted dataset, on our vectors; its venv's Python.

    datumaro-embed convert /tmp/p5.h5 --to csv --vectors --embedded-only -o p5.csv
    VENV/bin/python benchmarks/peers/fiftyone_neighbors.py /tmp/planted5 p5.csv

FiftyOne keeps datasets in a MongoDB. Its near-duplicates, uniqueness and representativeness are
functions of arrays below that, and are called here as they are.
"""

import csv
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from fiftyone.brain.internal.core.representativeness import _compute_representativeness
from fiftyone.brain.internal.core.sklearn import NeighborsHelper
from fiftyone.brain.internal.core.uniqueness import _compute_uniqueness
from fiftyone.brain.similarity import DuplicatesMixin

Array = np.ndarray[Any, Any]
dataset = sys.argv[1]
truth = json.loads(Path(f"{dataset}_truth.json").read_text())
listed = [entry[:2] for kind in ("exact", "near", "leak") for entry in truth[kind]]
planted = {frozenset(pair) for pair in listed}
strangers = {name for name, _ in truth["outlier"]}
with open(sys.argv[2], newline="", encoding="utf-8-sig") as file:
    rows = list(csv.DictReader(file))
ids = [Path(row["id"].removeprefix("'")).stem for row in rows]
numbers = [name for name in rows[0] if re.fullmatch(r"e\d+", name)]
vectors = np.array([[float(row[name]) for name in numbers] for row in rows])
_, dists = NeighborsHelper(vectors.copy(), "cosine").get_neighbors()


class OnArrays(DuplicatesMixin):  # type: ignore[misc]
    """A similarity index that is a matrix of distances."""

    config = SimpleNamespace(method="sklearn")

    def _radius_neighbors(self, thresh: float) -> list[Array]:
        return [np.nonzero(row <= thresh)[0] for row in dists]

    def _kneighbors(self, k: int, **_: object) -> tuple[Array, Array]:
        order = np.argsort(dists, axis=1)[:, :k]
        return order, np.take_along_axis(dists, order, axis=1)


for threshold in (0.2, 0.1, 0.05, 0.03, 0.02, 0.01):
    unique = OnArrays()._remove_duplicates_thresh(threshold, list(range(len(ids))))
    copies = sorted({*range(len(ids))} - {*unique})
    nearest = [unique[np.nanargmin(dists[copy, unique])] for copy in copies]
    given = {frozenset((ids[a], ids[b])) for a, b in zip(copies, nearest, strict=True)}
    found = given & planted
    print(
        f"| FiftyOne, threshold {threshold} | {len(given)} | "
        f"{len(found) / max(1, len(given)):.2f}, {len(found) / len(planted):.2f} |"
    )
scores = {
    "uniqueness": _compute_uniqueness(vectors, OnArrays()),
    "representativeness, highest": _compute_representativeness(vectors),
    "representativeness, lowest": -_compute_representativeness(vectors),
}
for name, values in scores.items():
    order = [ids[n] for n in np.argsort(-np.asarray(values), kind="stable")]
    firsts = " / ".join(str(len(strangers & {*order[:k]})) for k in (20, 30, 40))
    print(f"| FiftyOne's {name} | {firsts} of {len(strangers)} |")
