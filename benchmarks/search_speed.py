"""How fast a big store is searched, and in how much memory.

    python benchmarks/search_speed.py              # 1,000,000 rows × 512, float16; 1 GB of disk
    python benchmarks/search_speed.py --index      # also builds and measures the index
    python benchmarks/search_speed.py --objects 1400000    # searches objects instead; 2 GB of disk
    python benchmarks/search_speed.py --folder DIR --keep

Exact search is compared with plain NumPy (float32 blocks and argpartition) and, where faiss is
installed, with IndexFlatIP, which keeps a copy of its own in memory. Exits 1 where a limit is
missed. Other work on the machine counts in full: the processor time printed beside a duration says
how much there was.
"""

from __future__ import annotations

import argparse
import functools
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from datumaro_embed import build_index, open_store, search, search_vectors
from private_memory import PrivateMemory
from synthetic_store import make_store, queries

LIMITS = {
    "one query, s": 0.12,
    "private memory, MB": 300,
    "100 queries, s": 4.0,
    "index query, s": 0.010,
}
OBJECT_LIMITS = {"open, s": 0.010, "one query, all, s": 0.12}
FILTERS: dict[str, dict[str, Any]] = {
    "all": {},
    "one label": {"labels": ["label 7"]},
    "one split": {"splits": ["train"]},
}
MIN_RECALL = 0.98
K = 10


def timed(function: Callable[[], Any]) -> tuple[float, float]:
    """Seconds by the clock, and of all processors."""
    clock, processor = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - clock, time.process_time() - processor


def plain_numpy(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Brute force as one would write it."""
    found = np.empty(len(vectors), dtype=np.float32)
    for start in range(0, len(vectors), 65_536):
        found[start : start + 65_536] = vectors[start : start + 65_536].astype(np.float32) @ query
    best = np.argpartition(-found, K)[:K]
    return best[np.argsort(-found[best])]


def report(name: str, clock: list[float], processor: list[float]) -> float:
    """Print medians and return that by the clock."""
    median = statistics.median(clock)
    used = statistics.median(processor)
    print(f"{name:<34} median {median * 1000:9.1f} ms   (processors {used * 1000:9.1f} ms)")
    return median


def measure(name: str, run: Callable[[np.ndarray], Any], each: np.ndarray) -> float:
    """Time one call for each query."""
    pairs = [timed(functools.partial(run, query)) for query in each]
    return report(name, [clock for clock, _ in pairs], [processor for _, processor in pairs])


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=20, help="of each median")
    parser.add_argument("--folder", type=Path, help="for the store (default: a temporary one)")
    parser.add_argument("--keep", action="store_true", help="leave the store there")
    parser.add_argument("--index", action="store_true", help="also build and measure the index")
    parser.add_argument(
        "--objects", type=int, metavar="N", help="measure only a store of N objects"
    )
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if options.objects:
            return run_objects(folder / "objects.h5", options)
        return run(folder / "synthetic.h5", options)
    finally:
        if not options.keep:
            shutil.rmtree(folder)


def run(path: Path, options: argparse.Namespace) -> int:
    """All measurements on one store."""
    make_store(path, options.rows)
    measured: dict[str, float] = {}
    with open_store(path) as store:
        vectors = store.embeddings()
        asked = queries(vectors, 100)
        few = asked[: options.queries]
        with PrivateMemory() as memory:
            search(store, few[0], k=K, exact=True)  # pages into memory, columns read
            measured["one query, s"] = measure(
                "exact search, one query", lambda q: search(store, q, k=K, exact=True), few
            )
            clock, processor = timed(lambda: search_vectors(store, asked, k=K))
            measured["100 queries, s"] = report("exact search, 100 queries", [clock], [processor])
        measured["private memory, MB"] = memory.peak_mb
        print(f"{'private memory, peak':<34} {memory.peak_mb:16.0f} MB")
        numpy_s = measure("plain NumPy, one query", lambda q: plain_numpy(vectors, q), few[:3])
        print(f"  NumPy / ours {numpy_s / measured['one query, s']:.1f}")
        exact = [[hit.row for hit in hits] for hits in search_vectors(store, asked, k=K)]
        same = all(
            plain_numpy(vectors, q).tolist() == rows
            for q, rows in zip(few[:3], exact, strict=False)
        )
        print(f"  the same rows in the same order: {same}")
        recall = index_recall(store, asked, exact, measured) if options.index else 1.0
        compare_faiss(vectors, few, measured["one query, s"])
    missed = [name for name, limit in LIMITS.items() if measured.get(name, 0) > limit]
    missed += ["recall@10"] if recall < MIN_RECALL else []
    print("missed: " + ", ".join(missed) if missed else "every limit is kept")
    return int(bool(missed))


def run_objects(path: Path, options: argparse.Namespace) -> int:
    """Open, query and peak memory of a process that searches objects; the store is made before."""
    maker = f"make_object_store(Path({str(path)!r}), {options.objects})"
    code = f"from pathlib import Path; from synthetic_store import make_object_store; {maker}"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)
    store_mb = path.stat().st_size / 2**20
    clock, processor = zip(
        *(timed(lambda: open_store(path).close()) for _ in range(5)), strict=True
    )
    measured = {"open, s": report("open", list(clock), list(processor))}
    rng = np.random.default_rng(1)
    with open_store(path) as store:
        few = store.objects.embeddings(rng.integers(0, options.objects, options.queries))
        few = few.astype(np.float32) + 0.02 * rng.standard_normal(few.shape, dtype=np.float32)
        find = functools.partial(search, store, k=K, of="objects")
        first = timed(lambda: find(few[0]))
        report("first query, pages from disk", [first[0]], [first[1]])
        for name, own in FILTERS.items():
            query = functools.partial(find, **own)
            measured[f"one query, {name}, s"] = measure(f"one query, {name}", query, few)
    status = Path("/proc/self/status").read_text()
    peak_mb = int(status.split("VmHWM:")[1].split()[0]) / 1024
    print(f"VmHWM {peak_mb:,.0f} MB = store {store_mb:,.0f} MB + {peak_mb - store_mb:,.0f} MB")
    missed = [name for name, limit in OBJECT_LIMITS.items() if measured[name] > limit]
    missed += ["VmHWM"] if peak_mb > store_mb + 200 else []
    print("missed: " + ", ".join(missed) if missed else "every limit is kept")
    return int(bool(missed))


def index_recall(
    store: Any, asked: np.ndarray, exact: list[list[int]], measured: dict[str, float]
) -> float:
    """Build the index, time it, and count how many of the ten nearest it finds."""
    print(build_index(store, progress=True))
    found: list[list[int]] = []
    search(store, asked[0], k=K)
    measured["index query, s"] = measure(
        "search by the index, one query",
        lambda q: found.append([hit.row for hit in search(store, q, k=K)]),
        asked,
    )
    recall = float(np.mean([len({*a} & {*b}) / K for a, b in zip(found, exact, strict=True)]))
    print(f"  recall@10 {recall:.4f}")
    return recall


def compare_faiss(vectors: np.ndarray, few: np.ndarray, ours_s: float) -> None:
    """Time faiss on a float32 copy, where it is installed."""
    try:
        import faiss
    except ImportError:
        print("faiss is not installed (pip install faiss-cpu)")
        return
    flat = faiss.IndexFlatIP(vectors.shape[1])
    for start in range(0, len(vectors), 65_536):
        flat.add(vectors[start : start + 65_536].astype(np.float32))
    faiss_s = measure("faiss IndexFlatIP, one query", lambda q: flat.search(q[None], K), few)
    print(f"  faiss / ours {faiss_s / ours_s:.2f} (faiss holds {vectors.size * 4 / 2**20:,.0f} MB)")


if __name__ == "__main__":
    sys.exit(main())
