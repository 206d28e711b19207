"""What the .pth bridge costs a Python process that has nothing to do with it.

    python benchmarks/bridge_cost.py

Makes two virtual environments, installs this checkout without dependencies into one, and runs
``python -X importtime -c pass`` in both, in turn. Prints the median import time of the bridge and
of the whole ``site`` module with and without it. Exits 1 where the bridge costs more than 0.5 ms.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

REPO = Path(__file__).parents[1]
RUNS = 20
LIMIT_MS = 0.5


def make_environment(folder: Path) -> Path:
    """Create a virtual environment and return its python."""
    venv.create(folder, with_pip=True)
    return folder / "bin" / "python"


def import_times_ms(python: Path) -> dict[str, float]:
    """Cumulative import time of each module that a bare start imports."""
    command = [str(python), "-X", "importtime", "-c", "pass"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    rows = re.findall(r"\|\s+(\d+) \|\s+(\S+)$", printed, flags=re.MULTILINE)
    return {name: int(microseconds) / 1000 for microseconds, name in rows}


def main() -> int:
    """Measure, print, judge."""
    with tempfile.TemporaryDirectory() as folder:
        bare = make_environment(Path(folder, "bare"))
        ours = make_environment(Path(folder, "ours"))
        install = ["-m", "pip", "install", "-q", "--no-deps", str(REPO)]
        subprocess.run([str(ours), *install], check=True)
        bridge_ms, with_ms, without_ms = [], [], []
        for _ in range(RUNS + 1):
            times = import_times_ms(ours)
            bridge_ms.append(times["datumaro_embed_bridge"])
            with_ms.append(times["site"])
            without_ms.append(import_times_ms(bare)["site"])
    medians = [statistics.median(values[1:]) for values in (bridge_ms, with_ms, without_ms)]
    print(f"median of {RUNS}, bytecode compiled, Python {sys.version.split()[0]}")
    print(f"  the bridge itself      {medians[0]:.3f} ms (limit {LIMIT_MS} ms)")
    print(f"  site with / without    {medians[1]:.3f} / {medians[2]:.3f} ms")
    return int(medians[0] > LIMIT_MS)


if __name__ == "__main__":
    sys.exit(main())
