"""Speed of the catalogue's image encoders on this machine, in each precision, beside CLIP B/32.

    python benchmarks/precision.py [--int8] [--models FOLDER] [--make] [--out FILE.json] [NAME …]

The encoders are those of architectures.py: the true ones, with random weights. Making them needs
the extra `export`, and with `--int8` also `quantise`. They are kept in a folder (15 GB for all), so
`--make` can make them while the machine is busy; what is there is measured without either extra.

The engines of a model and that of CLIP B/32 in f32 run in turns, so that what else the machine does
hits all alike; a ratio is the median of its values in the turns. `--batch-size` 4 or less shortens
the turns of large encoders, and changes the ratios little. Rows of the table in
docs/models.md are printed as they are measured, and the result file is written after each model.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from architectures import ARCHITECTURES, write_graph
from datumaro_embed.encoders.engine import Engine
from datumaro_embed.encoders.runtime import Runtime, openvino_version
from datumaro_embed.models import ImageSpec, openvino_core
from datumaro_embed.quantising import quantise_image_encoder
from machine import WORK, describe_machine, undisturbed, write_result

BATCH_SIZE = 16
N_CALIBRATING = 4  # speed does not depend on the images, only on the number of steps
BESIDE = next(iter(ARCHITECTURES))  # the names of the encoder that all others are compared with
Names = tuple[str, ...]
Rates = dict[str, list[float]]


def make(folder: Path, names: Names, int8: bool) -> None:
    """Write an encoder, and its INT8 form, unless they are there."""
    architecture, graphs = ARCHITECTURES[names], _graphs(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not graphs["f32"].is_file():
        write_graph(architecture, folder / "unfinished.xml")
        _publish(folder / "unfinished.xml", graphs["f32"])
    if int8 and not graphs["int8"].is_file():
        images = list(_pixels(N_CALIBRATING, architecture.side))
        quantise_image_encoder(graphs["f32"], folder / "unfinished.xml", images, _spec(names))
        _publish(folder / "unfinished.xml", graphs["int8"])


def engines(
    folder: Path, names: Names, batch_size: int, precisions: Sequence[str]
) -> dict[str, Engine]:
    """Compile an encoder in several precisions."""
    graphs, side = _graphs(folder), ARCHITECTURES[names].side
    shapes = {"pixel_values": (batch_size, side, side, 3)}
    output = openvino_core().read_model(graphs["f32"]).output(0).get_partial_shape()
    return {
        precision: Engine(
            graphs[precision],
            Runtime("CPU", "auto" if precision == "int8" else precision, None),
            shapes,
            dim=output[1].get_length(),
            image=_spec(names),
        )
        for precision in precisions
    }


def measure(
    measured: dict[str, Engine], sides: dict[str, int], turns: int, seconds: float
) -> tuple[Rates, float]:
    """Run every engine in each turn; return images per second, and the others' largest share."""
    rates: Rates = {label: [] for label in measured}
    elsewhere = 0.0
    for label, engine in measured.items():  # the first batch runs on every stream
        list(engine.run([{"pixel_values": _pixels(engine.batch_size, sides[label])}]))
    for _ in range(turns):
        for label, engine in measured.items():
            found = undisturbed(functools.partial(run_for, engine, sides[label], seconds))
            rates[label].append(found["n_images"] / found["seconds"])
            elsewhere = max(elsewhere, found["elsewhere"])
    return rates, elsewhere


def run_for(engine: Engine, side: int, seconds: float) -> dict[str, Any]:
    """Run batches for at least some seconds, and at least one on every stream."""
    batches = [{"pixel_values": _pixels(engine.batch_size, side)}] * engine.n_streams
    n_images, started, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - started < seconds:
        n_images += sum(len(rows) for rows in engine.run(batches))
    return {
        "n_images": n_images,
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu,
    }


def row(names: Names, rates: Rates) -> str:
    """Return a row of the table in docs/models.md."""
    speed = f"{_ratio(rates, 'f32', 'beside'):.2g}"
    if names == BESIDE:
        speed = f"1 ({statistics.median(rates['f32']):.0f} images/s)"
    others = [f"{_ratio(rates, label, 'f32'):.2f}" for label in ("bf16", "int8") if label in rates]
    return f"| {', '.join(f'`{name}`' for name in names)} | {speed} | {' | '.join(others)} |"


def main() -> int:
    """Make what is missing, measure, print rows, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    known = [name for names in ARCHITECTURES for name in names]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}")
    parser.add_argument("--int8", action="store_true", help="measure INT8 too")
    parser.add_argument("--models", type=Path, metavar="FOLDER", default=WORK / "architectures")
    parser.add_argument("--make", action="store_true", help="only make what is missing in FOLDER")
    parser.add_argument("--seconds", type=float, default=2.0, help="of an engine in a turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZE, help="not of CLIP B/32")
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    options = parser.parse_args()
    if unknown := set(options.names) - set(known):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    wanted = [
        names for names in ARCHITECTURES if not options.names or set(options.names) & set(names)
    ]
    for names in dict.fromkeys([BESIDE, *wanted]):
        if _is_missing(options.models / names[0], options.int8):
            # A process of its own gives back its memory, of which torch and NNCF take 7 GB.
            with ProcessPoolExecutor(1, get_context("spawn")) as process:
                process.submit(make, options.models / names[0], names, options.int8).result()
    return 0 if options.make else _measure_all(wanted, options)


def _measure_all(wanted: Sequence[Names], options: argparse.Namespace) -> int:
    print(describe_machine(), flush=True)
    print("| name | relative speed, f32 | bf16 : f32 | INT8 : f32 |\n|---|---|---|---|", flush=True)
    beside = engines(options.models / BESIDE[0], BESIDE, BATCH_SIZE, ["f32"])["f32"]
    precisions = ["f32", "bf16", *(["int8"] if options.int8 else [])]
    results = []
    for names in wanted:
        own = engines(options.models / names[0], names, options.batch_size, precisions)
        sides = dict.fromkeys(own, ARCHITECTURES[names].side)
        sides["beside"] = ARCHITECTURES[BESIDE].side
        compared = {"beside": beside, **own}
        rates, elsewhere = measure(compared, sides, options.turns, options.seconds)
        print(row(names, rates), flush=True)
        facts = {"names": names, "batch_size": options.batch_size, "elsewhere": elsewhere}
        results.append({**facts, "images_a_second": rates})
        if options.out is not None:
            write_result(options.out, openvino=openvino_version(), encoders=results)
        del own, compared
    return 0


def _graphs(folder: Path) -> dict[str, Path]:
    full = folder / "image_encoder.xml"
    return {"f32": full, "bf16": full, "int8": folder / "int8.xml"}


def _is_missing(folder: Path, int8: bool) -> bool:
    graphs = _graphs(folder)
    return not graphs["f32"].is_file() or (int8 and not graphs["int8"].is_file())


def _spec(names: Names) -> ImageSpec:
    side = ARCHITECTURES[names].side
    return ImageSpec(side, "stretch", side, "bicubic", 1 / 255, (0.5,) * 3, (0.5,) * 3)


def _publish(unfinished: Path, path: Path) -> None:
    """Rename a graph, its weights first: a graph that is there is complete."""
    for suffix in (".bin", ".xml"):
        unfinished.with_suffix(suffix).replace(path.with_suffix(suffix))


@functools.cache
def _pixels(n_images: int, side: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    rng = np.random.default_rng(2)
    return rng.integers(0, 256, (n_images, side, side, 3), dtype=np.uint8)


def _ratio(rates: Rates, label: str, other: str) -> float:
    pairs = zip(rates[label], rates[other], strict=True)
    return statistics.median(a / b for a, b in pairs)


if __name__ == "__main__":
    sys.exit(main())
