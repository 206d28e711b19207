#!/usr/bin/env python3
"""What the pipeline itself costs: Python and storing, a damaged image in every batch, growth.

    python benchmarks/overhead.py null [--items 10000]
    python benchmarks/overhead.py damaged [--work FOLDER] [--model MODEL] [--rounds 3]
    python benchmarks/overhead.py growth [--items 1000 10000 100000] [--rounds 3]

`null` has an encoder that computes nothing and images of 8 x 8 pixels, so that all that is left is
reading files, hashing, records, queues and the store. `damaged` compares a dataset with one cut-off
JPEG in every batch with the whole one, in turns. `growth` embeds more and more such tiny images
with the demo model, each time by `datumaro-embed embed` in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from datumaro.components.annotation import Bbox
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image
from PIL import Image as PillowImage

from datumaro_embed.adapter import SourceDataset
from datumaro_embed.encoders import BATCH_SIZE, ClipEncoder, Encoder
from datumaro_embed.pipeline import EmbedOptions, EmbedSummary, embed_source
from machine import WORK, write_result
from materials import photographs_folder


class NullEncoder(Encoder):
    """As large as ViT-B/32 and without a model."""

    name, dim, image_size_px, batch_size = "null", 512, 224, BATCH_SIZE
    fingerprint = "0" * 64

    def __init__(self) -> None:
        self._blank = np.zeros((224, 224, 3), np.uint8)
        self._row = np.full(512, 512**-0.5, np.float32)

    def preprocess(self, image: PillowImage.Image) -> np.ndarray:  # noqa: ARG002
        return self._blank

    def embed(self, batch: np.ndarray) -> np.ndarray:
        return np.tile(self._row, (len(batch), 1))

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.tile(self._row, (len(texts), 1))

    def provenance(self) -> dict[str, Any]:
        return {"model": {"name": self.name}, "device": "none", "precision": "f32"}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("null", "damaged", "growth"))
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--items", type=int, nargs="+", default=None)
    parser.add_argument("--model", default="demo", help="of `damaged`")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="for `growth`")
    chosen = parser.parse_args()
    if chosen.what == "null":
        null(chosen.work, (chosen.items or [10_000])[0], chosen.rounds)
    elif chosen.what == "damaged":
        damaged(chosen.work, (chosen.items or [1024])[0], chosen.model, chosen.rounds)
    else:
        growth(chosen.work, chosen.items or [1_000, 10_000, 100_000], chosen.rounds, chosen.out)
    return 0


def null(work: Path, n_items: int, rounds: int) -> None:
    """Milliseconds of a core for each image, without a model."""
    source = tiny_images(work, n_items)
    spent = []
    for _ in range(rounds):
        started, wall = time.process_time(), time.perf_counter()
        embed(source, NullEncoder())
        spent.append((time.process_time() - started) / n_items * 1e3)
        rate = n_items / (time.perf_counter() - wall)
        print(f"{spent[-1]:.3f} core-ms per image, {rate:.0f} images/s")
    print(json.dumps({"null_core_ms": statistics.median(spent)}))


def damaged(work: Path, n_items: int, model: str, rounds: int) -> None:
    """Time for each good image with and without a damaged one in every batch."""
    files = sorted(photographs_folder(work, n_items).iterdir())
    encoder = ClipEncoder.load(model)
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        broken = [cut_off(path, Path(name)) for path in files[:: encoder.batch_size]]
        mixed = [*files]
        mixed[:: encoder.batch_size] = broken
        rates: dict[int, float] = {}
        for _ in range(rounds):
            for paths in (files, mixed):
                started = time.perf_counter()
                summary = embed(from_files(paths), encoder)
                n_good = summary.n_items - summary.n_failed
                rates[summary.n_failed] = n_good / (time.perf_counter() - started)
            ratios.append(rates[len(broken)] / rates[0])
            print(f"good images/s {rates[0]:.1f} and {rates[len(broken)]:.1f} with damaged ones")
    print(json.dumps({"n_damaged": len(broken), "damaged_ratio": statistics.median(ratios)}))


def growth(work: Path, sizes: Sequence[int], rounds: int, out: Path | None) -> None:
    """Peak memory and time for each item of folders of several sizes, in a process for each."""
    runs: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
    for size in sizes:
        tiny_images(work, size)
    for _ in range(rounds):
        for size in sizes:
            runs[size].append(one(work / f"tiny-{size}", size))
            print(size, runs[size][-1])
    found = {
        size: {name: statistics.median(run[name] for run in of_size) for name in of_size[0]}
        for size, of_size in runs.items()
    }
    for less, more in pairwise(sorted(found)):
        ratio = found[more]["peak_rss_mb"] / found[less]["peak_rss_mb"]
        seconds = found[more]["seconds"] - found[less]["seconds"]
        further = seconds / (more - less) * 1e3  # without what every run needs to begin
        print(f"{more} : {less} items: peak {ratio:.3f}, {further:.3f} ms for each further item")
    if out is not None:
        write_result(out, by_items={str(size): facts for size, facts in found.items()})


def one(folder: Path, n_items: int) -> dict[str, float]:
    """Embed a folder as `datumaro-embed` does, and return what it took."""
    code = (
        "import re, sys; from pathlib import Path; from datumaro_embed.cli import main; "
        "status = main(sys.argv[1:]); "
        "print(re.search(r'VmHWM:.*', Path('/proc/self/status').read_text())[0]); sys.exit(status)"
    )
    with tempfile.TemporaryDirectory(prefix="overhead-") as scratch:
        command = [sys.executable, "-c", code, "embed", f"{folder}:image_dir"]
        command += ["--store", f"{scratch}/e.h5", "--model", "demo"]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds = re.search(rf"{n_items} rows in .* in ([\d.]+) s", said)
    peak_kib = re.search(r"VmHWM:\s+(\d+) kB", said)  # ru_maxrss would be at least the parent's
    if not seconds or not peak_kib:
        raise SystemExit(f"Not every image was embedded: {said}")
    return {
        "peak_rss_mb": round(int(peak_kib[1]) / 1024, 1),
        "seconds": float(seconds[1]),
    }


def embed(source: SourceDataset, encoder: Encoder) -> EmbedSummary:
    """Embed into a store that is then thrown away."""
    with tempfile.TemporaryDirectory(prefix="overhead-") as scratch:
        target = Path(scratch) / "e.h5"
        return embed_source(source, target, EmbedOptions(), encoder=encoder, progress=False)


def tiny_images(work: Path, n_items: int) -> SourceDataset:
    """Return items with a box and a different JPEG of 8 x 8 pixels each; files are made once."""
    folder = work / f"tiny-{n_items}"
    if not folder.is_dir():
        partial = work / f".tiny-{n_items}.partial"
        partial.mkdir(parents=True, exist_ok=True)
        picture = PillowImage.new("RGB", (8, 8), (90, 120, 30))
        for number in range(n_items):
            buffer = BytesIO()
            picture.save(buffer, "JPEG", comment=str(number))
            (partial / f"{number:07}.jpg").write_bytes(buffer.getvalue())
        partial.rename(folder)
    return from_files([folder / f"{number:07}.jpg" for number in range(n_items)])


def from_files(paths: Sequence[Path]) -> SourceDataset:
    """Return a dataset of these files, in this order, each with a box."""
    items = [
        DatasetItem(
            f"{number:07}",
            subset="train",
            media=Image.from_file(str(path)),
            annotations=[Bbox(1, 2, 3, 4, label=0)],
        )
        for number, path in enumerate(paths)
    ]
    return SourceDataset(Dataset.from_iterable(items, categories=["thing"]), root=Path("/"))


def cut_off(path: Path, folder: Path) -> Path:
    """Write the first nine tenths of a file."""
    data = path.read_bytes()
    target = folder / path.name
    target.write_bytes(data[: len(data) * 9 // 10])
    return target


if __name__ == "__main__":
    raise SystemExit(main())
