"""Where the time of one image goes: core-milliseconds of each stage of the pipeline.

    python benchmarks/stages.py [--work FOLDER] [--rounds 3]

Reading, decoding and resizing are timed one by one, with all cores at it (as `pipeline_speed.py`
does). The rest of the pipeline (records, queues, Python, storing) is what a run with a null model
takes beyond reading and decoding: that model resizes nothing and gives one vector for all.
Inference is benchmark_app's.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import materials
import pipeline_speed
from datumaro_embed.adapter import import_dataset
from datumaro_embed.parallel import usable_processors
from datumaro_embed.pipeline import EmbedOptions, embed_source
from machine import WORK, write_result
from overhead import NullEncoder

PRECISIONS = ("f32", "bf16", "int8")


def overhead_ms(root: Path, rounds: int) -> tuple[float, float]:
    """Core-ms an image of a whole run with the null model, and of importing the dataset."""
    runs, imports = [], []
    for _ in range(rounds + 1):
        started = time.process_time()
        source = import_dataset(f"{root}:coco").source
        read = time.process_time()
        with tempfile.TemporaryDirectory() as scratch:
            options = EmbedOptions()
            store = Path(scratch) / "null.h5"
            embed_source(source, store, options, encoder=NullEncoder(), progress=False)
        runs.append(1000 * (time.process_time() - read) / len(source))
        imports.append(1000 * (read - started) / len(source))
    return statistics.median(runs[1:]), statistics.median(imports[1:])


def inference_ms(work: Path, precision: str, seconds: float) -> float:
    """Core-ms an image in benchmark_app."""
    run = pipeline_speed.Run(precision)
    rate = pipeline_speed.benchmark_app(pipeline_speed.limit_graph(work, run), run, seconds)
    return 1000 * usable_processors() / rate


def main() -> int:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each benchmark_app run")
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    options = parser.parse_args()
    folder = materials.photographs_folder(options.work, options.images)
    stages: dict[str, float] = {}
    for decode in ("exact", "fast"):
        read, decoded, resized = pipeline_speed.decode_cost(folder, decode, usable_processors())
        stages |= {
            "read, hash, header": read,
            f"decode, {decode}": decoded,
            f"resize, after {decode} decoding": resized,
        }
    total, imported = overhead_ms(
        materials.coco_dataset(options.work, options.images), options.rounds
    )
    stages["import (Datumaro)"] = imported
    stages["records, queues, storing"] = (
        total - stages["read, hash, header"] - stages["decode, exact"]
    )
    for precision in PRECISIONS:
        stages[f"infer, {precision}"] = inference_ms(options.work, precision, options.seconds)
    print("| stage | core-ms per image |\n| --- | ---: |")
    for name, spent in stages.items():
        print(f"| {name} | {spent:.2f} |")
    if options.out is not None:
        write_result(options.out, core_ms_an_image=stages)
    return 0


if __name__ == "__main__":
    sys.exit(main())
