"""A threaded `map` with ordered results and a bounded number of items in progress."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_TURN_S = 0.0001


class Ahead(Iterator[_Result]):
    """Iterator of ``function(item)`` for each item, in order, computed in threads.

    An exception in ``function`` is raised in place of its result; running calls are waited for and
    the others canceled. Use ``contextlib.closing`` to stop early and wait for the threads.

    Parameters
    ----------
    workers : int, optional
        Threads; by default one for each processor.
    ahead : int, optional
        Maximum number of items taken from ``items`` before the oldest result is taken; by default
        four per thread.
    weigh : callable, optional
        Number of additional items that an item counts for.
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
        except BaseException:  # StopIteration too
            self.close()
            raise
        return result

    def _submit(self) -> None:
        while self._free > 0 and (submitted := next(self._submitted, None)):
            self._pending.append(submitted)
            self._free -= submitted[1]

    def close(self) -> None:
        """Wait for running calls, and cancel the others."""
        self._submitted.close()
        self._pending.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __del__(self) -> None:
        # Not `close`: the garbage collector may run this in any thread, even in one that is
        # starting and holds the lock that joining a thread needs.
        self._pool.shutdown(wait=False, cancel_futures=True)


map_ahead = Ahead
"""Called like `map`."""


def usable_processors() -> int:
    """Return the number of processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def single_threaded_opencv() -> Iterator[None]:
    """Let OpenCV start no threads of its own: there is one for each processor already."""
    import cv2

    n_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(n_threads)


@contextmanager
def short_turns() -> Iterator[None]:
    """Let threads that make many short calls hand over the interpreter sooner.

    It saves a tenth of the time of two threads that prove copies.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_TURN_S)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
