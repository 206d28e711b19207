#!/usr/bin/env python3
"""What it costs that vectors are checked: golden vector, first batch on every stream, once more.

    python benchmarks/checks.py MODEL [--images 1000] [--precision auto] [--rounds 3]

Pixels are random and in memory, so that nothing but inference counts. Each part is given as the
number of batches that it costs, in processor time: other work on the machine hardly changes that.
The whole is given in batches too: those that were computed beyond those that the images need.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from datumaro_embed.encoders import ClipEncoder


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    encoder = ClipEncoder.load(chosen.model, precision=chosen.precision)
    runs = [
        measured(ClipEncoder.load(chosen.model, precision=chosen.precision), chosen.images)
        for _ in range(chosen.rounds)
    ]
    found = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    n_needed = -(-chosen.images // encoder.batch_size)
    extra = found.pop("batches computed") - n_needed
    facts = {
        **{name: encoder.provenance()[name] for name in ("precision", "streams", "batch_size")},
        "batches of each part": {name: round(value, 2) for name, value in found.items()},
        f"batches beyond {n_needed}": extra,
        f"more work for {chosen.images:,} images": round(extra / n_needed, 4),
        f"for {10 * chosen.images:,}": round(extra / n_needed / 10, 4),
        "files looked at, microseconds": round(1e6 * files_s(encoder), 1),
    }
    print(json.dumps(facts, indent=2))
    return 0


def measured(encoder: ClipEncoder, n_images: int) -> dict[str, float]:
    """Return what each part costs, in batches."""
    engine, n_computed = encoder._images, 0
    start = engine._start

    def counted(request: Any, batch: Any) -> Any:
        nonlocal n_computed
        n_computed += 1
        return start(request, batch)

    engine._start = counted  # type: ignore[method-assign]
    rows = encoder.embed_pixels(batches(encoder, n_images))
    n_all_full = n_images // encoder.batch_size - 2
    seconds = {
        "first": timed(lambda: next(rows)),
        "full ones": timed(lambda: [next(rows) for _ in range(n_all_full)]),
        "last": timed(lambda: list(rows)),
        "before sealing": timed(encoder.confirm),
    }
    one = seconds.pop("full ones") / n_all_full
    parts = {name: value / one for name, value in seconds.items()}
    return {**parts, "batches computed": n_computed}


def timed(work: Callable[[], object]) -> float:
    """Return the processor seconds of all threads."""
    started = time.process_time()
    work()
    return time.process_time() - started


def files_s(encoder: ClipEncoder) -> float:
    """Return how long it takes to see that no file was replaced."""
    started = time.perf_counter()
    for _ in range(100):
        encoder._files.check()
    return (time.perf_counter() - started) / 100


def batches(encoder: ClipEncoder, n_images: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Give the same random batch until there are enough images, as many at a time as a run does."""
    side = encoder.image_size_px
    batch = np.random.default_rng(0).integers(
        0, 256, (encoder.batch_size, side, side, 3), dtype=np.uint8
    )
    yield batch[: encoder.first_batch_size]
    for start in range(encoder.first_batch_size, n_images, len(batch)):
        yield batch[: n_images - start]


if __name__ == "__main__":
    raise SystemExit(main())
