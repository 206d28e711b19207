"""What takes more than a second: in a thread, or in a process of its own where it takes memory."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..errors import DatumaroEmbedError
from ..logs import log

__all__ = ["Task"]

_WORKER = "datumaro_embed.page.worker"


@dataclass(slots=True)
class Task:
    """One piece of work in the background, and how far it is.

    Attributes
    ----------
    state : {"idle", "running", "done", "failed"}
    done, total : int
        Steps; 0 of 0 where nobody counts them.
    note : str
        What it does now, or why it failed.
    """

    state: str = "idle"
    done: int = 0
    total: int = 0
    note: str = ""
    _process: subprocess.Popen[str] | None = field(default=None, repr=False)
    _thread: threading.Thread | None = field(default=None, repr=False)
    _stopped: bool = field(default=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Give what the page shows."""
        return {"state": self.state, "done": self.done, "total": self.total, "note": self.note}

    def start(self, work: Callable[[], None]) -> None:
        """Begin to work in a thread, unless the task is stopped."""
        with self._lock:  # else `stop` could join a thread that is not started
            if self._stopped:
                return
            self.state, self.done, self.total, self.note = "running", 0, 0, ""
            self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
            self._thread.start()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except DatumaroEmbedError as error:
            self.note, self.state = str(error), "failed"
        except Exception as error:  # the page says so, and goes on without it
            log.exception("a task of the explorer failed")
            self.note, self.state = f"{type(error).__name__}: {error}", "failed"
        else:
            self.note, self.state = "", "done"

    def call(self, name: str, **arguments: Any) -> Any:
        """Run a function of worker.py in a process of its own, and wait for what it returns.

        Raises `DatumaroEmbedError` with the message of the worker's, or if the task is stopped.
        """
        command = [sys.executable, "-m", _WORKER, name, json.dumps(arguments)]
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with self._lock:  # else `stop` could miss a process that begins
            if self._stopped:
                raise DatumaroEmbedError("The explorer has ended.")
            self._process = subprocess.Popen(command, text=True, **pipes)  # noqa: S603
        with self._process as process:
            answer: dict[str, Any] = {}
            for line in process.stdout or ():
                answer = json.loads(line)
                if "note" in answer:
                    self.done, self.total = answer["done"], answer["total"]
                    self.note = answer["note"]
            errors = (process.stderr.read() if process.stderr else "").strip().splitlines()
        self._process = None
        if "result" in answer:
            return answer["result"]
        last = errors[-1] if errors else f"exit status {process.returncode}"
        raise DatumaroEmbedError(answer.get("error", f"The worker process ended: {last}"))

    def stop(self) -> None:
        """End the process, if there is one, for good; a thread ends with ours."""
        with self._lock:
            self._stopped = True
            process, thread = self._process, self._thread
        if process is not None:
            process.terminate()
        if thread is not None:
            thread.join(timeout=5)
