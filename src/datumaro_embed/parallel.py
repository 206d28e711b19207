"""`map` in threads with results in order and a bounded number of items ahead."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["Ahead", "map_ahead", "usable_processors"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def map_ahead(
    function: Callable[[_Item], _Result],
    items: Iterable[_Item],
    *,
    workers: int,
    ahead: int,
    weigh: Callable[[_Item], int] | None = None,
) -> Ahead[_Result]:
    """Yield ``function(item)`` for each item, in order.

    Parameters
    ----------
    workers : int
        Threads.
    ahead : int
        At most this many items are taken from ``items`` before the oldest result is.
    weigh : callable, optional
        How many items more an item counts as.

    Notes
    -----
    An exception in ``function`` is raised where its result would have been yielded; what is under
    way is waited for and the rest cancelled. Whoever may stop before the end, and needs the threads
    to be idle then, uses ``contextlib.closing``.
    """
    return Ahead(function, items, workers=workers, ahead=ahead, weigh=weigh)


class Ahead(Iterator[_Result]):
    """What `map_ahead` returns."""

    def __init__(
        self,
        function: Callable[[_Item], _Result],
        items: Iterable[_Item],
        *,
        workers: int,
        ahead: int,
        weigh: Callable[[_Item], int] | None,
    ) -> None:
        pool = self._pool = ThreadPoolExecutor(workers, thread_name_prefix="datumaro-embed")
        weight = weigh or (lambda _: 0)
        self._submitted = ((pool.submit(function, item), 1 + weight(item)) for item in items)
        self._pending: deque[tuple[Future[_Result], int]] = deque()
        self._free = ahead

    def __next__(self) -> _Result:
        try:
            self._submit()
            future, weight = next(iter(self._pending))
            result = future.result()
            self._pending.popleft()
            self._free += weight
            self._submit()
        except BaseException:  # the end too
            self.close()
            raise
        return result

    def _submit(self) -> None:
        while self._free > 0:
            submitted = next(self._submitted, None)
            if submitted is None:
                return
            self._pending.append(submitted)
            self._free -= submitted[1]

    def close(self) -> None:
        """Wait for what is under way, and cancel the rest."""
        self._submitted.close()
        self._pending.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __del__(self) -> None:
        # Not `close`: the garbage collector may come in any thread at any moment, as in one that is
        # just starting and holds the lock that joining another one takes.
        self._pool.shutdown(wait=False, cancel_futures=True)


def usable_processors() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
