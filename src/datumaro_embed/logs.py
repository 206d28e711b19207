"""The package's logger, and filters for Datumaro's warnings; standard library only."""

from __future__ import annotations

import atexit
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from .errors import DatumaroEmbedError
from .escaping import printable

_MAX_REMEMBERED = 10_000


def _escape(record: logging.LogRecord) -> bool:
    record.msg, record.args = printable(record.getMessage()), ()
    return True


log = logging.getLogger("datumaro_embed")
log.addFilter(_escape)


def _name_flags(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(
            each.with_flags() if isinstance(each, DatumaroEmbedError) else each
            for each in record.args
        )
    return True


@contextmanager
def flags_in_warnings() -> Iterator[None]:
    """Let warnings that quote an error name flags, as the command line does, not parameters."""
    log.filters.insert(0, _name_flags)  # before `_escape`, which makes one text of a record
    try:
        yield
    finally:
        log.removeFilter(_name_flags)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Print warnings without level and logger, as Python does where nobody configures logging.

    Datumaro calls `logging.warning`, which installs a handler that prints WARNING:root: before all.
    """
    root, handler = logging.getLogger(), logging.lastResort
    if root.handlers or handler is None:
        yield
        return
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


@contextmanager
def each_warning_once() -> Iterator[None]:
    """Show each of Datumaro's warnings once, and its count at the end; most repeat many times."""
    said: Counter[str] = Counter()

    def is_first(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        record.msg, record.args = printable(message), ()
        if record.levelno < logging.WARNING or (
            len(said) >= _MAX_REMEMBERED and message not in said
        ):
            return True
        said[message] += 1
        return said[message] == 1

    root = logging.getLogger()  # Datumaro has no logger of its own
    root.addFilter(is_first)
    try:
        yield
    finally:
        root.removeFilter(is_first)
        for message, n_times in said.items():
            if n_times > 1:
                root.warning("%s (%d times)", printable(message), n_times)


def each_warning_once_until_exit() -> None:
    """Enter `each_warning_once` until the process ends."""
    stack = ExitStack()
    stack.enter_context(each_warning_once())
    atexit.register(stack.close)


@contextmanager
def without_warnings() -> Iterator[None]:
    """Keep Datumaro's warnings from the log."""

    def is_other(record: logging.LogRecord) -> bool:
        return record.levelno != logging.WARNING

    root = logging.getLogger()
    root.addFilter(is_other)
    try:
        yield
    finally:
        root.removeFilter(is_other)
