"""What `datumaro-embed explore` takes in headless Chromium, beside the limits of its design.

    python benchmarks/explore_speed.py                            # 10,000, 100,000, 300,000 items
    python benchmarks/explore_speed.py --items 10000 --folder /tmp/explore  # keeps the stores

The stores are made up: clusters of vectors, two boxes an item, findings of 5 % of the items, and
10,000 image files (640 × 427) that the items of larger stores share. Chromium opens the page with
real key, mouse and wheel events; it draws on the processor, beside the server, so on two cores
frames are slower than with a graphics card. Each size is measured twice: without pictures made
before, and with those in the user's cache.

- pictures: from the start of the command until the first tile has its picture, and until all in
  sight have theirs;
- text: the same, from the typed text (median of 8); the page waits whether more is typed;
- lasso: from letting go of the mouse until the selection is drawn and counted;
- frames: while a wheel scrolls the grid for 3 s: median, the longest, and how many are over 50 ms;
- memory of the server: all of it less what is mapped from files (the store, libraries).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

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

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # has chromium.py

from chromium import Browser, Page, open_browser

SAMPLE = Path(__file__).parents[1] / "sample_data" / "coco" / "images"
SIZE_PX = (640, 427)
N_FILES = 10_000
N_LABELS = 80
TEXTS = ("a cat", "a red car", "two dogs", "a tree", "food on a table", "a boat", "night", "a cup")
BOX = (100.0, 80.0, 200.0, 160.0)


def main() -> None:
    """Measure each size and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--items", type=int, nargs="*", default=[10_000, 100_000, 300_000])
    parser.add_argument("--folder", type=Path, help="keep files and stores here")
    parser.add_argument("--model", default="demo")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, open_browser() as browser:
        folder = options.folder or Path(temporary)
        make_images(folder / "media")
        print("| items | pictures, s | text, s | lasso: points, s | frames, ms | memory, MB |")
        print("|---|---|---|---|---|---|")
        for n_items in options.items:
            store = folder / f"{n_items}.h5"
            make_store(store, n_items, folder / "media", options.model)
            for state in ("no picture made before", "pictures in the cache"):
                measure(browser, store, n_items, state, folder / f"cache-{n_items}")


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
            reason="no other image is similar to it",
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
        self.url = self._process.stdout.readline().strip()

    def memory_mb(self) -> int:
        """Give what it has now that is no mapped file."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        facts = dict(line.split(":", 1) for line in lines)
        return int(facts["RssAnon"].split()[0]) // 1024

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()


# Which tiles in sight have their picture.
SEEN = """(() => {
  const grid = document.querySelector(".grid");
  if (!grid) return [];
  const sight = grid.getBoundingClientRect();
  const tiles = [...grid.querySelectorAll(".tile")].filter((tile) => {
    const box = tile.getBoundingClientRect();
    return box.bottom > sight.top && box.top < sight.bottom;
  });
  return tiles.map((tile) => {
    const image = tile.querySelector("img");
    return Boolean(image && image.complete && image.naturalWidth > 0);
  });
})()"""
# Frames from now on, and a promise of the moment at which a condition is true after a frame.
WATCH = """
window.frames_ms = [];
window.watching = true;
(() => {
  let before = performance.now();
  const frame = (now) => {
    window.frames_ms.push(now - before);
    before = now;
    if (window.watching) requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
})();
window.until = (condition) => new Promise((resolve) => {
  const look = () => (condition() ? resolve(performance.now()) : requestAnimationFrame(look));
  look();
});
"""
# The text is selected, to be replaced; later, whether other hits than now are in sight.
TYPED = f"""
window.typed = performance.now();
window.titles = () => [...document.querySelectorAll(".tile")].map((tile) => tile.title).join();
window.before = window.titles();
window.found = () => document.querySelector(".total").textContent.includes("most similar first")
  && window.titles() !== window.before ? {SEEN} : [];
window.first_found = window.until(() => window.found()[0]);
window.all_found = window.until(() => window.found().length && window.found().every(Boolean));
document.querySelector("#search").focus();
document.querySelector("#search").select();
null;
"""
FOUND = "window.first_found", "window.all_found"
# A promise of the time from letting go of the mouse until the selection is drawn.
LASSOED = """
window.lassoed = new Promise((resolve) => {
  const drawn = (began) => setTimeout(() => resolve(performance.now() - began));
  const letGo = () => {
    const began = performance.now();
    const isCounted = () => document.querySelector(".selected");
    window.until(isCounted).then(() => requestAnimationFrame(() => drawn(began)));
  };
  const canvas = document.querySelector(".scatter canvas");
  canvas.addEventListener("pointerup", letGo, { once: true, capture: true });
});
null;  // not the promise, which would be waited for
"""


class Explored:
    """The page of a server in a browser, and what one does there."""

    def __init__(self, page: Page, server: Server) -> None:
        self._page, self._server = page, server

    def pictures_s(self) -> tuple[float, float]:
        """Open the page: when the first picture is seen, and when all are."""
        self._page.go(self._server.url, width=1400, height=900)
        self._wait(f"{SEEN}[0]")
        first = time.monotonic() - self._server.started
        self._wait(f"{SEEN}.length && {SEEN}.every(Boolean)")
        return first, time.monotonic() - self._server.started

    def text_s(self, text: str) -> tuple[float, float]:
        """Type another text than before: when the best hit is seen, and all in sight are."""
        self._page.run(WATCH + TYPED)
        self._page.write(text)
        ends = [self._page.run(f"{promise}.then((end) => end - typed)") for promise in FOUND]
        self._page.run("window.watching = false")
        return float(ends[0]) / 1000, float(ends[1]) / 1000

    def frames_ms(self) -> list[float]:
        """Scroll with a wheel for three seconds."""
        page = self._page
        x, y = page.run(
            "(() => { const r = document.querySelector('.grid').getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        page.run(WATCH)
        end = time.monotonic() + 3
        while time.monotonic() < end:
            page.wheel(x, y, 120)
            time.sleep(0.03)
        page.run("window.watching = false")
        return [float(ms) for ms in page.run("window.frames_ms.slice(1)")]

    def lasso(self) -> tuple[int, float]:
        """Draw a circle around most of the map: how many points it has, and the seconds."""
        page = self._page
        page.run("document.querySelector('#search').blur()")
        page.key("g")
        page.key("m")
        self._wait("document.querySelector('.scatter canvas')")
        x, y, w, h = page.run(
            "(() => { const r = document.querySelector('.scatter canvas').getBoundingClientRect();"
            " return [r.x, r.y, r.width, r.height]; })()"
        )
        angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
        corners = [
            (x + w / 2 + 0.42 * w * np.cos(a), y + h / 2 + 0.42 * h * np.sin(a)) for a in angles
        ]
        page.run(WATCH + LASSOED)
        page.drag(corners)
        took = float(page.run("window.lassoed")) / 1000
        page.run("window.watching = false")
        words = str(page.run("document.querySelector('.selected').textContent"))
        return int(re.sub(r"[^0-9]", "", words.split("item")[0])), took

    def _wait(self, condition: str) -> None:
        self._page.wait_for(condition, timeout_s=600)


def measure(browser: Browser, store: Path, n_items: int, state: str, cache: Path) -> None:
    """Look, search, scroll and select, and print what it takes."""
    server = Server(store, cache)
    try:
        with browser.page() as page:
            explored = Explored(page, server)
            pictures_s = explored.pictures_s()
            frames = explored.frames_ms()
            explored.text_s("warm")  # loads the text encoder
            texts = [*zip(*map(explored.text_s, TEXTS), strict=True)]
            n_points, lasso_s = explored.lasso()
            slow = sum(ms > 50 for ms in frames)
            size = store.stat().st_size // 2**20
            print(
                f"| {n_items:,} ({size:,} MB), {state} | "
                f"{pictures_s[0]:.2f}, {pictures_s[1]:.2f} | "
                f"{median(texts[0]):.2f}, {median(texts[1]):.2f} | "
                f"{n_points:,}: {lasso_s:.2f} | {median(frames):.0f}, {max(frames):.0f}; "
                f"{slow} of {len(frames)} | {server.memory_mb()} |",
                flush=True,
            )
    finally:
        server.stop()


if __name__ == "__main__":
    main()
