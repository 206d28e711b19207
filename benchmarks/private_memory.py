"""The most memory of its own that a process takes while something runs (Linux)."""

from __future__ import annotations

import re
import threading
from pathlib import Path

_STATUS = Path("/proc/self/status")


class PrivateMemory:
    """A context manager: `peak_mb` is the greatest anonymous resident memory seen inside.

    Pages of the mapped store belong to the system's cache and are not counted.
    """

    def __enter__(self) -> PrivateMemory:
        self.peak_mb = _anonymous_mb()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.peak_mb = max(self.peak_mb, _anonymous_mb())


def _anonymous_mb() -> float:
    found = re.search(r"RssAnon:\s+(\d+) kB", _STATUS.read_text())
    return int(found.group(1)) / 1024 if found else 0.0
