"""How an error of this package ends a `datum` command: one line, no traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from datumaro.cli.util.errors import CliException

from ..errors import DatumaroEmbedError

__all__ = ["datum_errors"]


@contextmanager
def datum_errors(from_datum: bool) -> Iterator[None]:
    """Under `datum`, raise the one error that it prints without a traceback; else leave ours."""
    try:
        yield
    except DatumaroEmbedError as error:
        if from_datum:
            raise CliException(str(error)) from error
        raise
