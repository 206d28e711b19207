"""How fast duplicates are found, in how much memory, and how many of the planted ones.

    python benchmarks/duplicates_speed.py                # 100,000 rows × 512, every pair
    python benchmarks/duplicates_speed.py --rows 1000000 # by cells: minutes, 1 GB of disk
    python benchmarks/duplicates_speed.py --rows 1000000 --folder DIR --keep # of search_speed.py

Compared with plain NumPy (every block times every block, float32) and, where faiss is installed,
with range_search of IndexFlatIP: both on a part of the rows, scaled up. Exits 1 where a limit is
missed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from datumaro_embed import DuplicateReport, find_duplicates, open_store
from private_memory import PrivateMemory
from synthetic_store import make_store, n_planted

MAX_EXACT_S, MAX_MB, MIN_FOUND = 60, 4096, 0.99
PART_ROWS = 4096


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="for the store (default: a temporary one)")
    parser.add_argument("--keep", action="store_true", help="leave the store there")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return run(folder / "synthetic.h5", options.rows)
    finally:
        if not options.keep:
            shutil.rmtree(folder)


def run(path: Path, n_rows: int) -> int:
    """All measurements on one store."""
    make_store(path, n_rows)
    clock, processor = time.perf_counter(), time.process_time()
    with PrivateMemory() as memory:
        found = find_duplicates(path, progress=True)
    seconds, used = time.perf_counter() - clock, time.process_time() - processor
    share = planted_share(found, n_rows)
    how = "every pair" if found.all_pairs else "by cells"
    print(f"{n_rows:,} rows, {how}: {seconds:.1f} s (processors {used:.1f} s)")
    print(f"  private memory, peak {memory.peak_mb:.0f} MB")
    print(f"  {found.n_pairs} pairs, planted {n_planted(n_rows)}, found of these {share:.4f}")
    if found.all_pairs:
        compare(path, seconds)
    missed = [
        *(["time"] if found.all_pairs and seconds > MAX_EXACT_S else []),
        *(["memory"] if memory.peak_mb > MAX_MB else []),
        *(["planted pairs"] if share < (1 if found.all_pairs else MIN_FOUND) else []),
    ]
    print("missed: " + ", ".join(missed) if missed else "every limit is kept")
    return int(bool(missed))


def planted_share(found: DuplicateReport, n_rows: int) -> float:
    """Row i of val is a copy of the train row as far before val's first."""
    planted = n_planted(n_rows)
    pairs = {(int(pair.first.id), int(pair.second.id)) for pair in found.leaks}
    first = n_rows - 2 * planted
    return sum((first + i, n_rows - planted + i) in pairs for i in range(planted)) / planted


def compare(path: Path, ours_s: float) -> None:
    """Time NumPy and faiss on some rows against all, and scale."""
    with open_store(path) as store:
        vectors = store.embeddings().astype(np.float32)
    part = vectors[:PART_ROWS]
    scale = len(vectors) / PART_ROWS
    started = time.perf_counter()
    for start in range(0, len(vectors), 8192):
        np.argwhere(part @ vectors[start : start + 8192].T >= 0.95)
    numpy_s = (time.perf_counter() - started) * scale / 2  # each pair once is enough
    print(
        f"  plain NumPy {numpy_s:.0f} s (scaled up from {PART_ROWS} rows): "
        f"NumPy / ours {numpy_s / ours_s:.1f}"
    )
    try:
        import faiss
    except ImportError:
        print("  faiss is not installed (pip install faiss-cpu)")
        return
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    started = time.perf_counter()
    flat.range_search(part, 0.95)
    faiss_s = (time.perf_counter() - started) * scale
    print(
        f"  faiss range_search {faiss_s:.0f} s (scaled up too): faiss / ours {faiss_s / ours_s:.1f}"
    )


if __name__ == "__main__":
    sys.exit(main())
