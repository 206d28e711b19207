"""Binary search by key."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from datumaro_embed.records import ItemKey
from datumaro_embed.store import ArrayPart, EmbeddingStore
from datumaro_embed.store.codec import text_arrays
from datumaro_embed.vectors import VectorKind

KEYS = [ItemKey(subset, item_id) for subset in ("", "a", "b") for item_id in ("", "1", "10", "2")]


def store_of(keys: Sequence[ItemKey]) -> EmbeddingStore:
    names = sorted({key.subset for key in keys})
    arrays = text_arrays("items/subset_names", names)
    arrays["items/subset"] = np.array([names.index(key.subset) for key in keys], "<u2")
    arrays |= text_arrays("items/id", [key.id for key in keys])
    return EmbeddingStore.of(ArrayPart(arrays, VectorKind(1), "0" * 32))


@pytest.mark.parametrize("row", range(len(KEYS)))
def test_every_key_is_found(row: int) -> None:
    assert store_of(KEYS).row(KEYS[row]) == row


@pytest.mark.parametrize("key", [ItemKey("", "0"), ItemKey("a", "3"), ItemKey("c", "1")])
def test_other_keys_are_not(key: ItemKey) -> None:
    assert key not in store_of(KEYS)


def test_nothing_among_nothing() -> None:
    assert ItemKey("a", "b") not in store_of([])


def test_damaged_order_never_gives_another_row() -> None:
    shuffled = [KEYS[3], KEYS[0], KEYS[7], KEYS[1]]
    store = store_of(shuffled)
    for key in KEYS:
        assert key not in store or shuffled[store.row(key)] == key
