"""How the pipeline grows with cores, and what is lost when shards share a machine.

    python benchmarks/scaling.py [--work FOLDER] [--rounds 3] [--images 256]

Cores: one process bound to 1, 2, 4, … cores (as `taskset` does). Shards: that many processes with
`--shard I/N`, each bound to its share of all cores, all at the same time; their rate is that of the
last to finish. Every process is warm before the clock starts, and the lines take turns.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

import materials
from contestants import PEERS
from machine import WORK, undisturbed, write_result
from workers import Worker

KINDS = {
    "f32": ("fp32", ("--precision", "f32")),
    "default": ("fp32", ("--precision", "auto")),
    "int8": ("int8", ("--precision", "auto")),
}


@dataclass(frozen=True)
class Line:
    """Some processes that share the images."""

    name: str
    model: str
    flags: tuple[str, ...]
    cores_of_each: tuple[tuple[int, ...], ...]

    @property
    def n_cores(self) -> int:
        return sum(len(cores) for cores in self.cores_of_each)


def lines(precision: str, cores: list[int]) -> list[Line]:
    """One process on 1, 2, 4, … cores; then 2, 4, … shards on all of them."""
    model, flags = KINDS[precision]
    counts = [2**i for i in range(len(cores).bit_length()) if 2**i < len(cores)] + [len(cores)]
    whole = [Line(_cores(n), model, flags, (tuple(cores[:n]),)) for n in counts]
    shared = [Line(f"{n} shards", model, flags, _shares(cores, n)) for n in counts if n > 1]
    return whole + shared


def start(line: Line, options: argparse.Namespace, images: Path) -> list[Worker]:
    """Start a line's processes, one after the other."""
    model = materials.vit_b_32_model(options.work, line.model)
    n_shards = len(line.cores_of_each)
    workers = []
    for number, cores in enumerate(line.cores_of_each, start=1):
        command = [sys.executable, str(PEERS / "ours.py"), "--model", str(model), *line.flags]
        command += ["--images", str(images), "--work", str(options.work)]
        command += ["--threads", str(len(cores))]
        if n_shards > 1:
            command += ["--shard", f"{number}/{n_shards}"]
        log = options.work / f"scaling-{number}.txt"
        workers.append(Worker(command, log, threads=len(cores), cores=cores))
    return workers


def run_all(workers: list[Worker]) -> dict[str, float]:
    """Let a line's processes run at the same time; the last to finish counts."""
    for worker in workers:
        worker.ask()
    answers = [worker.answer() for worker in workers]
    return {
        "n_images": sum(answer["n_images"] for answer in answers),
        "seconds": max(answer["seconds"] for answer in answers),
        "cpu_seconds": sum(answer["cpu_seconds"] for answer in answers),
    }


def main() -> int:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--precisions", default=",".join(KINDS))
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    options = parser.parse_args()
    options.work = options.work.absolute()
    images = materials.photographs_folder(options.work, options.images)
    cores = sorted(os.sched_getaffinity(0))
    print("| | images/s | ÷ one core | for each core |\n| --- | ---: | ---: | ---: |")
    rates = {}
    for precision in options.precisions.split(","):
        found = lines(precision, cores)
        rates[precision] = measure(found, options, images)
        one = rates[precision][_cores(1)]
        for line in found:
            taken = rates[precision][line.name]
            ratio = statistics.median(a / b for a, b in zip(taken, one, strict=True))
            label = f"{precision}, {line.name}"
            cells = f"{statistics.median(taken):.1f} | {ratio:.2f} | {ratio / line.n_cores:.2f}"
            print(f"| {label} | {cells} |", flush=True)
    if options.out is not None:
        write_result(options.out, images_a_second=rates)
    return 0


def measure(found: list[Line], options: argparse.Namespace, images: Path) -> dict[str, list[float]]:
    """Return the rates of every line in every round."""
    rates: dict[str, list[float]] = {line.name: [] for line in found}
    disturbed = []
    with contextlib.ExitStack() as stack:
        started = {line.name: start(line, options, images) for line in found}
        for worker in (worker for workers in started.values() for worker in workers):
            stack.enter_context(worker)
        for _ in range(options.rounds):
            for name, workers in started.items():
                run = undisturbed(functools.partial(run_all, workers))
                rates[name].append(run["n_images"] / run["seconds"])
                disturbed.append(run["elsewhere"])
    print(f"(others took {statistics.mean(disturbed):.1%} of all cores)", file=sys.stderr)
    return rates


def _cores(n: int) -> str:
    return f"{n} core{'s' * (n > 1)}"


def _shares(cores: list[int], n: int) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(cores[i::n]) for i in range(n))


if __name__ == "__main__":
    sys.exit(main())
