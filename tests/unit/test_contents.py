"""Which of several items with the same bytes is embedded, and what the others take of it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from datumaro_embed.pipeline.contents import Contents
from datumaro_embed.records import ItemKey, ItemRecord, Status


def record(position: int, content: bytes = b"a" * 32, **changes: object) -> ItemRecord:
    return ItemRecord(ItemKey("train", f"{position}"), content_sha256=content, **changes)


@pytest.mark.parametrize("asked", list(itertools.permutations(range(3))))
def test_the_first_in_order_is_read_whoever_asks_first(asked: tuple[int, ...]) -> None:
    contents = Contents(8, "float16")
    read = {position for position in asked if contents.is_first(b"a" * 32, position)}
    twins = [contents.is_twin(b"a" * 32, position) for position in range(3)]
    assert 0 in read
    assert twins == [False, True, True]


def test_a_twin_takes_vector_or_failure_and_keeps_its_own_record() -> None:
    contents = Contents(8, "float16")
    contents.is_first(b"a" * 32, 0)
    contents.keep(record(0), np.array([0.6, 0.8001], np.float32))
    found, vector = contents.of_twin(record(1, path="b.jpg"))
    assert found == record(1, path="b.jpg")
    np.testing.assert_array_equal(vector, np.float32(np.float16([0.6, 0.8001])))

    contents.is_first(b"b" * 32, 2)
    contents.keep(record(2, b"b" * 32, status=Status.UNREADABLE, error="cut off"), None)
    found, vector = contents.of_twin(record(3, b"b" * 32))
    assert (found.status, found.error, vector) == (Status.UNREADABLE, "cut off", None)


def test_only_so_many_are_remembered_the_ones_asked_for_last() -> None:
    contents = Contents(3, "float32")
    for position in range(3):
        assert contents.is_first(bytes([position]) * 32, position)
    assert not contents.is_first(bytes(32), 3)
    assert contents.is_first(bytes([9]) * 32, 4)
    assert not contents.is_first(bytes(32), 5)
    assert contents.is_first(bytes([1]) * 32, 6)
