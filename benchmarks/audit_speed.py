#!/usr/bin/env python3
"""How long `audit` of a big store takes, kind by kind, and its greatest memory.

    python benchmarks/audit_speed.py make FOLDER PICTURES...   # folders of images that exist
    python benchmarks/audit_speed.py run FOLDER [STORE...]     # by default each, one after another

`make` writes 20,000 pictures, parts of the given ones in other colors, and stores of 25,000,
50,000 and 100,000 items with five objects each. Signatures and statistics are those of the
pictures; a further use of one has its halves exchanged and its colors turned. One item in 100 is a
copy. Vectors are made up, in clusters. And it writes a store of 20,000 frames of a fixed camera.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from datumaro_embed.auditing.boxes import odd_boxes
from datumaro_embed.auditing.pieces import Pieces
from datumaro_embed.auditing.run import _Audit
from datumaro_embed.findings import Finding
from datumaro_embed.parallel import map_ahead
from datumaro_embed.records import (
    AnnotationRecord,
    Categories,
    ItemKey,
    ItemRecord,
    ObjectRecord,
    Split,
)
from datumaro_embed.signatures import describe
from datumaro_embed.store import Hdf5Stores, open_store
from datumaro_embed.vectors import VectorKind

N_PICTURES, N_LABELS, N_OBJECTS, DIM = 20_000, 80, 5, 512
SIZES = 25_000, 50_000, 100_000
CENTRES, NOISE = 10, 0.6  # of each label; cosines within a cluster are about 0.74
UInt8Array = npt.NDArray[np.uint8]
Vector = npt.NDArray[np.float32]
Described = tuple[UInt8Array, npt.NDArray[np.float32], tuple[int, int]]


def make(options: argparse.Namespace) -> int:
    """Write pictures and stores."""
    folder: Path = options.folder
    files = sorted(file for one in options.pictures for file in one.rglob("*.jpg"))
    found = _written(folder / "pictures", lambda n: part(files, n))
    for n_items in SIZES:
        _store(folder / f"{n_items}.h5", folder / "pictures", n_items, _items(found, n_items))
    _camera(folder, files)
    return 0


def _camera(folder: Path, files: list[Path]) -> None:
    tiles = [cv2.resize(_read(files, n), (240, 180)) for n in range(4)]
    scene = np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])]).astype(np.uint8)
    frames = _written(folder / "frames", lambda n: frame(scene, n))
    rng = np.random.default_rng(1)
    base = rng.standard_normal(DIM)
    drift = np.cumsum(rng.standard_normal((N_PICTURES, DIM)) * 0.003, axis=0)
    vectors = base + drift + 0.1 * rng.standard_normal((N_PICTURES, DIM))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    items = zip(range(N_PICTURES), frames, vectors, strict=True)
    _store(folder / "camera.h5", folder / "frames", 0, items)


def part(files: list[Path], n: int) -> UInt8Array:
    """A part of an image, in other colors."""
    rng = np.random.default_rng(n)
    picture = _read(files, int(rng.integers(len(files))))
    shape = np.array(picture.shape[:2])
    size = (shape * rng.uniform(0.5, 0.8)).astype(int)
    y, x = (int(rng.integers(a - b + 1)) for a, b in zip(shape, size, strict=True))
    picture = picture[y : y + size[0], x : x + size[1], rng.permutation(3)]
    return np.clip(picture * rng.uniform(0.6, 1.4, 3) + rng.uniform(-30, 30, 3), 0, 255).astype(
        "u1"
    )


def frame(scene: UInt8Array, n: int) -> UInt8Array:
    """Two things that move before a camera that stands; light and noise change a little."""
    rng = np.random.default_rng(n)
    picture = scene * (1 + 0.03 * np.sin(n / 500)) + rng.normal(0, 2, scene.shape)
    for k, colour in ((1, (200, 60, 40)), (2, (40, 90, 200))):
        centre = 240 + 190 * np.sin(n * 0.011 * k + k), 180 + 130 * np.cos(n * 0.017 * k)
        cv2.circle(picture, tuple(int(v) for v in centre), 30, colour, -1)
    return np.asarray(np.clip(picture, 0, 255), np.uint8)


def _read(files: list[Path], n: int) -> UInt8Array:
    """Decode the n-th image, or the next that can be."""
    while (picture := cv2.imread(str(files[n % len(files)]))) is None:
        n += 1
    return np.asarray(picture[..., ::-1], np.uint8)


def _written(folder: Path, picture: Callable[[int], UInt8Array]) -> list[Described]:
    folder.mkdir(parents=True, exist_ok=True)

    def one(n: int) -> Described:
        image = Image.fromarray(picture(n))
        image.save(folder / f"{n:05}.jpg", quality=90)
        return *describe(image), image.size

    return list(map_ahead(one, range(N_PICTURES)))


def _items(found: list[Described], n_items: int) -> Iterator[tuple[int, Described, Vector]]:
    """Yield the picture of each item, what it is described by, and its vector."""
    rng = np.random.default_rng(0)
    originals: list[tuple[int, Described, Vector]] = []
    for n, (_, vector) in enumerate(clustered(n_items, n_items // 100)):
        if n % 100 == 99:
            place, described, original = originals[int(rng.integers(len(originals)))]
            vector = original + 0.01 * rng.standard_normal(DIM, dtype=np.float32)
            yield place, described, vector / np.linalg.norm(vector)
            continue
        again, place = divmod(n, len(found))
        pixels = found[place][0].reshape(32, 32, 3)
        pixels = np.roll(pixels, (16 * (again // 2), 16 * (again % 2), again), (0, 1, 2))
        pixels = 255 - pixels if again % 2 else pixels
        described = pixels.reshape(-1), *found[place][1:]
        originals.append((place, described, vector))
        yield place, described, vector


def clustered(n_rows: int, n_centres: int) -> Iterator[tuple[int, Vector]]:
    """Yield number of the cluster and vector; one in 100 is of another cluster than it says."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((n_centres, DIM), dtype=np.float32)
    for start in range(0, n_rows, 8192):
        numbers = rng.integers(0, n_centres, min(8192, n_rows - start))
        noise = rng.standard_normal((len(numbers), DIM), dtype=np.float32)
        block = centres[numbers] + NOISE * noise
        wrong = rng.random(len(numbers)) < 0.01
        numbers[wrong] = rng.integers(0, n_centres, int(wrong.sum()))
        yield from zip(
            numbers.tolist(), block / np.linalg.norm(block, axis=1, keepdims=True), strict=True
        )


def _store(
    path: Path,
    pictures: Path,
    n_boxed: int,
    items: Iterator[tuple[int, Described, Vector]],
) -> None:
    """Write a store; objects for as many items."""
    boxes = clustered(N_OBJECTS * n_boxed, N_LABELS * CENTRES)
    rng = np.random.default_rng(2)
    with Hdf5Stores().begin(path, VectorKind(DIM), n_expected=N_PICTURES) as writer:
        writer.set_categories(Categories(tuple(f"label {n}" for n in range(N_LABELS))))
        for row, (place, (squashed, numbers, size), vector) in enumerate(items):
            split = (Split.TRAIN, Split.VAL)[int(rng.random() < 0.2)]
            record = ItemRecord(
                ItemKey("", f"{row:08}"),
                split,
                f"{place:05}.jpg",
                *size,
                signature=squashed.tobytes(),
                statistics=tuple(numbers.tolist()),
            )
            objects, notes = [], []
            for number, (centre, seen) in enumerate(islice(boxes, N_OBJECTS)):
                label, box = centre % N_LABELS, (10.0 * number, 10.0, 40.0, 40.0)
                objects.append(ObjectRecord(label, box, 1600.0, annotations=(number,), vector=seen))
                notes.append(AnnotationRecord("bbox", label, coords=box))
            if n_boxed:
                record = replace(record, objects=tuple(objects), annotations=tuple(notes))
            writer.append(record, vector)
        writer.seal({"source": "synthetic", "media_root": str(pictures.resolve())})
    print(f"made {path}", flush=True)


def run(options: argparse.Namespace) -> int:
    """Audit each store in a process of its own; a table."""
    stores = options.stores or [*(f"{n}.h5" for n in SIZES), "camera.h5"]
    print("| store | kind | findings | s | CPU s |\n|---|---|---:|---:|---:|", flush=True)
    for store in stores:
        command = [sys.executable, __file__, "one", str(options.folder / store)]
        with subprocess.Popen(command) as process:
            peak = _peak_memory(process)
        if process.returncode:
            return process.returncode
        print(f"| {Path(store).stem} | peak, all its processes: {peak / 2**20:.2f} GB | | | |")
    return 0


def _peak_memory(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process; give the most memory of it and its forks, kB: what they share, once."""
    peak = 0
    while process.poll() is None:
        tree = [process.pid]
        for parent in tree:
            with suppress(OSError):
                children = Path(f"/proc/{parent}/task/{parent}/children").read_text()
                tree += map(int, children.split())
        peak = max(peak, sum(_proportional_kb(one) for one in tree))
        time.sleep(0.2)
    return peak


def _proportional_kb(process: int) -> int:
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("Pss:")))
    return 0


def one(options: argparse.Namespace) -> int:
    """Audit one store, one kind after another; what several need is counted to the first."""
    with open_store(options.store) as store:
        audit = _Audit(store, None, None, progress=False, pieces=Pieces())
        parts: dict[str, Callable[[], Iterable[Finding]]] = {
            "leak, duplicate": audit.copies_found,
            "mislabel, systematic": audit.mislabels if store.has_table("objects") else list,
            "conflict": audit.conflicts if store.has_table("objects") else list,
            "outlier": audit.outliers,
            "quality": audit.quality,
            "box": lambda: odd_boxes(store) if store.has_table("objects") else (),
        }
        begun = time.perf_counter(), _processor_s(), 0
        last = begun
        for kind, find in parts.items():
            n_found = sum(1 for _ in find())
            last = _row(options.store.stem, kind, n_found, last)
        _row(options.store.stem, f"all, {len(store):,} items", last[2], begun)
    return 0


def _row(
    store: str, kind: str, n_found: int, since: tuple[float, float, int]
) -> tuple[float, float, int]:
    """Print what was measured since."""
    now = time.perf_counter(), _processor_s(), since[2] + n_found
    seconds = (f"{now[n] - since[n]:.1f}" for n in range(2))
    print(f"| {store} | {kind} | {n_found:,} | {' | '.join(seconds)} |", flush=True)
    return now


def _processor_s() -> float:
    """Processor time of this process and of its forks that have ended."""
    used = [resource.getrusage(of) for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> int:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("make")
    command.set_defaults(run=make)
    command.add_argument("folder", type=Path)
    command.add_argument("pictures", type=Path, nargs="+")
    command = commands.add_parser("run")
    command.set_defaults(run=run)
    command.add_argument("folder", type=Path)
    command.add_argument("stores", nargs="*")
    command = commands.add_parser("one")
    command.set_defaults(run=one)
    command.add_argument("store", type=Path)
    options = parser.parse_args()
    result: int = options.run(options)
    return result


if __name__ == "__main__":
    sys.exit(main())
