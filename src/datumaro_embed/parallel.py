"""`map` in threads with results in order and a bounded number of items ahead."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

__all__ = ["map_ahead", "usable_processors"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def map_ahead(
    function: Callable[[_Item], _Result], items: Iterable[_Item], *, workers: int, ahead: int
) -> Iterator[_Result]:
    """Yield ``function(item)`` for each item, in order.

    Parameters
    ----------
    workers : int
        Threads.
    ahead : int
        At most this many items are taken from ``items`` before the oldest result is.

    Notes
    -----
    An exception in ``function`` is raised where its result would have been yielded; what is under
    way is waited for and the rest cancelled.
    """
    iterator = iter(items)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="datumaro-embed")
    pending: deque[Future[_Result]] = deque(
        pool.submit(function, item) for item in islice(iterator, ahead)
    )
    try:
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(function, item) for item in islice(iterator, 1))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def usable_processors() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
