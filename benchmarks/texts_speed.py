#!/usr/bin/env python3
"""How many captions a second are embedded: one by one, all at full length, and as they are.

    python benchmarks/texts_speed.py MODEL [--texts 2000] [--rounds 3]

Captions are of 5 to 20 words, as COCO's are. In turns; medians are printed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np

from datumaro_embed.encoders import ClipEncoder

WORDS = ["a", "the", "cat", "dog", "photo", "of", "and", "with", "red", "ball", "on", "in", "two"]


class WholeContext(ClipEncoder):
    """Pads every text to the context's length."""

    def _shorter_texts(self) -> None:
        return None


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, rng.integers(5, 21))) for _ in range(chosen.texts)]
    ours = ClipEncoder.load(chosen.model, precision=chosen.precision)
    padded = WholeContext.load(chosen.model, precision=chosen.precision)
    few = texts[: max(10, chosen.texts // 20)]
    ways: dict[str, tuple[list[str], Callable[[list[str]], object]]] = {
        "one by one, full length": (few, lambda some: [padded.embed_texts([t]) for t in some]),
        "batches, full length": (few, padded.embed_texts),
        "batches by length": (texts, ours.embed_texts),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(chosen.rounds + 1):
        for name, (some, embed) in ways.items():
            started = time.perf_counter()
            embed(some)
            rates[name].append(len(some) / (time.perf_counter() - started))
    medians = {name: statistics.median(found[1:]) for name, found in rates.items()}
    print(json.dumps({name: round(rate, 1) for name, rate in medians.items()}))
    cosines = np.sum(ours.embed_texts(few) * padded.embed_texts(few), axis=1)
    print(f"lowest cosine with full length: {cosines.min():.7f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
