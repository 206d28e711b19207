"""What a million and a hundred million images take, reckoned from a throughput result.

    python benchmarks/estimate.py docs/benchmarks/2026-11-26/throughput.json

Arithmetic only: the measured core-seconds of an image, divided by the cores. It holds while cores
are like the measured ones, the disk delivers what the table says, and shards do not wait for each
other (`scaling.py` measures what is lost between cores and between shards on one machine).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from results import Results

IMAGES = {"1 million": 1_000_000, "100 million": 100_000_000}
MACHINES = {"2 cores": 2, "16 cores": 16, "64 cores": 64, "32 machines × 64 cores": 2048}


def core_seconds(results: Results, name: str) -> float:
    """Of one image: the measured cores divided by the median rate."""
    return int(results.settings["threads"]) / results.median_rate(name)


def duration(seconds: float) -> str:
    """Write a time as people say it."""
    for unit, length in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def table(results: Results, *, image_kb: float) -> Iterator[str]:
    """Yield the lines of a Markdown table, one for each of ours."""
    head = " | ".join(f"{count}, {machine}" for count in IMAGES for machine in MACHINES)
    yield f"| | core-ms per image | {head} | MB/s read on 64 cores |"
    yield "| --- " + "| ---: " * (2 + len(IMAGES) * len(MACHINES)) + "|"
    for name in results.names():
        if results.contestants[name]["kind"] == "limit":
            continue
        spent = core_seconds(results, name)
        times = [
            duration(spent * n / cores) for n in IMAGES.values() for cores in MACHINES.values()
        ]
        reading = 64 / spent * image_kb / 1024
        yield f"| {name} | {1000 * spent:.1f} | {' | '.join(times)} | {reading:.0f} |"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", type=Path)
    parser.add_argument("--image-kb", type=float, default=90.0, help="mean size of a file")
    options = parser.parse_args()
    print("\n".join(table(Results.load(options.result), image_kb=options.image_kb)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
