"""What a person sees who types a name: a line or a few, whatever is in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datumaro_embed import (
    AnnotationRecord,
    Categories,
    DuplicateGroup,
    DuplicatePair,
    EmbedSummary,
    Hit,
    ItemKey,
    ItemRecord,
    Split,
    Status,
    find_duplicates,
)
from datumaro_embed.retrieval.searching import Hits, SearchResult
from datumaro_embed.tally import Tally
from datumaro_embed.testing import MemoryStores
from datumaro_embed.vectors import VectorKind

LONG = "x" * 5_000
KEY = ItemKey("train", "0001")
POLYGON = AnnotationRecord("polygon", coords=tuple(map(float, range(10_000))), text=LONG)


def duplicates() -> Any:
    stores = MemoryStores()
    with stores.begin("s", VectorKind(2)) as writer:
        for number in range(200):
            key = ItemKey("train", f"{number:04}{'y' * 400}")
            writer.append(ItemRecord(key), np.array([1.0, 0.0]))
        writer.seal({})
    with stores.open("s") as store:
        report = find_duplicates(store)
        assert len(report.groups) == 1
        return report


def tally() -> Tally:
    made = Tally()
    for number in range(500):
        made.add(f"{LONG} {number}", LONG)
    return made


LARGE: list[Callable[[], Any]] = [
    duplicates,
    tally,
    lambda: POLYGON,
    lambda: ItemRecord(KEY, path=LONG, error=LONG, annotations=(POLYGON,) * 4_000),
    lambda: Categories(tuple(map(str, range(5_000))), {LONG: {"items": [LONG] * 99}}),
    lambda: Hit(KEY, 1, 0.5, labels=tuple(map(str, range(5_000)))),
    lambda: SearchResult(Hits([Hit(KEY, 1, 0.5)] * 5_000), exact=True),
    lambda: DuplicatePair(ItemKey("a", LONG), ItemKey("b", LONG), 1.0),
    lambda: DuplicateGroup(KEY, (KEY,) * 5_000, (Split.TRAIN,) * 5_000, ((),) * 5_000, 1.0, 1.0),
    lambda: EmbedSummary("e.h5", 9, {Status.MISSING: tally()}, tally(), tally(), 1.0),
]


@pytest.mark.parametrize("make", LARGE)
def test_reprs_are_short(make: Callable[[], Any]) -> None:
    value = make()
    assert len(repr(value)) <= 700
    assert repr(value).strip("<").startswith(type(value).__name__)


def test_reprs_say_what_matters() -> None:
    record = ItemRecord(KEY, width=640, status=Status.MISSING, error="no such file")
    assert repr(record) == (
        "ItemRecord(key=ItemKey(subset='train', id='0001'), width=640, "
        "status=<Status.MISSING: 1>, error='no such file')"
    )
    assert repr(duplicates()) == (
        "<DuplicateReport: 199 pairs (0 across splits) in 1 group of 200 items, threshold 0.95>"
    )
    summary = EmbedSummary("e.h5", 9, {}, Tally(), Tally(), 1.0, n_reused=4)
    assert repr(summary) == "<EmbedSummary: 9 rows in e.h5: 5 computed, 4 reused, 0 failed>"


def test_repr_of_an_open_store(coco_store: Path) -> None:
    from datumaro_embed import open_store

    with open_store(coco_store) as store:
        assert "69 rows x" in repr(store)
        assert len(repr(store)) < 300
        for batch in store.iter_batches():
            assert len(repr(batch)) < 700
