"""How long it takes to choose rows that stand for all, and in how much memory.

    python benchmarks/select_speed.py                          # 1,000,000 rows × 512, k = 10,000
    python benchmarks/select_speed.py --rows 20000 --k 500 --loss   # coverage: bounded against exact

The rows are made up, in clusters of 100, float16 in a mapped file (1 GB for a million).
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import numpy.typing as npt

from datumaro_embed.audit import select
from datumaro_embed.audit.select import nearest_chosen, select_rows
from private_memory import PrivateMemory
from synthetic_store import BLOCK_ROWS, CLUSTER_ROWS, DIM, NOISE

EVALUATED_ROWS = 20_000


def main() -> None:
    """Choose and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--k", type=int, default=10_000)
    parser.add_argument("--by", nargs="*", default=["diverse", "coverage"])
    parser.add_argument("--loss", action="store_true", help="what the bounded variants lose")
    parser.add_argument("--vectors", type=Path, help="a .npy file to use instead (with --loss)")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        path = options.vectors or make_vectors(folder / "rows.npy", options.rows)
        vectors = np.load(path, mmap_mode="r")
        if options.loss:
            measure_loss(vectors, options.k)
        else:
            for by in options.by:
                measure(vectors, options.k, by)
    finally:
        shutil.rmtree(folder)


def make_vectors(path: Path, n_rows: int) -> Path:
    """Write rows in clusters."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((max(1, n_rows // CLUSTER_ROWS), DIM), dtype=np.float32)
    rows = np.lib.format.open_memmap(path, "w+", np.float16, (n_rows, DIM))
    for start in range(0, n_rows, BLOCK_ROWS):
        count = min(BLOCK_ROWS, n_rows - start)
        noise = NOISE * rng.standard_normal((count, DIM), dtype=np.float32)
        block = centres[rng.integers(0, len(centres), count)] + noise
        rows[start : start + count] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return path


def measure(vectors: npt.NDArray[np.float16], k: int, by: str) -> None:
    """Time one way of choosing, and compare what it reaches with random rows."""
    clock, processor = time.perf_counter(), time.process_time()
    with PrivateMemory() as memory:
        chosen, _ = select_rows(vectors, k, by=by, progress=True)
    seconds, used = time.perf_counter() - clock, time.process_time() - processor
    rng = np.random.default_rng(1)
    some = np.sort(rng.choice(len(vectors), min(len(vectors), EVALUATED_ROWS), replace=False))
    reached = nearest_chosen(vectors, some, chosen)
    random = nearest_chosen(vectors, some, np.sort(rng.choice(len(vectors), k, replace=False)))
    print(
        f"{by}: {k:,} of {len(vectors):,} rows in {seconds:.0f} s (processors {used:.0f} s), "
        f"private memory at most {memory.peak_mb:.0f} MB"
    )
    print(
        f"  distance to the nearest chosen, of {len(some):,} rows: greatest "
        f"{1 - reached.min():.3f} (random {1 - random.min():.3f}), mean {1 - reached.mean():.4f} "
        f"(random {1 - random.mean():.4f})"
    )


def measure_loss(vectors: npt.NDArray[np.float16], k: int) -> None:
    """Compare facility location on a sample and in cells with the exact one."""
    every = np.arange(len(vectors))
    rng = np.random.default_rng(1)
    random = nearest_chosen(
        vectors, every, np.sort(rng.choice(every, k, replace=False)), 0.0
    ).mean()
    exact = 0.0
    print(f"coverage, {k:,} of {len(vectors):,} rows: mean cosine with the nearest chosen")
    for name, most in (
        ("exact", len(every)),
        ("bounded", len(every) - 1),
        ("bounded", len(every) // 4),
    ):
        started = time.perf_counter()
        with patch.object(select, "MAX_EXACT_ROWS", most):
            chosen, _ = select_rows(vectors, k, by="coverage")
        seconds = time.perf_counter() - started
        mean = nearest_chosen(vectors, every, chosen, 0.0).mean()
        exact = exact or mean
        how = "exact" if name == "exact" else "sample" if 8 * k <= most else "cells"
        lost = (exact - mean) / (exact - random)
        print(
            f"  {how} ({most:,} rows at most): {mean:.5f}, lost {lost:.1%} of the gain over random, {seconds:.0f} s"
        )
    print(f"  random: {random:.5f}")


if __name__ == "__main__":
    main()
