#!/usr/bin/env python3
"""From the findings of a planted dataset to the tables that its scorer reads.

    datumaro-embed embed PLANTED:coco --store S.h5 --model demo --objects
    datumaro-embed audit S.h5 -o findings.csv
    python benchmarks/planted_findings.py S.h5 findings.csv TABLES
    python score.py PLANTED pairs TABLES/pairs.csv      # likewise labels, outliers, corrupt

Pairs are all pairs of a group of copies; labels, outliers and failures are in the order of their
ranks.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

from datumaro_embed import Findings, ObjectKey, open_store


def main() -> int:
    """Convert."""
    store_path, findings_path, out = map(Path, sys.argv[1:])
    out.mkdir(exist_ok=True)
    findings = Findings.read(findings_path)
    groups = defaultdict(list)
    for row in findings:
        if row.kind in ("leak", "duplicate", "conflict") and row.object is None:
            groups[row.group].append(row.id)
    pairs = [pair for ids in groups.values() for pair in combinations(sorted(ids), 2)]
    _write(out / "pairs.csv", ("first_id", "second_id"), pairs)
    for kind, name in (("outlier", "outliers"), ("failed", "corrupt")):
        _write(out / f"{name}.csv", ("id",), [(row.id,) for row in findings.filter(kind=kind)])
    with open_store(store_path) as store:
        labels = []
        for row in findings.filter(kind="mislabel"):
            number = row.object or 0
            record = store.objects.record(store.objects.row(ObjectKey(row.key, number)))
            item = store.item(store.row(row.key))
            ids = [item.annotations[place].ann_id for place in record.annotations]
            labels.append((row.id, ids[0], row.suggestion.removeprefix("label ")))
    _write(out / "labels.csv", ("id", "ann_id", "suggested"), labels)
    return 0


def _write(path: Path, titles: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([titles, *rows])


if __name__ == "__main__":
    raise SystemExit(main())
