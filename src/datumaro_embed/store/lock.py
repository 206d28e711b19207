"""One writer at a time: a lock that the system releases when its process dies."""

from __future__ import annotations

import logging
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import StoreLockedError
from .files import write_errors

__all__ = ["StoreLock"]

_log = logging.getLogger("datumaro_embed")


class StoreLock:
    """A lock on a file, taken on construction and never waited for.

    Parameters
    ----------
    path : Path
        The lock file; made where it is missing, and left there.
    store : Path
        For the message.

    Raises
    ------
    StoreLockedError
        Another process, or another writer of this one, holds it.
    StoreWriteError
    """

    def __init__(self, path: Path, store: Path) -> None:
        self._lock = FileLock(str(path), thread_local=False)
        for _ in range(3):
            with write_errors(path):
                self._acquire(store)
            if path.exists():  # else its last holder removed it after it was opened here
                return
            self.release()
        raise StoreLockedError(f"'{store}' is being finished by another process; try again.")

    def _acquire(self, store: Path) -> None:
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:  # which is an OSError too
            raise StoreLockedError(
                f"Another process is writing '{store}'; wait until it ends, or choose another "
                "place.",
                path=str(store),
            ) from error

    def release(self) -> None:
        """Let others write; a file system that cannot unlock does so when the process ends."""
        try:
            self._lock.release()
        except OSError as error:
            _log.warning("'%s' cannot be unlocked: %s", self._lock.lock_file, error)
