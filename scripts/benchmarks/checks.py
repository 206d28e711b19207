#!/usr/bin/env python3
"""What it costs that vectors are checked: golden vector, first batch on every stream, once more.

    python scripts/benchmarks/checks.py MODEL [--images 1000] [--precision auto] [--rounds 3]

Pixels are random and in memory, so that nothing but inference counts. Embedding with the checks
and without goes in turns; the least of each is printed, as other work only ever adds.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from datumaro_embed.encoders import ClipEncoder
from datumaro_embed.encoders.engine import Arrays, Engine, Rows
from datumaro_embed.models import golden_pixels


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    with_checks, without = [], []
    for _ in range(chosen.rounds):
        with_checks.append(embed(chosen.model, chosen.precision, chosen.images, checked=True))
        without.append(embed(chosen.model, chosen.precision, chosen.images, checked=False))
    ours, theirs = min(with_checks), min(without)
    encoder = ClipEncoder.load(chosen.model, precision=chosen.precision)
    facts = {
        "images": chosen.images,
        "precision": encoder.provenance()["precision"],
        "streams": encoder.provenance()["streams"],
        "seconds, checked": round(ours, 3),
        "seconds, not checked": round(theirs, 3),
        "ratio": round(ours / theirs, 4),
        "of which golden vector, s": round(golden_s(encoder), 3),
        "files looked at, µs": round(1e6 * files_s(encoder), 1),
        "resident memory, MB": resident_mb(),
    }
    print(json.dumps(facts, indent=2, ensure_ascii=False))
    return 0


class Unchecked(Engine):
    """Takes what the first batch gives, whichever stream computed it."""

    def _run_first(self, batch: Arrays) -> Rows | None:
        del batch
        return None


def embed(model: str, precision: str, n_images: int, *, checked: bool) -> float:
    """Return how long embedding takes, loading left out but for the golden vector."""
    encoder = ClipEncoder.load(model, precision=precision)
    if not checked:
        encoder._images.__class__ = Unchecked
    started = time.perf_counter()
    if checked:
        golden_s(encoder)
    for _ in encoder.embed_pixels(batches(encoder, n_images)):
        pass
    encoder.confirm()
    return time.perf_counter() - started


def golden_s(encoder: ClipEncoder) -> float:
    """Return how long the golden vector takes."""
    started = time.perf_counter()
    drawn = golden_pixels(encoder.image_size_px)[None]
    encoder._images.run_on_every_stream({"pixel_values": drawn})
    return time.perf_counter() - started


def files_s(encoder: ClipEncoder) -> float:
    """Return how long it takes to see that no file was replaced."""
    started = time.perf_counter()
    for _ in range(100):
        encoder._files.check()
    return (time.perf_counter() - started) / 100


def batches(encoder: ClipEncoder, n_images: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Give the same random batch until there are enough images; the last is shorter."""
    side = encoder.image_size_px
    batch = np.random.default_rng(0).integers(
        0, 256, (encoder.batch_size, side, side, 3), dtype=np.uint8
    )
    for start in range(0, n_images, len(batch)):
        yield batch[: n_images - start]


def resident_mb() -> int:
    """Return the resident memory of this process, on Linux."""
    with open(f"/proc/{os.getpid()}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20


if __name__ == "__main__":
    raise SystemExit(main())
