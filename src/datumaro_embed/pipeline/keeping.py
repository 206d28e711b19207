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
    except StoreWriteError:
        _say_kept(run, run.n_committed, notify)
        raise
    except Exception:
        with suppress(StoreWriteError):
            _say_kept(run, run.suspend(), notify)
        raise


def _say_kept(run: StoreWriter, n_rows: int, notify: Callable[[str], None]) -> None:
    if n_rows:
        kept = counted(n_rows, "rows are")
        notify(f"{kept} kept for '{run.target}'. Run the same command again to continue.")
