"""What becomes of the rows of a run that fails: they are committed, and the user is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ..errors import StoreWriteError, StreamDisagreementError
from ..store import StoreWriter
from ..tally import counted

__all__ = ["keeping"]


@contextmanager
def keeping(run: StoreWriter, notify: Callable[[str], None]) -> Iterator[None]:
    """Commit what was embedded where something goes wrong, and say how to go on.

    Vectors that contradict each other are not committed, and what is committed stays.
    """
    try:
        yield
    except StreamDisagreementError:  # it says itself how to go on
        raise
    except Exception as error:
        n_rows = 0
        with suppress(StoreWriteError):  # where a write failed, no other is tried
            is_write = isinstance(error, StoreWriteError)
            n_rows = run.n_committed if is_write else run.suspend()
        if n_rows:
            kept = counted(n_rows, "rows are")
            notify(f"{kept} kept for '{run.target}'. Run the same command again to continue.")
        raise
