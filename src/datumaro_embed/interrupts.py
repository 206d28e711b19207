"""Ctrl-C and SIGTERM: while embedding, they take effect between two rows; elsewhere at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from .errors import RunInterruptedError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived; unfinished work is undone, as after Ctrl-C."""


@contextmanager
def terminable() -> Iterator[None]:
    """Inside, SIGTERM raises `Terminated` in the main thread, unless SIGTERM is ignored."""

    def terminate(*_: object) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class DeferredInterrupts:
    """Inside, the first SIGINT or SIGTERM is only recorded; a second one interrupts at once.

    Has no effect outside the main thread, where Python allows no handlers. A signal that is ignored
    (``nohup``) stays ignored.
    """

    received: int | None = None

    def __enter__(self) -> DeferredInterrupts:
        self._handlers: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def raise_received(self) -> None:
        """Raise `RunInterruptedError` if a signal was received; call it once the rows are kept."""
        if self.received is not None:
            raise RunInterruptedError(
                f"Stopped by {signal.Signals(self.received).name}; nothing is lost.",
                exit_status=128 + self.received,
            )

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number
