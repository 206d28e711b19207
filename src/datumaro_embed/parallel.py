"""`map` in threads with results in order and a bounded number of items ahead."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Ahead(Iterator[_Result]):
    """``function(item)`` for each item, in order.

    An exception in ``function`` is raised where its result would have been yielded; what is under
    way is waited for and the rest cancelled. Whoever may stop before the end, and needs the threads
    to be idle then, uses ``contextlib.closing``.

    Parameters
    ----------
    workers : int, optional
        Threads; by default one for each processor.
    ahead : int, optional
        At most this many items are taken from ``items`` before the oldest result is; by default
        four for each thread.
    weigh : callable, optional
        How many more items an item counts as.
    """

    def __init__(
        self,
        function: Callable[[_Item], _Result],
        items: Iterable[_Item],
        *,
        workers: int | None = None,
        ahead: int | None = None,
        weigh: Callable[[_Item], int] = lambda _: 0,
    ) -> None:
        workers = workers or usable_processors()
        pool = self._pool = ThreadPoolExecutor(workers, thread_name_prefix="datumaro-embed")
        self._submitted = ((pool.submit(function, item), 1 + weigh(item)) for item in items)
        self._pending: deque[tuple[Future[_Result], int]] = deque()
        self._free = ahead or 4 * workers

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
        while self._free > 0 and (submitted := next(self._submitted, None)):
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


map_ahead = Ahead
"""Called as `map` is."""


def usable_processors() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
