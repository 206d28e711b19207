"""Lookup compares strings, so equal hashes do no harm."""

from __future__ import annotations

import numpy as np

from datumaro_embed.records import ItemKey
from datumaro_embed.store.encoding import key_hash
from datumaro_embed.store.lookup import KeyIndex


def test_equal_hashes_are_told_apart() -> None:
    keys = [ItemKey("", name) for name in "abc"]
    same = key_hash(b"", b"b")
    index = KeyIndex(np.array([same, same, same], dtype=np.uint64), keys.__getitem__)
    assert index.find(ItemKey("", "b")) == 1


def test_a_hash_that_is_there_with_other_strings_is_no_hit() -> None:
    wanted = ItemKey("", "x")
    index = KeyIndex(
        np.array([key_hash(b"", b"x"), 2**64 - 1], dtype=np.uint64), lambda _: ItemKey("", "other")
    )
    assert index.find(wanted) is None
