#!/usr/bin/env python3
"""How near the whole pipeline comes to OpenVINO's benchmark_app, and where the rest goes.

    python benchmarks/pipeline_speed.py [--work FOLDER] [--rounds 3] [--runs f32,bf16,int8,…]
                                        [--boxes 7]
    python benchmarks/pipeline_speed.py --description --runs bf16 --rounds 7

Each round embeds the same folder of 640 x 480 JPEGs, from files to a sealed store, and runs
benchmark_app on the same model (uint8 pixels in, normalisation inside), in turns, so that what else
the machine does hits both alike. Only ratios count; medians of the rounds are printed.

benchmark_app runs two graphs: the model as it was made, and what our engine makes of it, which
computes only the token that is pooled and so is faster. The first is what a user would have
without us. The second says what the pipeline loses, and gives the roof: what is left when nothing
at all is lost, as decoding one image takes some milliseconds of a core that inference cannot have.
The arithmetic is printed. With `--boxes` each image has so many boxes and `--objects` is on; a
rate is then vectors a second, of images and crops.

With `--description` benchmark_app is not run. Each round embeds the folder as it is and with a
constant in place of each image's signature and statistics. Printed are the loss in images a second,
the processor time, and what the threads' own clocks say: the figure that noise changes least.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import openvino as ov
from datumaro.components.annotation import Bbox
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image as ImageMedia
from PIL import Image

from contestants import BENCHMARK_APP_BATCH
from datumaro_embed.adapter import SourceDataset
from datumaro_embed.encoders import BATCH_SIZE, ClipEncoder, resizing_library
from datumaro_embed.encoders.preprocess import preprocess
from datumaro_embed.encoders.runtime import prepare_graph
from datumaro_embed.images import open_image
from datumaro_embed.models import ImageSpec, load_manifest
from datumaro_embed.parallel import usable_processors
from datumaro_embed.pipeline import EmbedOptions, embed_source, preparing
from datumaro_embed.signatures import SIGNATURE_BYTES, STATISTICS, describe
from machine import WORK, write_result
from materials import photographs_folder, vit_b_32_model

IMAGES_TIMES = {"f32": 1, "bf16": 2, "int8": 4}  # about the same time for each
RUNS = ("f32", "bf16", "int8", "bf16-fast", "int8-fast")


class Cost(NamedTuple):
    """Of one image: read, hash and header; decode; resize."""

    opening: float
    decoding: float
    resizing: float


@dataclass(frozen=True)
class Run:
    """A precision, and how images are decoded."""

    name: str

    @property
    def precision(self) -> str:
        return self.name.partition("-")[0]

    @property
    def arithmetic(self) -> str:
        """Of what an INT8 model leaves in floating point, the default: bf16 where there is any."""
        return "f32" if self.precision == "f32" else "bf16"

    @property
    def decode(self) -> Literal["exact", "fast"]:
        return "fast" if self.name.endswith("-fast") else "exact"

    def model(self, work: Path) -> Path:
        return vit_b_32_model(work, "int8" if self.precision == "int8" else "fp32")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--images", type=int, default=384, help="in f32; bf16 twice, INT8 4 times")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="of one benchmark_app run")
    parser.add_argument("--runs", default=",".join(RUNS), help="of " + ", ".join(RUNS))
    parser.add_argument("--description", action="store_true", help="measure only what it costs")
    parser.add_argument("--boxes", type=int, default=0, metavar="N", help="objects of an image")
    parser.add_argument("--batch-size", type=int, default=None)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--streams", type=int, default=None)
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    chosen = parser.parse_args()
    runs = [Run(name) for name in chosen.runs.split(",")]
    folder = photographs_folder(chosen.work, 4 * chosen.images)
    cores = usable_processors()
    name = ov.Core().get_property("CPU", "FULL_DEVICE_NAME").strip()
    print(f"{name}, {cores} cores, OpenVINO {ov.__version__}, {chosen.images} images and more")
    if chosen.description:
        return report_description(folder, runs, chosen)
    costs: dict[str, list[Cost]] = {run.decode: [] for run in runs}
    ours: dict[str, list[float]] = {run.name: [] for run in runs}
    as_made: dict[str, list[float]] = {run.precision: [] for run in runs}
    limit: dict[str, list[float]] = {run.precision: [] for run in runs}
    encoders = {run.precision: load(run, chosen) for run in runs}
    for _ in range(chosen.rounds):
        for decode, found in costs.items():
            found.append(decode_cost(folder, decode, cores))
        for precision in limit:
            for rates, whole in ((as_made, True), (limit, False)):
                graph = limit_graph(chosen.work, Run(precision), whole=whole)
                rates[precision].append(benchmark_app(graph, Run(precision), chosen.seconds))
            for run in runs:
                if run.precision == precision:
                    rate = pipeline_rate(folder, run, encoders[precision], chosen)
                    ours[run.name].append(rate)
    decode_ms = {decode: report_decoding(decode, found) for decode, found in costs.items()}
    facts = {}
    for run in runs:
        measured = ours[run.name], as_made[run.precision], limit[run.precision]
        facts[run.name] = report(run, *measured, decode_ms[run.decode], cores)
    if chosen.out is not None:
        write_result(chosen.out, resizing=resizing_library(), runs=facts)
    return 0


def load(run: Run, chosen: argparse.Namespace) -> ClipEncoder:
    """Load the encoder of a run."""
    return ClipEncoder.load(
        run.model(chosen.work),
        precision=run.arithmetic,
        batch_size=chosen.batch_size or BATCH_SIZE,
        streams=chosen.streams,
    )


def pipeline_rate(
    folder: Path, run: Run, encoder: ClipEncoder, chosen: argparse.Namespace
) -> float:
    """Embed the folder into a sealed store, the model loaded already: images a second."""
    n_images = chosen.images * IMAGES_TIMES[run.precision] // (1 + chosen.boxes)
    source = SourceDataset(with_boxes(folder, n_images, chosen.boxes))
    options = EmbedOptions(
        decode=run.decode, workers=chosen.workers, objects=True if chosen.boxes else None
    )
    with tempfile.TemporaryDirectory(prefix="pipeline-") as scratch:
        started = time.perf_counter()
        store = Path(scratch) / "e.h5"
        summary = embed_source(source, store, options, encoder=encoder, progress=False)
        seconds = time.perf_counter() - started
    n_crops = 0 if summary.objects is None else summary.objects.n_computed
    whole = (summary.n_items, n_crops) == (n_images, n_images * chosen.boxes)
    if summary.n_failed or not whole:
        raise SystemExit(f"Not every image and box was embedded: {summary.lines()}")
    return float(summary.n_items * (1 + chosen.boxes) / seconds)


def report_description(folder: Path, runs: list[Run], chosen: argparse.Namespace) -> int:
    """Print what signatures and statistics cost in each run."""
    for run in runs:
        _report_description(folder, run, load(run, chosen), chosen)
    return 0


def _report_description(
    folder: Path, run: Run, encoder: ClipEncoder, chosen: argparse.Namespace
) -> None:
    """Embed with and without them, in turns."""
    n_images = chosen.images * IMAGES_TIMES[run.precision] // (1 + chosen.boxes)
    constant = np.zeros(SIGNATURE_BYTES, np.uint8), np.zeros(len(STATISTICS), np.float32)
    within: list[float] = []

    def timed(image: Image.Image) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        started = time.thread_time()
        found = describe(image)
        within.append(time.thread_time() - started)
        return found

    rates: tuple[list[float], list[float]] = [], []
    spent: tuple[list[float], list[float]] = [], []
    pipeline_rate(folder, run, encoder, chosen)  # the first time only warms up
    for _ in range(chosen.rounds):
        for way, function in enumerate((timed, lambda _image: constant)):
            with patch.object(preparing, "describe", function):
                started = time.process_time()
                rates[way].append(pipeline_rate(folder, run, encoder, chosen))
                spent[way].append((time.process_time() - started) * 1e3 / n_images)
    own = float(np.mean(within)) * 1e3
    print(
        f"{run.name}: {_list(rates[0])} images/s with the description, {_list(rates[1])} without: "
        f"{1 - _ratio(*rates):.1%} fewer\n"
        f"  processor ms an image: {_list(spent[0], 2)} with it, {_list(spent[1], 2)} without: "
        f"{_ratio(*spent) - 1:.1%} more\n"
        f"  of these {own:.2f} ms are its own, "
        f"{own / (statistics.median(spent[0]) - own):.1%} of the rest"
    )


def with_boxes(folder: Path, n_images: int, n_boxes: int) -> Dataset:
    """Give each of the first images some boxes of 80 to 320 pixels, at random."""
    rng = np.random.default_rng(0)
    items = []
    for path in sorted(folder.iterdir())[:n_images]:
        sides = rng.integers(80, 321, (n_boxes, 2))
        corners = rng.random((n_boxes, 2)) * ((640, 480) - sides)
        boxes = [
            Bbox(*corner, *side, label=0, id=k + 1, group=k + 1)
            for k, (corner, side) in enumerate(zip(corners.round(), sides, strict=True))
        ]
        media = ImageMedia.from_file(str(path))
        items.append(DatasetItem(path.stem, media=media, annotations=boxes))
    return Dataset.from_iterable(items, categories=["thing"] if n_boxes else [])


def limit_graph(work: Path, run: Run, *, whole: bool = False) -> Path:
    """Save the graph that our engine compiles: uint8 NHWC pixels in, normalisation inside.

    With `whole` the model computes every token, as it was made.
    """
    kind = "int8" if run.precision == "int8" else "fp32"
    tokens = "all" if whole else "pooled"
    path = work / f"limit-{kind}-b{BENCHMARK_APP_BATCH}-{tokens}.xml"
    if not path.exists():
        model_dir = run.model(work)
        image = load_manifest(model_dir, verify_hashes=False).image
        shapes = {"pixel_values": (BENCHMARK_APP_BATCH, image.size_px, image.size_px, 3)}
        graph = ov.Core().read_model(model_dir / "image_encoder.xml")
        graph = prepare_graph(graph, shapes, image, whole=whole)
        ov.save_model(graph, path, compress_to_fp16=False)
    return path


def benchmark_app(graph: Path, run: Run, seconds: float) -> float:
    """Run OpenVINO's own benchmark: images a second."""
    program = Path(sys.executable).parent / "benchmark_app"
    command = [str(program), "-m", str(graph), "-d", "CPU", "-hint", "throughput"]
    command += ["-infer_precision", run.arithmetic, "-t", str(int(seconds))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = re.search(r"Throughput:\s+([\d.]+) FPS", done.stdout)
    batch = re.search(r"Model batch size:\s+(\d+)", done.stdout)
    if not found or not batch or int(batch[1]) != BENCHMARK_APP_BATCH:
        raise SystemExit(f"benchmark_app said something else:\n{done.stdout}")
    return float(found[1])


def decode_cost(folder: Path, decode: str, cores: int) -> Cost:
    """Milliseconds of one core an image, with all cores at it as in the other measurements."""
    resizing_library()  # loads it, outside the time
    model = ClipPixels()
    least = model.side_px if decode == "fast" else 0

    def one(path: Path) -> list[float]:
        marks = [time.thread_time()]
        opened = open_image(path)
        marks.append(time.thread_time())
        image = opened.decode(least_side_px=least)
        marks.append(time.thread_time())
        model.preprocess(image)
        marks.append(time.thread_time())
        return [(b - a) * 1e3 for a, b in pairwise(marks)]

    for _ in range(2):  # the first time only warms up: memory is given back and taken anew
        with ThreadPoolExecutor(cores) as pool:
            spent = list(pool.map(one, sorted(folder.iterdir())[:400]))
    return Cost(*np.mean(spent, axis=0).tolist())


def report_decoding(decode: str, found: list[Cost]) -> float:
    """Print the medians, and return their sum."""
    cost = Cost(*np.median(found, axis=0).tolist())
    print(
        f"{decode} decoding, core-ms per image: read, hash and header {cost.opening:.2f}, "
        f"decode {cost.decoding:.2f}, resize {cost.resizing:.2f}"
    )
    return sum(cost)


class ClipPixels:
    """CLIP's preprocessing at 224 px, without a model."""

    def __init__(self) -> None:
        self.side_px = 224
        spec = ImageSpec(224, "shortest_side", 224, "bicubic", 1 / 255, (0.5,) * 3, (0.5,) * 3)
        self.preprocess: Callable[..., object] = lambda image: preprocess(image, spec)


def report(
    run: Run,
    ours: list[float],
    as_made: list[float],
    limit: list[float],
    decode_ms: float,
    cores: int,
) -> dict[str, object]:
    """Print the ratios and the arithmetic of the roof, and return them."""
    most = statistics.median(limit)
    of_model, ratio = _ratio(ours, as_made), _ratio(ours, limit)
    infer_ms = cores * 1e3 / most
    roof = infer_ms / (decode_ms + infer_ms)
    print(
        f"{run.name}: ours {_list(ours)} images/s\n"
        f"  benchmark_app, original graph: {_list(as_made)}; ours is {of_model:.3f} of it\n"
        f"  benchmark_app, pooled graph:   {_list(limit)}; ours is {ratio:.3f} of it\n"
        f"  roof: {cores} cores / ({decode_ms:.2f} ms decoding + {infer_ms:.2f} ms inference) = "
        f"{cores * 1e3 / (decode_ms + infer_ms):.1f}/s = {roof:.3f} of the second; "
        f"ours is {ratio / roof:.3f} of the roof"
    )
    return {
        "images_per_s": ours,
        "benchmark_app_model_as_made": as_made,
        "benchmark_app_graph_we_run": limit,
        "ratio_to_model_as_made": of_model,
        "ratio_to_graph_we_run": ratio,
        "roof": roof,
        "decode_core_ms": decode_ms,
        "infer_core_ms": infer_ms,
    }


def _ratio(ours: list[float], others: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, others, strict=True))


def _list(rates: list[float], digits: int = 1) -> str:
    return " ".join(f"{rate:.{digits}f}" for rate in rates)


if __name__ == "__main__":
    raise SystemExit(main())
