"""A `map` in forks of this process: they do not wait for each other's turn of the interpreter.

Two threads that compare pictures, in thousands of short calls of NumPy and OpenCV, are 1.3 times as
fast as one; two processes are twice as fast. A fork has all data of its process, so nothing is sent
to it. Only results come back: what a fork remembers is lost when it ends.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

from tqdm import TMonitor

from .interrupts import DeferredInterrupts
from .logs import log
from .parallel import single_threaded_opencv, usable_processors

__all__ = ["WAITING", "can_fork", "map_forked"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

WAITING = "datumaro-embed waiting"
"""Name of a thread that only waits, and holds no lock that a fork may need."""

_DIE_WITH_PARENT = 1  # prctl
_PIPE_BYTES = 1 << 20  # results of some items: a fork goes on while this process is busy
_NOTHING: tuple[bool, Any] = False, None


def can_fork() -> bool:
    """Tell whether a fork of this process works: on Linux, if no other thread may hold a lock."""
    threads = (one for one in threading.enumerate() if one is not threading.current_thread())
    waiting = all(isinstance(one, TMonitor) or one.name == WAITING for one in threads)
    return sys.platform == "linux" and waiting


def map_forked(function: Callable[[_Item], _Result], items: Sequence[_Item]) -> Iterator[_Result]:
    """Yield ``function(item)`` for each item, in order, computed in one fork for each processor.

    Fork i computes every n-th item, from the i-th on. Where ``function`` raises an `Exception` in a
    fork, or the fork is killed or cannot be made, this process calls it instead, and raises what it
    raises.

    Parameters
    ----------
    function : callable
        What it does beside returning a result is lost.
    items : sequence
        Not sent: forks have it. Results are pickled.
    """
    forks: list[_Fork] = []
    with single_threaded_opencv():  # its threads would be missing in a fork, which waits for them
        try:
            n = min(usable_processors(), len(items))
            # Signals wait. While Python forks, it calls functions of its modules; what a signal
            # raises in one is lost, and the lock that the function should release stays locked.
            with DeferredInterrupts() as interrupts:
                try:
                    for first in range(n):
                        forks.append(_forked(function, items[first::n], forks))
                except OSError as error:
                    for fork in forks:
                        fork.end()
                    forks.clear()
                    log.debug("No process can be forked: %s", error)
            if interrupts.received is not None:
                signal.raise_signal(interrupts.received)
            for number, item in enumerate(items):
                is_computed, result = forks[number % len(forks)].answer() if forks else _NOTHING
                yield result if is_computed else function(item)
        finally:
            for fork in forks:
                fork.end()


@dataclass(slots=True)
class _Fork:
    process: int
    results: BinaryIO
    is_alive: bool = True

    def answer(self) -> tuple[bool, Any]:
        """Wait for the next result; tell whether there is one, and give it."""
        if self.is_alive:
            try:
                answer: tuple[bool, Any] = pickle.load(self.results)  # noqa: S301  (our own fork's)
            except (EOFError, pickle.UnpicklingError):
                self.is_alive = False
                log.warning(
                    "A helper process ended early, perhaps because memory ran out. The main "
                    "process takes over its work."
                )
            else:
                return answer
        return _NOTHING

    def end(self) -> None:
        self.results.close()
        with suppress(ProcessLookupError, ChildProcessError):  # SIGCHLD may be ignored
            os.kill(self.process, signal.SIGKILL)  # it may wait for a place in the pipe
            os.waitpid(self.process, 0)


def _forked(
    function: Callable[[_Item], Any], items: Sequence[_Item], others: Sequence[_Fork]
) -> _Fork:
    reading, writing = os.pipe()
    parent = os.getpid()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of the threads of OpenBLAS
            process = os.fork()
    except OSError:
        os.close(reading)
        os.close(writing)
        raise
    if not process:
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
            for descriptor in (reading, *(fork.results.fileno() for fork in others)):
                os.close(descriptor)
            if os.getppid() == parent:
                with os.fdopen(writing, "wb") as results:
                    for item in items:
                        try:
                            answer = True, function(item)
                        except Exception:
                            answer = False, None
                        pickle.dump(answer, results)
                        results.flush()
        finally:
            os._exit(0)  # nothing of the parent's is flushed, closed or removed
    os.close(writing)
    with suppress(OSError, ImportError, AttributeError):
        from fcntl import F_SETPIPE_SZ, fcntl

        fcntl(reading, F_SETPIPE_SZ, _PIPE_BYTES)
    return _Fork(process, os.fdopen(reading, "rb"))
