"""What every contestant's script shares: it loads its model, warms up, and answers runs.

A contestant runs in an environment of its own, so this module needs NumPy only. It talks with the
harness in JSON, one object a line: it prints ``{"ready": …}`` when it is warm; for every line
``{"run": true, "vectors": PATH or null}`` it reads, it embeds all images of its folder, from files
to vectors, and prints ``{"seconds": …, "cpu_seconds": …, "n_images": …}``. It ends with its input.
Whatever else libraries print goes to stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

Embed = Callable[[Sequence[Path]], np.ndarray]
Prepared = TypeVar("Prepared")

N_WARM = 32
_BATCHES_AHEAD = 3


def arguments() -> argparse.Namespace:
    """Parse the flags that every contestant takes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=Path, required=True, help="folder of JPEGs")
    parser.add_argument("--model", type=Path, required=True, help="checkpoint or model directory")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is written")
    parser.add_argument("--precision", default="f32", choices=("auto", "f32", "bf16"))
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--decode", default="exact", choices=("exact", "fast"))
    parser.add_argument("--shard", help="I/N, of those that know it")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a run without images")
    return parser.parse_args()


def serve(load: Callable[[argparse.Namespace], Embed], packages: Sequence[str]) -> None:
    """Load a contestant, warm it up, and answer runs until the input ends.

    Parameters
    ----------
    load : callable
        Takes the flags; returns what embeds a sequence of files, in order, as (n, dim) rows.
    packages : sequence of str
        Whose versions are told.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not end up between the answers
    options = arguments()
    files = sorted(options.images.glob("*.jpg"))
    started = time.perf_counter()
    embed = load(options)
    loaded = time.perf_counter()
    embed(files[:N_WARM])
    _tell(
        answers,
        ready=True,
        load_seconds=loaded - started,
        warm_seconds=time.perf_counter() - loaded,
        versions={name: metadata.version(name) for name in packages},
        facts=getattr(embed, "facts", {}),
    )
    for line in sys.stdin:
        _tell(answers, **_run(embed, files, json.loads(line)["vectors"]))


def prepared_ahead(
    prepare: Callable[[Path], Prepared],
    files: Sequence[Path],
    *,
    batch_size: int,
    threads: int,
    in_each_thread: Callable[[], None] | None = None,
) -> Iterator[list[Prepared]]:
    """Prepare images in threads, at most three batches ahead of the one that is computed on.

    The loop of a careful user: decoding runs beside the inference, and memory stays bounded.
    """
    with ThreadPoolExecutor(threads, initializer=in_each_thread) as pool:
        ahead: deque[Future[Prepared]] = deque()
        following = iter(files)
        for start in range(0, len(files), batch_size):
            wanted = _BATCHES_AHEAD * batch_size - len(ahead)
            ahead.extend(pool.submit(prepare, path) for path in islice(following, wanted))
            size = min(batch_size, len(files) - start)
            yield [ahead.popleft().result() for _ in range(size)]


def _run(embed: Embed, files: Sequence[Path], vectors: str | None) -> dict[str, Any]:
    cpu = _cpu_seconds()
    started = time.perf_counter()
    rows = embed(files)
    seconds = time.perf_counter() - started
    facts = {"seconds": seconds, "cpu_seconds": _cpu_seconds() - cpu, "n_images": len(rows)}
    if vectors is not None:
        np.save(vectors, np.asarray(rows, np.float32))
    return facts | getattr(embed, "last", {}) | {"peak_rss_mb": _peak_rss_mb()}


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _peak_rss_mb() -> float:
    """Not ``ru_maxrss``: that of a child is at least what its parent had when it started it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def _tell(answers: Any, **message: Any) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()
