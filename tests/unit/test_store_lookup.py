"""Binary search by key."""

from __future__ import annotations

import pytest

from datumaro_embed.records import ItemKey
from datumaro_embed.store.rows import find_row

KEYS = [ItemKey(subset, item_id) for subset in ("", "a", "b") for item_id in ("", "1", "10", "2")]


@pytest.mark.parametrize("row", range(len(KEYS)))
def test_every_key_is_found(row: int) -> None:
    assert find_row(KEYS, KEYS[row]) == row


@pytest.mark.parametrize("key", [ItemKey("", "0"), ItemKey("a", "3"), ItemKey("c", "1")])
def test_other_keys_are_not(key: ItemKey) -> None:
    assert find_row(KEYS, key) is None


def test_nothing_among_nothing() -> None:
    assert find_row([], ItemKey("a", "b")) is None


def test_damaged_order_never_gives_another_row() -> None:
    shuffled = [KEYS[3], KEYS[0], KEYS[7], KEYS[1]]
    for key in KEYS:
        row = find_row(shuffled, key)
        assert row is None or shuffled[row] == key
