"""datumaro-embed against its peers: images a second, from JPEG files to vectors, in turns.

    python benchmarks/throughput.py --quick|--full [--python torch=ENV/bin/python …]

Makes what it needs (JPEGs cut from real photographs, a ViT-B/32 of random weights), starts every
contestant that is installed, warms it up, and lets one after the other embed all images, round for
round. Ours writes its sealed store, with records and labels; a peer only holds vectors in memory.
All are bound to the same cores. A run that other processes disturb is repeated. Writes JSON, a
Markdown table and a bar chart.

On a shared machine, split the work: `--rounds 1 --append FILE.json` adds a round to what the file
has. Environments of peers that are missing are named with the pip command that makes them.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chart
import materials
from contestants import CONTESTANTS, ENVIRONMENTS, Contestant, missing
from machine import WORK, describe_machine, undisturbed, use_cores
from results import Results, compare_all
from tables import markdown
from workers import Worker, WorkerFailedError

REFERENCE = "transformers f32"


@dataclass(frozen=True)
class Level:
    """How much is measured."""

    n_images: int
    rounds: int
    limit_seconds: float


LEVELS = {"quick": Level(64, 3, 3.0), "full": Level(768, 3, 10.0)}


def main() -> int:
    """Measure, write, print; exit status 1 where nothing ran."""
    options = _parse()
    level = LEVELS[options.level]
    threads = options.threads
    use_cores(threads)
    pythons = {name: Path(sys.executable) for name in ENVIRONMENTS} | dict(options.python)
    models = _models(options.work, pythons["optimum"], options.model)
    images = materials.photographs_folder(options.work, level.n_images)
    empty = Results(_settings(options, level), describe_machine())
    results = empty.continued(options.append) if options.append else empty
    common = ["--images", str(images), "--work", str(options.work), "--threads", str(threads)]
    common += ["--seconds", str(level.limit_seconds)]
    with contextlib.ExitStack() as stack:
        workers = {}
        for contestant in _chosen(options, results, pythons):
            command = contestant.command(pythons[contestant.environment], models, common)
            worker = _started(contestant, command, options.work, threads, results)
            if worker is not None:
                workers[contestant.name] = stack.enter_context(worker)
        if not workers:
            return 1
        for _ in range(options.rounds or level.rounds):
            results.rounds.append(_round(workers, results, options.work / "vectors"))
            _write(results, options)
    print(markdown(results, options.title))
    return 0


def _round(workers: dict[str, Worker], results: Results, vectors: Path) -> dict[str, Any]:
    """Let each contestant run once, in another order each time: machines drift within a round."""
    vectors.mkdir(exist_ok=True)
    names = list(workers)
    order = random.Random(len(results.rounds)).sample(names, len(names))
    files = {name: f"{number}.npy" for number, name in enumerate(names)}
    runs = {}
    for name in order:
        worker, rows = workers[name], vectors / files[name]
        runs[name] = undisturbed(functools.partial(worker.run, rows))
        rate = runs[name]["n_images"] / runs[name]["seconds"]
        print(f"  {name}: {rate:.1f}/s, {runs[name]['elsewhere']:.0%} busy", file=sys.stderr)
    compared = [name for name in names if results.contestants[name]["kind"] != "limit"]
    compared.sort(key=lambda name: name != REFERENCE)
    results.agreement.update(compare_all(vectors, {name: files[name] for name in compared}))
    return runs


def _chosen(options: argparse.Namespace, results: Results, pythons: dict[str, Path]) -> Any:
    """Yield who can run; note who cannot, and why."""
    reasons = {name: missing(name, python) for name, python in pythons.items()}
    for contestant in CONTESTANTS:
        wanted = not options.only or any(part in contestant.name for part in options.only)
        if not wanted or (options.level == "quick" and not contestant.quick and not options.only):
            continue
        reason = reasons[contestant.environment]
        if reason is None:
            yield contestant
        else:
            results.skipped[contestant.name] = reason
            print(f"skipped: {contestant.name}: {reason}", file=sys.stderr)


def _started(
    contestant: Contestant, command: list[str], work: Path, threads: int, results: Results
) -> Worker | None:
    """Start a contestant; note why where it fails."""
    log = work / "logs" / f"{contestant.name}.txt"
    log.parent.mkdir(exist_ok=True)
    try:
        worker = Worker(command, log, threads=threads)
    except WorkerFailedError as error:
        results.skipped[contestant.name] = str(error).splitlines()[-1]
        print(f"failed: {contestant.name}:\n{error}", file=sys.stderr)
        return None
    results.skipped.pop(contestant.name, None)
    known = {"kind": contestant.kind, "script": contestant.script, "flags": contestant.flags}
    facts = {key: worker.opening[key] for key in ("versions", "facts")}
    results.contestants[contestant.name] = {**known, "flags": list(contestant.flags), **facts}
    return worker


def _models(work: Path, torch_python: Path, model: str | None) -> dict[str, Path]:
    if model is not None:
        return {"checkpoint": Path(model), "fp32": Path(model), "int8": Path(model)}
    try:
        return {
            "checkpoint": materials.vit_b_32_checkpoint(work, torch_python),
            "fp32": materials.vit_b_32_model(work, "fp32", torch_python),
            "int8": materials.vit_b_32_model(work, "int8", torch_python),
        }
    except subprocess.CalledProcessError as error:
        raise SystemExit(
            f"{torch_python} could not make the model (above). Make an environment that can: "
            "python3 -m venv ENV && ENV/bin/pip install '.[export]', then --python "
            "optimum=ENV/bin/python; or measure a model directory of yours with --model."
        ) from error


def _settings(options: argparse.Namespace, level: Level) -> dict[str, Any]:
    width, height = materials.SIZE_PX
    return {
        "level": options.level,
        "threads": options.threads,
        "n_images": level.n_images,
        "image_px": f"{width} × {height}",
        "model": options.model or "ViT-B/32 of random weights",
    }


def _write(results: Results, options: argparse.Namespace) -> None:
    target = options.append or options.out / "throughput.json"
    results.save(target)
    target.with_suffix(".md").write_text(markdown(results, options.title), encoding="utf-8")
    chart.draw(results, target.with_suffix(".svg"))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    level = parser.add_mutually_exclusive_group(required=True)
    level.add_argument("--quick", dest="level", action="store_const", const="quick")
    level.add_argument("--full", dest="level", action="store_const", const="full")
    parser.add_argument("--rounds", type=int, metavar="N", help="instead of three")
    parser.add_argument("--append", type=Path, metavar="FILE.json", help="add rounds to a result")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks"), metavar="FOLDER")
    parser.add_argument("--work", type=Path, default=WORK, metavar="FOLDER")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), metavar="N")
    parser.add_argument(
        "--only", action="append", metavar="TEXT", help="contestants with this in their name"
    )
    parser.add_argument(
        "--python",
        action="append",
        type=_environment,
        default=[],
        metavar="NAME=PATH",
        help=f"an environment's Python; names: {', '.join(ENVIRONMENTS)}",
    )
    parser.add_argument(
        "--model", help="a model directory for ours and the limit, instead of ViT-B/32"
    )
    parser.add_argument("--title", default=f"Throughput, {time.strftime('%Y-%m-%d')}")
    options = parser.parse_args()
    options.work = options.work.absolute()
    return options


def _environment(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if name not in ENVIRONMENTS or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH of {', '.join(ENVIRONMENTS)}")
    return name, Path(path)


if __name__ == "__main__":
    sys.exit(main())
