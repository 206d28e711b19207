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
from typing import Any

import numpy as np

from datumaro_embed.files import FileSystem, publish
from datumaro_embed.records import AnnotationRecord, Categories, ItemKey, ItemRecord
from datumaro_embed.store import COMMIT_ROWS, ArrayPart, EmbeddingStore, Hdf5Stores, open_store
from datumaro_embed.store.codec import Arrays, ColumnBuilder, head_arrays
from datumaro_embed.store.hdf5 import file_image
from datumaro_embed.store.journal import MAX_PASSED_BYTES, Journal, Manifest, SegmentFolder
from datumaro_embed.vectors import VectorKind, unit_rows

UUID = "0" * 32
EMPTY_HEAD = head_arrays(Categories(), None, {}, 1)


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


def _rows(
    start: int, n_rows: int, dim: int, n_annotations: int = 0, n_coords: int = 8
) -> EmbeddingStore:
    """Consecutive items, each with some polygons, in memory."""
    rng = np.random.default_rng(start)
    kind = VectorKind(dim, model="demo")
    numbers = np.arange(start, start + n_rows)
    digits = (numbers[:, None] // 10 ** np.arange(7, -1, -1)) % 10 + ord("0")
    count = n_rows * n_annotations
    names = (np.array([0, 5], np.uint64), np.frombuffer(b"train", "u1"))
    lengths = {
        "items/id": (8, digits.astype(np.uint8).reshape(-1)),
        "items/path": (20, np.full(n_rows * 20, 97, np.uint8)),
        "items/attributes": (2, np.tile(np.frombuffer(b"{}", "u1"), n_rows)),
        "annotations/attributes": (2, np.tile(np.frombuffer(b"{}", "u1"), count)),
        "annotations/coords": (n_coords, rng.random(count * n_coords)),
    }
    arrays: Arrays = {}
    for path, array in ColumnBuilder(kind).arrays().items():
        length = n_rows if path.startswith("items/") else count
        if path.endswith("_names_offsets"):
            arrays[path] = names[0]
        elif path.endswith("_names"):
            arrays[path] = names[1]
        elif path.endswith("_offsets"):
            width = lengths.get(path.removesuffix("_offsets"), (0, array))[0]
            width = n_annotations if path == "items/annotations_offsets" else width
            arrays[path] = np.arange(length + 1, dtype=np.uint64) * np.uint64(width)
        elif path in lengths:
            arrays[path] = lengths[path][1]
        elif f"{path}_offsets" in ColumnBuilder(kind).arrays():
            arrays[path] = array  # texts that are empty
        else:
            arrays[path] = np.zeros((length, *array.shape[1:]), array.dtype)
    vectors = unit_rows(rng.standard_normal((n_rows, dim), dtype=np.float32)).astype("<f2")
    hashes = rng.integers(0, 256, (n_rows, 32), dtype=np.uint8)
    arrays |= {"items/vector": vectors, "items/content_sha256": hashes}
    part = ArrayPart(arrays, kind, UUID)
    return EmbeddingStore([part], path="rows", kind=kind, uuid=UUID)


def _manifest_of(kind: VectorKind, **facts: Any) -> Manifest:
    return Manifest(
        *(UUID, kind.model, kind.fingerprint, kind.dtype, kind.dim, kind.settings), **facts
    )


def _seal_speed(folder: Path, n_annotations: int) -> None:
    rows = _rows(0, COMMIT_ROWS, 512, n_annotations, n_coords=40)
    n_bytes, _ = file_image(rows, EMPTY_HEAD, UUID)
    journal = Journal(folder / "seal", FileSystem(), store=folder / "seal")
    target = folder / "plain"
    command = ["dd", "if=/dev/zero", f"of={target}", f"bs={n_bytes}", "count=1", "conv=fsync"]

    def seal() -> None:
        segment = journal.commit_file(rows)
        journal.save(_manifest_of(rows.kind, segments=(segment,)))

    def plain() -> None:
        subprocess.run(command, check=True, capture_output=True)

    sealed, written = [], []
    for _ in range(15):  # by turns, so that both meet the same disk
        sealed.append(_seconds(seal))
        written.append(_seconds(plain))
        journal.clean()
        target.unlink()
    ours, theirs = statistics.median(sealed), statistics.median(written)
    journal.forget_unfinished()
    journal.leave()
    print(
        f"seal, {n_annotations} polygons a row: {n_bytes / 1e6:.0f} MB in {ours * 1e3:.0f} ms, "
        f"{n_bytes / 1e6 / ours:.0f} MB/s; dd {n_bytes / 1e6 / theirs:.0f} MB/s; "
        f"ratio {theirs / ours:.2f}",
        flush=True,
    )


def _append_speed(folder: Path, n_boxes: int) -> None:
    """Take rows as the pipeline does, with their checksums, and commit them."""
    rng = np.random.default_rng(0)
    vectors = unit_rows(rng.normal(size=(COMMIT_ROWS, 512)))
    boxes = tuple(AnnotationRecord("bbox", label=0, coords=(1, 2, 3, 4)) for _ in range(n_boxes))
    records = [
        ItemRecord(ItemKey("train", f"{n:08}"), path=f"images/{n:08}.jpg", annotations=boxes)
        for n in range(COMMIT_ROWS)
    ]
    started = time.perf_counter()
    stores = Hdf5Stores()
    with stores.begin(folder / "append", VectorKind(512), clock=lambda: 0.0) as run:
        for record, vector in zip(records, vectors, strict=True):
            run.append(record, vector)
        run.suspend()
        seconds = time.perf_counter() - started
        run.discard()
    print(
        f"append and commit {COMMIT_ROWS:,} rows of {n_boxes} boxes: {seconds:.2f} s, "
        f"{seconds / COMMIT_ROWS * 1e6:.0f} microseconds a row",
        flush=True,
    )


def _seconds(action: Callable[[], None]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _lookup_speed(folder: Path, n_rows: int, dim: int) -> None:
    directory = folder / "store"
    journal = Journal(directory, FileSystem(), store=directory)
    segments = tuple(
        journal.commit_file(_rows(start, min(COMMIT_ROWS, n_rows - start), dim))
        for start in range(0, n_rows, COMMIT_ROWS)
    )
    head_rows = head_arrays(Categories(("thing",)), None, {"model": {"name": "demo"}}, dim)
    empty = _rows(0, 0, dim)
    head = journal.commit_file(empty, head_rows)
    journal.save(_manifest_of(empty.kind, segments=segments, head=head))
    journal.finish()
    journal.leave()
    rows = SegmentFolder(directory, empty.kind, max_mapped_bytes=MAX_PASSED_BYTES).store(segments)
    started = time.perf_counter()
    size, blocks = file_image(rows, head_rows, UUID)
    publish(folder / "store.h5", blocks, size, FileSystem())
    seconds = time.perf_counter() - started
    rows.close()
    print(f"publish {n_rows:,} rows: {size / 1e6:.0f} MB in {seconds:.1f} s", flush=True)
    for path in (folder / "store.h5", directory):
        _report_lookup(path, n_rows)
        _report_verify(path)


def _report_verify(path: Path) -> None:
    with open_store(path) as store:
        n_bytes = sum(file.stat().st_size for file in [path, *path.rglob("*.h5")] if file.is_file())
        started = time.perf_counter()
        problems = store.verify()
        seconds = time.perf_counter() - started
    assert not problems, problems[:3]
    print(f"{path.name}: verify {n_bytes / 1e9 / seconds:.2f} GB/s", flush=True)


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
