"""How long `datumaro-embed explore` takes until the first pictures, and for a query; its memory.

    python benchmarks/explore_speed.py                            # 10,000, 100,000, 300,000 items
    python benchmarks/explore_speed.py --items 10000 --folder /tmp/explore  # keeps the stores

The stores are made up: clusters of vectors, two boxes an item, findings of 5 % of the items, and
10,000 image files (640 × 427) that the items of larger stores share. The client asks what the page
asks, over six connections, as a browser does; it draws nothing. Times are of the clock, and beside
them what the server's process used of the processors.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
from PIL import Image

from datumaro_embed import (
    AnnotationRecord,
    Categories,
    Finding,
    Findings,
    ItemKey,
    ItemRecord,
    ObjectRecord,
    Split,
    open_store,
)
from datumaro_embed.models import load_manifest, resolve_model
from datumaro_embed.store import Hdf5Stores
from datumaro_embed.vectors import VectorKind
from synthetic_store import CLUSTER_ROWS, NOISE

SAMPLE = Path(__file__).parents[1] / "sample_data" / "coco" / "images"
SIZE_PX = (640, 427)
N_FILES = 10_000
N_LABELS = 80
CARDS, CONNECTIONS = 60, 6
TEXTS = ("a cat", "a red car", "two dogs", "a tree", "food on a table", "a boat", "night", "a cup")
BOX = (100.0, 80.0, 200.0, 160.0)


def main() -> None:
    """Measure each size and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--items", type=int, nargs="*", default=[10_000, 100_000, 300_000])
    parser.add_argument("--folder", type=Path, help="keep files and stores here")
    parser.add_argument("--model", default="demo")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        make_images(folder / "media")
        for n_items in options.items:
            store = folder / f"{n_items}.h5"
            make_store(store, n_items, folder / "media", options.model)
            for state in ("no picture made before", "pictures in the cache"):
                cache = folder / f"cache-{n_items}"
                measure(store, n_items, state, cache)


def make_images(folder: Path) -> None:
    """Write pictures of the sample as many files, which differ in a comment."""
    if folder.exists():
        return
    folder.mkdir(parents=True)
    encoded = []
    for path in sorted(SAMPLE.rglob("*.jpg"))[:24]:
        stream = BytesIO()
        with Image.open(path) as image:
            image.convert("RGB").resize(SIZE_PX).save(stream, "JPEG", quality=90)
        encoded.append(stream.getvalue())
    for number in range(N_FILES):
        data = encoded[number % len(encoded)]
        comment = b"\xff\xfe\x00\x06" + number.to_bytes(4, "big")
        (folder / f"{number:05}.jpg").write_bytes(data[:2] + comment + data[2:])


def make_store(path: Path, n_items: int, media: Path, model: str) -> None:
    """Write a store whose vectors a text of the model can be compared with, and its findings."""
    if path.exists():
        return
    manifest = load_manifest(resolve_model(model), verify_hashes=False)
    kind = VectorKind(manifest.dim, "float16", manifest.fingerprint)
    shas = [hashlib.sha256(file.read_bytes()).digest() for file in sorted(media.iterdir())]
    vectors = unit_vectors(3 * n_items, manifest.dim)
    with Hdf5Stores().begin(path, kind, n_expected=n_items) as writer:
        writer.set_categories(Categories(tuple(f"label {n}" for n in range(N_LABELS))))
        for row in range(n_items):
            writer.append(record(row, shas, vectors), next(vectors))
        provenance = {"model": {"name": model}, "media_root": str(media)}
        writer.seal(provenance)
    with open_store(path) as store:
        Findings(findings(store.uuid, n_items, shas)).to_csv(f"{path}.findings.csv")


def record(row: int, shas: list[bytes], vectors: Iterator[Any]) -> ItemRecord:
    """Make an item with two objects."""
    labels = row % N_LABELS, (7 * row + 1) % N_LABELS
    return ItemRecord(
        ItemKey("train", f"{row:08}"),
        Split.TRAIN,
        f"{row % len(shas):05}.jpg",
        *SIZE_PX,
        content_sha256=shas[row % len(shas)],
        annotations=tuple(AnnotationRecord("bbox", label, coords=BOX) for label in labels),
        objects=tuple(
            ObjectRecord(label, BOX, 32_000.0, annotations=(n,), vector=next(vectors))
            for n, label in enumerate(labels)
        ),
    )


def findings(uuid: str, n_items: int, shas: list[bytes]) -> Iterator[Finding]:
    """Yield a finding of each twentieth item."""
    for rank, row in enumerate(range(0, n_items, 20), start=1):
        yield Finding(
            "outlier",
            subset="train",
            id=f"{row:08}",
            measure="rarity",
            value=1 / rank,
            rank=rank,
            suggestion="review",
            reason="no other image is near it",
            content_sha256=shas[row % len(shas)].hex(),
            store=uuid,
        )


def unit_vectors(n_rows: int, dim: int) -> Iterator[Any]:
    """Yield vectors in clusters."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((max(1, n_rows // CLUSTER_ROWS), dim), dtype=np.float32)
    for start in range(0, n_rows, 20_000):
        count = min(20_000, n_rows - start)
        noise = NOISE * rng.standard_normal((count, dim), dtype=np.float32)
        block = centres[rng.integers(0, len(centres), count)] + noise
        yield from block / np.linalg.norm(block, axis=1, keepdims=True)


class Server:
    """A running explorer, and what its process uses."""

    def __init__(self, store: Path, cache: Path) -> None:
        self.started = time.monotonic()
        words = ("explore", str(store), "--no-browser")
        command = [sys.executable, "-m", "datumaro_embed.cli", *words]
        environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self._process.stdout is not None
        parts = urlsplit(self._process.stdout.readline().strip())
        self._place, self._base = parts.netloc, parts.path

    def get(self, *paths: str) -> list[bytes]:
        """Get some addresses one after the other, over one connection."""
        connection = HTTPConnection(self._place, timeout=600)
        found = []
        for path in paths:
            connection.request("GET", f"{self._base}{path}")
            response = connection.getresponse()
            body = response.read()
            if response.status not in (200, 202, 503):
                raise RuntimeError(f"{path}: {response.status} {body[:200]!r}")
            found.append(body if response.status == 200 else b"")
        connection.close()
        return found

    def pictures(self, query: str) -> None:
        """Get rows, the first cards, and their pictures, as the page does."""
        (rows,) = self.get(f"api/rows?{query}")
        first = np.frombuffer(rows[: 4 * CARDS], "<i4").tolist()
        (cards,) = self.get(f"api/cards?of=items&rows={','.join(map(str, first))}")
        paths = [f"thumb/items/{c['row']}/{c['v']}?size=160" for c in json.loads(cards)]
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            some = [paths[n::CONNECTIONS] for n in range(CONNECTIONS)]
            list(pool.map(lambda each: self.get(*each), some))

    def used_s(self) -> float:
        """Seconds of all processors."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> tuple[int, int]:
        """Give the most memory that it had, and what it has now that is no mapped file."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        facts = dict(line.split(":", 1) for line in lines)
        peak, anonymous = (int(facts[name].split()[0]) // 1024 for name in ("VmHWM", "RssAnon"))
        return peak, anonymous

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()


@dataclass
class Timer:
    """Clock and processor seconds of a block."""

    server: Server

    def __enter__(self) -> Timer:
        self._clock, self._used = time.monotonic(), self.server.used_s()
        return self

    def __exit__(self, *_: object) -> None:
        self.clock_s = time.monotonic() - self._clock
        self.used_s = self.server.used_s() - self._used


def measure(store: Path, n_items: int, state: str, cache: Path) -> None:
    """Start, look, search and draw a map, and print what it takes."""
    server = Server(store, cache)
    try:
        address_s, address_used = time.monotonic() - server.started, server.used_s()
        server.get("", "assets/app.js", "assets/app.css", "api/store")
        server.pictures("of=items")
        first_s, first_used = time.monotonic() - server.started, server.used_s()
        first_mb = server.memory_mb()
        while not server.get("api/rows?text=warm")[0]:
            time.sleep(0.1)
        loaded_mb = server.memory_mb()
        texts = []
        for text in TEXTS:
            with Timer(server) as timer:
                server.pictures(f"of=items&text={quote(text)}")
            texts.append(timer)
        with Timer(server) as rows:
            server.get(f"api/rows?of=items&text={quote(TEXTS[0])}&label=label%203")
        with Timer(server) as drawn:
            while not server.get("api/map?of=items")[0]:
                time.sleep(0.05)
        size = store.stat().st_size // 2**20
        print(
            f"{n_items:,} items ({size:,} MB), {state}:\n"
            f"  address after {address_s:.2f} s ({address_used:.2f} s of processors), first "
            f"{CARDS} pictures after {first_s:.2f} s ({first_used:.2f} s)\n"
            f"  text: first {CARDS} pictures after {median(t.clock_s for t in texts):.2f} s "
            f"({median(t.used_s for t in texts):.2f} s), rows with a filter {rows.clock_s:.2f} s "
            f"({rows.used_s:.2f} s)\n"
            f"  PCA {drawn.clock_s:.1f} s ({drawn.used_s:.1f} s)\n"
            f"  memory, most and not mapped: {first_mb[0]} and {first_mb[1]} MB at the first "
            f"pictures, {loaded_mb[0]} and {loaded_mb[1]} MB with the model, "
            f"{server.memory_mb()[0]} and {server.memory_mb()[1]} MB in the end",
            flush=True,
        )
    finally:
        server.stop()


if __name__ == "__main__":
    main()
