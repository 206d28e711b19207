"""map_ahead: order, bound, exceptions."""

from __future__ import annotations

import threading
import time

import pytest

from datumaro_embed.parallel import map_ahead


def test_results_keep_order_whatever_finishes_first() -> None:
    def slow_first(value: int) -> int:
        time.sleep(0.02 if value % 4 == 0 else 0)
        return value * value

    results = list(map_ahead(slow_first, range(40), workers=4, ahead=8))

    assert results == [value * value for value in range(40)]


def test_takes_no_more_than_ahead_before_the_consumer_takes() -> None:
    taken = []

    def items():
        for value in range(100):
            taken.append(value)
            yield value

    results = map_ahead(lambda value: value, items(), workers=2, ahead=5)
    next(results)
    assert len(taken) <= 6
    results.close()
    assert len(taken) <= 6


def test_exception_is_raised_in_its_place_and_threads_end() -> None:
    def fail_at_three(value: int) -> int:
        if value == 3:
            raise ValueError("three")
        return value

    before = threading.active_count()
    results = map_ahead(fail_at_three, range(10), workers=2, ahead=4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert threading.active_count() == before
