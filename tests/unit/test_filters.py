"""Filters name what a store has; a slip is answered with the nearest names."""

from __future__ import annotations

import numpy as np
import pytest

from datumaro_embed.errors import UsageError
from datumaro_embed.records import Status
from datumaro_embed.retrieval.filters import Filters, matching_rows
from search_support import item, memory_store

RECORDS = [
    item("train", "a", 0),
    item("train", "b", 1, 2),
    item("train", "c", status=Status.MISSING),
    item("val", "d", -1, 2),
    item("x", "e"),
]
STORE = memory_store(np.ones((5, 4)), RECORDS)


@pytest.mark.parametrize(
    ("filters", "rows"),
    [
        (Filters(), [0, 1, 3, 4]),
        (Filters(subsets=["train"]), [0, 1]),
        (Filters(subsets=["train", "x"]), [0, 1, 4]),
        (Filters(splits=["val"]), [3]),
        (Filters(splits=["other", "train"]), [0, 1, 4]),
        (Filters(splits=["test"]), []),
        (Filters(labels=["car"]), [1, 3]),
        (Filters(labels=["cat", "dog"]), [0, 1]),
        (Filters(labels=["car"], subsets=["train"]), [1]),
    ],
)
def test_rows(filters: Filters, rows: list[int]) -> None:
    assert np.flatnonzero(matching_rows(STORE, filters)).tolist() == rows


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        (Filters(labels=["cta"]), "There is no label 'cta' in the store. Nearest: 'cat', 'car'."),
        (Filters(labels=["Dog"]), "Nearest: 'dog'"),
        (Filters(labels=["zebra"]), "There are: 'cat', 'dog', 'car'."),
        (Filters(subsets=["trian"]), "no subset 'trian' in the store. Nearest: 'train'"),
        (Filters(splits=["valid"]), "no split 'valid' in the store. Nearest: 'val'"),
    ],
)
def test_names_that_are_not_there(filters: Filters, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        matching_rows(STORE, filters)
    assert message in str(caught.value)


def test_a_store_without_labels_says_so() -> None:
    empty = memory_store(np.ones((0, 4)), [])
    with pytest.raises(UsageError, match=r"There are: 'cat'"):
        matching_rows(empty, Filters(labels=["?"]))
    with pytest.raises(UsageError, match=r"There are: none"):
        matching_rows(empty, Filters(subsets=["?"]))


def test_labels_of_rows() -> None:
    assert [STORE.labels_of(row) for row in (1, 3, 4)] == [("car", "dog"), ("car",), ()]
