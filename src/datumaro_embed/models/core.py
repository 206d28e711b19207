"""OpenVINO's ``Core``: one for the process, for as long as the process lives.

The CPU plugin gives the thread that loads it a stack for signals of its own, and on unloading puts
back the one that it found (measured with 2026.4, `strace -e sigaltstack`). Of two plugins unloaded
in the order of loading, the second puts back what the first has freed, and the next Ctrl-C, whose
handler runs on that stack, is a segmentation fault. With one `Core` there is one plugin.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

__all__ = ["openvino_core"]


_lock = threading.Lock()


def openvino_core() -> Any:
    """Return the ``openvino.Core`` of this process, made at the first call."""
    with _lock:  # `cache` alone calls again for a thread that comes before the first has ended
        return _core()


@cache
def _core() -> Any:
    import openvino as ov

    return ov.Core()
