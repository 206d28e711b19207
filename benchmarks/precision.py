"""Speed of the catalogue's image encoders on this machine, in each precision, beside CLIP B/32.

    python benchmarks/precision.py [--int8] [--out FILE.json] [NAME …]

The encoders are those of architectures.py: the true ones, with random weights. This needs the
extra `export`, and with `--int8` also `quantise`. The engines of a model and that of CLIP B/32 in
f32 run in turns, so that what else the machine does hits all alike; a ratio is the median of its
values in the turns. Rows of the table in docs/models.md are printed as they are measured, and the
result file is written after each model.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from architectures import ARCHITECTURES, Architecture, write_graph
from datumaro_embed.encoders.engine import Engine
from datumaro_embed.encoders.runtime import Runtime, openvino_version
from datumaro_embed.models import ImageSpec
from datumaro_embed.quantising import quantise_image_encoder
from machine import undisturbed, write_result

BATCH_SIZE = 16
N_CALIBRATING = 4  # speed does not depend on the images, only on the number of steps
BESIDE = next(iter(ARCHITECTURES))  # the names of the encoder that all others are compared with
Rates = dict[str, list[float]]


def engines(
    architecture: Architecture, folder: Path, *, bf16: bool = True, int8: bool = False
) -> dict[str, Engine]:
    """Make an encoder, and compile it in every precision."""
    side = architecture.side
    spec = ImageSpec(side, "stretch", side, "bicubic", 1 / 255, (0.5,) * 3, (0.5,) * 3)
    path, small = folder / "image_encoder.xml", folder / "int8.xml"
    dim = write_graph(architecture, path)
    kinds = {"f32": (path, "f32")} | ({"bf16": (path, "bf16")} if bf16 else {})
    if int8:
        quantise_image_encoder(path, small, list(_pixels(N_CALIBRATING, side)), spec)
        kinds["int8"] = (small, "auto")  # the rest as by default
    shapes = {"pixel_values": (BATCH_SIZE, side, side, 3)}
    return {
        label: Engine(file, Runtime("CPU", kind, None), shapes, dim=dim, image=spec)
        for label, (file, kind) in kinds.items()
    }


def measure(
    measured: dict[str, Engine], sides: dict[str, int], turns: int, seconds: float
) -> tuple[Rates, float]:
    """Run every engine in each turn; return images per second, and the others' largest share."""
    rates: Rates = {label: [] for label in measured}
    elsewhere = 0.0
    for label, engine in measured.items():  # the first batch runs on every stream
        list(engine.run([{"pixel_values": _pixels(BATCH_SIZE, sides[label])}]))
    for _ in range(turns):
        for label, engine in measured.items():
            found = undisturbed(functools.partial(run_for, engine, sides[label], seconds))
            rates[label].append(found["n_images"] / found["seconds"])
            elsewhere = max(elsewhere, found["elsewhere"])
    return rates, elsewhere


def run_for(engine: Engine, side: int, seconds: float) -> dict[str, Any]:
    """Run batches for at least some seconds, and at least one on every request."""
    batches = [{"pixel_values": _pixels(BATCH_SIZE, side)}] * engine.n_requests
    n_images, started, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - started < seconds:
        n_images += sum(len(rows) for rows in engine.run(batches))
    return {
        "n_images": n_images,
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu,
    }


def row(names: tuple[str, ...], rates: Rates) -> str:
    """Return a row of the table in docs/models.md."""
    speed = f"{_ratio(rates, 'f32', 'beside'):.2g}"
    if names == BESIDE:
        speed = f"1 ({statistics.median(rates['f32']):.0f} images/s)"
    others = [f"{_ratio(rates, label, 'f32'):.2f}" for label in ("bf16", "int8") if label in rates]
    return f"| {', '.join(f'`{name}`' for name in names)} | {speed} | {' | '.join(others)} |"


def main() -> int:
    """Measure, print rows, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    known = [name for names in ARCHITECTURES for name in names]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}")
    parser.add_argument("--int8", action="store_true", help="measure INT8 too")
    parser.add_argument("--seconds", type=float, default=5.0, help="of an engine in a turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    options = parser.parse_args()
    if unknown := set(options.names) - set(known):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    print("| name | relative speed, f32 | bf16 : f32 | INT8 : f32 |\n|---|---|---|---|", flush=True)
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        beside = engines(ARCHITECTURES[BESIDE], Path(scratch), bf16=False)["f32"]
        for names, architecture in ARCHITECTURES.items():
            if options.names and not set(options.names) & set(names):
                continue
            with tempfile.TemporaryDirectory() as folder:
                own = engines(architecture, Path(folder), int8=options.int8)
            sides = dict.fromkeys(own, architecture.side)
            sides["beside"] = ARCHITECTURES[BESIDE].side
            compared = {"beside": beside, **own}
            rates, elsewhere = measure(compared, sides, options.turns, options.seconds)
            print(row(names, rates), flush=True)
            results.append({"names": names, "images_a_second": rates, "elsewhere": elsewhere})
            if options.out is not None:
                facts = {"openvino": openvino_version(), "batch_size": BATCH_SIZE}
                write_result(options.out, **facts, encoders=results)
            del own, compared
    return 0


@functools.cache
def _pixels(n_images: int, side: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    rng = np.random.default_rng(2)
    return rng.integers(0, 256, (n_images, side, side, 3), dtype=np.uint8)


def _ratio(rates: Rates, label: str, other: str) -> float:
    pairs = zip(rates[label], rates[other], strict=True)
    return statistics.median(a / b for a, b in pairs)


if __name__ == "__main__":
    sys.exit(main())
