#!/usr/bin/env python3
"""How fast shards are sealed, against `dd conv=fsync`, and how fast ten million rows are opened.

    python benchmarks/store_speed.py [--rows 10000000] [--folder FOLDER]

Shards are sealed and looked up with synthetic columns whose checksums are left out; everything else
is what the package does. `append and commit` is all that a row costs beside its vector.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from datumaro_embed.records import AnnotationRecord, Categories, ItemKey, ItemRecord
from datumaro_embed.store import FileSystem, ShardRun, open_store
from datumaro_embed.store.columns import Arrays, ColumnBuilder, name_arrays
from datumaro_embed.store.directory import RunDirectory
from datumaro_embed.store.finish import publish_sealed
from datumaro_embed.store.manifest import Manifest
from datumaro_embed.store.run import SHARD_ROWS
from datumaro_embed.store.shards import ShardFiles
from datumaro_embed.store.union import Union, whole
from datumaro_embed.vectors import unit_rows


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--dim", type=int, default=16, help="of the rows that are looked up")
    parser.add_argument("--folder", type=Path, default=None)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="speed-", dir=chosen.folder) as name:
        folder = Path(name)
        for n_annotations in (0, 8, 32):
            _seal_speed(folder, n_annotations)
        _append_speed(folder, n_boxes=8)
        if chosen.rows:
            _lookup_speed(folder, chosen.rows, chosen.dim)
    return 0


def _arrays(start: int, n_rows: int, dim: int, n_annotations: int = 0, n_coords: int = 8) -> Arrays:
    """Columns of consecutive items, each with some polygons."""
    rng = np.random.default_rng(start)
    arrays = ColumnBuilder(dim).finish({})
    numbers = np.arange(start, start + n_rows)
    digits = (numbers[:, None] // 10 ** np.arange(7, -1, -1)) % 10 + ord("0")
    count = n_rows * n_annotations

    def offsets(n: int, width: int) -> np.ndarray:
        return np.arange(n + 1, dtype=np.uint64) * np.uint64(width)

    vectors = rng.integers(0, 2**14, (n_rows, dim), dtype=np.uint16).view("<f2")
    ragged = {
        "items/id": (digits.astype(np.uint8).reshape(-1), offsets(n_rows, 8)),
        "items/path": (np.full(n_rows * 20, 97, np.uint8), offsets(n_rows, 20)),
        "items/error": (np.zeros(0, np.uint8), offsets(n_rows, 0)),
        "items/attributes": (np.tile(np.frombuffer(b"{}", "u1"), n_rows), offsets(n_rows, 2)),
        "annotations/attributes": (np.tile(np.frombuffer(b"{}", "u1"), count), offsets(count, 2)),
        "annotations/coords": (rng.random(count * n_coords), offsets(count, n_coords)),
    }
    empty = {
        f"annotations/{name}": (np.zeros(0, np.uint8), offsets(count, 0))
        for name in ("rle", "text", "visibility", "extra")
    }
    for stem, (values, cuts) in {**ragged, **empty}.items():
        arrays[f"{stem}_offsets"] = cuts
        arrays[stem if stem.endswith("coords") else f"{stem}_bytes"] = values
    for path, array in list(arrays.items()):
        if array.ndim and len(array) == 0 and path.startswith(("items/", "annotations/")):
            length = n_rows if path.startswith("items/") else count
            if not path.endswith("_bytes") and path != "annotations/coords":
                arrays[path] = np.zeros((length, *array.shape[1:]), array.dtype)
    hashes = rng.integers(0, 256, (n_rows, 32), dtype=np.uint8)
    arrays |= {"items/embedding": vectors, "items/content_sha256": hashes}
    arrays["items/ann_offsets"] = offsets(n_rows, n_annotations)
    return arrays | name_arrays("subsets", ["train"]) | name_arrays("annotation_types", ["polygon"])


def _seal_speed(folder: Path, n_annotations: int) -> None:
    arrays = _arrays(0, SHARD_ROWS, 512, n_annotations, n_coords=40)
    n_bytes = sum(array.nbytes for array in arrays.values())
    run = RunDirectory(folder / "seal", FileSystem())
    target = folder / "plain"
    command = ["dd", "if=/dev/zero", f"of={target}", f"bs={n_bytes}", "count=1", "conv=fsync"]

    def seal() -> None:
        part = run.commit_file(arrays, "f")
        run.save(Manifest("0" * 32, "demo", "f", "float16", 512, shards=(part,)))

    def plain() -> None:
        subprocess.run(command, check=True, capture_output=True)

    sealed, written = [], []
    for _ in range(15):  # by turns, so that both meet the same disk
        sealed.append(_seconds(seal))
        written.append(_seconds(plain))
        run.clean()
        target.unlink()
    ours, theirs = statistics.median(sealed), statistics.median(written)
    run.forget_unfinished()
    run.leave()
    print(
        f"seal, {n_annotations} polygons a row: {n_bytes / 1e6:.0f} MB in {ours * 1e3:.0f} ms, "
        f"{n_bytes / 1e6 / ours:.0f} MB/s; dd {n_bytes / 1e6 / theirs:.0f} MB/s; "
        f"ratio {theirs / ours:.2f}",
        flush=True,
    )


def _append_speed(folder: Path, n_boxes: int) -> None:
    """Take rows as the pipeline does, with their checksums, and commit them."""
    rng = np.random.default_rng(0)
    vectors = unit_rows(rng.normal(size=(SHARD_ROWS, 512)))
    boxes = tuple(AnnotationRecord("bbox", label=0, coords=(1, 2, 3, 4)) for _ in range(n_boxes))
    records = [
        ItemRecord(ItemKey("train", f"{n:08}"), path=f"images/{n:08}.jpg", annotations=boxes)
        for n in range(SHARD_ROWS)
    ]
    started = time.perf_counter()
    with ShardRun(folder / "append", dim=512, shard_seconds=1e9) as run:
        for record, vector in zip(records, vectors, strict=True):
            run.append(record, vector)
        run.suspend()
        seconds = time.perf_counter() - started
        run.discard()
    print(
        f"append and commit {SHARD_ROWS:,} rows of {n_boxes} boxes: {seconds:.2f} s, "
        f"{seconds / SHARD_ROWS * 1e6:.0f} microseconds a row",
        flush=True,
    )


def _seconds(action: Callable[[], None]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _lookup_speed(folder: Path, n_rows: int, dim: int) -> None:
    directory = folder / "store"
    run = RunDirectory(directory, FileSystem())
    parts = tuple(
        run.commit_file(_arrays(start, min(SHARD_ROWS, n_rows - start), dim), "f")
        for start in range(0, n_rows, SHARD_ROWS)
    )
    head = ColumnBuilder(dim)
    head.set_categories(Categories(("thing",)))
    arrays = head.finish({"model": {"name": "demo"}})
    part = run.commit_file(arrays, "f")
    manifest = Manifest("0" * 32, "demo", "f", "float16", dim, shards=parts, head=part)
    run.save(manifest)
    run.finish()
    run.leave()
    shards = ShardFiles([(directory, part, manifest) for part in parts])
    union = Union(shards, whole([part.n_rows for part in parts]))
    started = time.perf_counter()
    publish_sealed(
        *(folder / "store.h5", union, arrays, "f", FileSystem()), store_uuid=manifest.uuid
    )
    seconds = time.perf_counter() - started
    size = (folder / "store.h5").stat().st_size
    print(f"publish {n_rows:,} rows: {size / 1e6:.0f} MB in {seconds:.1f} s", flush=True)
    for path in (folder / "store.h5", directory):
        _report_lookup(path, n_rows)


def _report_lookup(path: Path, n_rows: int) -> None:
    opening = statistics.median(_seconds(lambda: open_store(path).close()) for _ in range(9))
    rng = np.random.default_rng(0)
    wanted = [ItemKey("train", f"{n:08d}") for n in rng.integers(0, n_rows, 20_000)]
    seconds = []
    with open_store(path) as store:
        for key in wanted:
            started = time.perf_counter()
            row = store.row(key)
            seconds.append(time.perf_counter() - started)
            assert row == int(key.id)
    cold, warm = statistics.median(seconds[:1000]), statistics.median(seconds)
    print(
        f"{path.name}: open {opening * 1e3:.1f} ms; a key {warm * 1e3:.3f} ms "
        f"(median of 20,000; of the first 1,000: {cold * 1e3:.3f} ms; "
        f"slowest {max(seconds) * 1e3:.0f} ms)",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
