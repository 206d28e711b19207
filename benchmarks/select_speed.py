"""How long it takes to choose representative rows, and in how much memory.

    python benchmarks/select_speed.py                       # 1,000,000 rows × 512, k = 10,000
    python benchmarks/select_speed.py --rows 20000 --k 500 --loss  # coverage: bounded and exact
    python benchmarks/select_speed.py --store STORE --k 10 100 --quality  # beside random

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

from datumaro_embed import open_store
from datumaro_embed import select as select_store
from datumaro_embed.auditing import select
from datumaro_embed.auditing.select import nearest_chosen, select_rows
from datumaro_embed.auditing.selection import figures
from private_memory import PrivateMemory
from synthetic_store import BLOCK_ROWS, CLUSTER_ROWS, DIM, NOISE

EVALUATED_ROWS = 20_000


def main() -> None:
    """Choose and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--k", type=int, nargs="*", default=[10_000])
    parser.add_argument("--by", nargs="*", default=["diverse", "coverage"])
    parser.add_argument("--loss", action="store_true", help="what the bounded variants lose")
    parser.add_argument("--store", type=Path, help="take the items of a store instead")
    parser.add_argument("--quality", action="store_true", help="print figures beside random")
    options = parser.parse_args()
    if options.quality:
        measure_quality(options.store, options.k)
        return
    folder = Path(tempfile.mkdtemp())
    try:
        vectors = rows_of(options.store, folder / "rows.npy", options.rows)
        for k in options.k:
            if options.loss:
                measure_loss(vectors, k)
            else:
                for by in options.by:
                    measure(vectors, k, by)
    finally:
        shutil.rmtree(folder)


def rows_of(store: Path | None, path: Path, n_rows: int) -> npt.NDArray[np.float16]:
    """Take the items of a store that have a vector; else make rows up."""
    if store is None:
        mapped: npt.NDArray[np.float16] = np.load(make_vectors(path, n_rows), mmap_mode="r")
        return mapped
    with open_store(store) as opened:
        return opened.embeddings(np.flatnonzero(opened.items.has_vector))


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
    for most in (len(every), len(every) // 4):
        started = time.perf_counter()
        with patch.object(select, "MAX_EXACT_ROWS", most):
            chosen, _ = select_rows(vectors, k, by="coverage")
        seconds = time.perf_counter() - started
        mean = nearest_chosen(vectors, every, chosen, 0.0).mean()
        how = "sample" if 32 * k <= most else "cells"
        how = f"{how} of {most:,}" if how == "sample" else how
        lost = f"lost {(exact - mean) / (exact - random):.1%} of the gain over random"
        if not exact:
            exact, how, lost = mean, "exact", "the most"
        print(f"  {how}: {mean:.5f}, {lost}, {seconds:.0f} s")
    print(f"  random: {random:.5f}")


def measure_quality(path: Path, ks: list[int]) -> None:
    """Print a table in Markdown: every way of choosing, and the mean of 20 random choices."""
    ways = [("diverse", False), ("diverse", True), ("coverage", False), ("typical", False)]
    ways.append(("uncertain-by-label", False))
    titles = [f"{by}{' --per-label' if per_label else ''}" for by, per_label in ways]
    rows: dict[str, list[list[str]]] = {}
    with open_store(path) as store:
        pool = np.flatnonzero(store.items.has_vector)
        vectors, labels = store.embeddings(), store.items.label_counts()[:2]
        known = np.isin(labels[0], pool)
        pairs = labels[0][known], labels[1][known]
        for k in ks:
            rng = np.random.default_rng(0)
            picks = [rng.choice(pool, k, replace=False) for _ in range(20)]
            random = [figures(vectors, pool, pick, pairs) for pick in picks]
            found = [select_store(store, k, by=by, per_label=per).rows for by, per in ways]
            every = [
                {name: float(np.mean([one[name] for one in random])) for name in random[0]},
                *(figures(vectors, pool, chosen, pairs) for chosen in found),
            ]
            for name in every[0]:
                cells = [f"{values[name]:.3f}" for values in every]
                rows.setdefault(name, []).append([f"{k:,}", *cells])
    for name, lines in rows.items():
        for cells in [[name, "random", *titles], ["---"] * (len(titles) + 2), *lines]:
            print(f"| {' | '.join(cells)} |")
        print()


if __name__ == "__main__":
    main()
