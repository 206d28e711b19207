"""map_ahead: order, bound, exceptions."""

from __future__ import annotations

import threading
import time
from contextlib import closing

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


def test_closing_waits_for_what_is_under_way() -> None:
    done = []

    def slow(value: int) -> int:
        time.sleep(0.05)
        done.append(value)
        return value

    with closing(map_ahead(slow, range(100), workers=2, ahead=4)) as results:
        assert next(results) == 0
    n_done = len(done)
    time.sleep(0.2)
    assert len(done) == n_done < 10
    assert list(results) == []


def test_what_is_dropped_never_waits() -> None:
    """The collector may drop it in a thread that is just starting: joining would deadlock there."""
    release = threading.Event()
    results = map_ahead(
        lambda value: release.wait(60) if value else True, range(2), workers=1, ahead=2
    )
    assert next(results)
    collected = threading.Thread(target=results.__del__)
    collected.start()
    collected.join(30)
    assert not collected.is_alive()
    release.set()
