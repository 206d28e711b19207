"""The harness's half of the protocol: start contestants, ask one at a time for a run."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any


class WorkerFailedError(Exception):
    """A contestant ended or answered something else; the message has the end of its stderr."""


class Worker:
    """One running contestant, warm; ended on leaving the context.

    Parameters
    ----------
    command : sequence of str
    log : Path
        File that takes its stderr.
    threads : int
        Told to the numeric libraries through their usual variables.
    cores : collection of int
        To bind it to, as `taskset` does; by default those of this process.
    """

    def __init__(
        self, command: Sequence[str], log: Path, *, threads: int, cores: Collection[int] = ()
    ) -> None:
        self._log = log
        count = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        started = time.perf_counter()
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [*_bound_to(cores), *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **count, "TOKENIZERS_PARALLELISM": "false"},
            )
        try:
            self.opening = self.answer()
        except BaseException:
            self.close()
            raise
        self.opening["start_seconds"] = time.perf_counter() - started

    def run(self, vectors: Path | None = None) -> dict[str, Any]:
        """Embed all images once; leave the rows in a file where one is given."""
        self.ask(vectors)
        return self.answer()

    def ask(self, vectors: Path | None = None) -> None:
        """Begin a run; `answer` waits for its end."""
        assert self._process.stdin is not None
        request = {"run": True, "vectors": None if vectors is None else str(vectors)}
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer that does not come says why

    def answer(self) -> dict[str, Any]:
        """Wait for what a contestant says.

        Raises
        ------
        WorkerFailedError
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            last = self._log.read_text(errors="replace").strip().splitlines()[-12:]
            raise WorkerFailedError("\n".join(last) or "ended without a word")
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise WorkerFailedError(f"said {line.strip()[:200]!r}") from error
        return answer

    def close(self) -> None:
        """End the contestant."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(timeout=10)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _bound_to(cores: Collection[int]) -> list[str]:
    return ["taskset", "-c", ",".join(map(str, sorted(cores)))] if cores else []
