"""What a measurement ran on: processor, cores, memory, versions. Nothing that names the machine."""

from __future__ import annotations

import json
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WORK = Path(tempfile.gettempdir()) / "embed-bench"  # materials, kept for the next run
DISTURBED = 0.05  # of all cores' time, by other processes
TRIES = 3
_INSTRUCTIONS = (
    "avx2",
    "avx512f",
    "avx512_bf16",
    "avx512_vnni",
    "avx_vnni",
    "amx_bf16",
    "amx_int8",
)


def describe_machine() -> dict[str, Any]:
    """Return the facts that a speed depends on, JSON-able."""
    cpu = _cpuinfo()
    flags = set(cpu.get("flags", "").split())
    return {
        "cpu": cpu.get("model name", platform.processor() or platform.machine()),
        "cores": len(os.sched_getaffinity(0)),
        "instructions": [name for name in _INSTRUCTIONS if name in flags],
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def write_result(path: Path, **facts: Any) -> None:
    """Write what was measured, and on what machine, as JSON."""
    content = {"machine": describe_machine(), **facts}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def use_cores(n_cores: int) -> None:
    """Bind this process and its children to so many of its cores."""
    usable = sorted(os.sched_getaffinity(0))
    if n_cores > len(usable):
        raise SystemExit(f"--threads {n_cores}: only {len(usable)} cores are usable.")
    os.sched_setaffinity(0, usable[:n_cores])


def undisturbed(run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Run something; again, at most twice, where other processes took more than a little meanwhile.

    Parameters
    ----------
    run : callable
        Returns facts, ``cpu_seconds`` of its own among them.

    Returns
    -------
    dict
        Of the least disturbed run: its facts, and ``elsewhere``, the share of all cores that others
        took.
    """
    tries: list[dict[str, Any]] = []
    while not tries or (tries[-1]["elsewhere"] > DISTURBED and len(tries) < TRIES):
        with ElsewhereBusy() as busy:
            facts = run()
        tries.append(facts | {"elsewhere": busy.share(facts["cpu_seconds"])})
    return min(tries, key=lambda facts: float(facts["elsewhere"]))


class ElsewhereBusy:
    """A context manager: how busy other processes keep the machine meanwhile (Linux)."""

    def __enter__(self) -> ElsewhereBusy:
        self._started, self._busy = time.perf_counter(), _busy_seconds()
        return self

    def __exit__(self, *_: object) -> None:
        self._busy = _busy_seconds() - self._busy
        self._seconds = time.perf_counter() - self._started

    def share(self, own_cpu_seconds: float) -> float:
        """Return the part of all cores' time that others took, 0 to 1."""
        cores = os.cpu_count() or 1
        return min(1.0, max(0.0, (self._busy - own_cpu_seconds) / (cores * self._seconds)))


def _busy_seconds() -> float:
    """Of all cores since the machine's start, what hypervisors took included."""
    path = Path("/proc/stat")
    if not path.exists():
        return 0.0
    user, nice, system, _, _, *others = map(int, path.read_text().splitlines()[0].split()[1:9])
    return (user + nice + system + sum(others)) / os.sysconf("SC_CLK_TCK")


def _cpuinfo() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    text = path.read_text() if path.exists() else ""
    return dict(re.findall(r"^([^\t:]+)\t*: (.*)$", text.split("\n\n")[0], flags=re.MULTILINE))
