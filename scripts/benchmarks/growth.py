"""Memory and time as a dataset grows: 1,000, 10,000 and 100,000 items with the demo model.

    python scripts/benchmarks/growth.py [--work FOLDER] [--items 1000,10000,100000]

Every image is a file of its own with bytes of its own (a comment with its number), so nothing is
embedded once for many. Each size is a process of its own that first imports the dataset, which
Datumaro holds in memory, and then embeds it; the peak is given for both.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import materials
from machine import WORK, describe_machine
from PIL import Image

MEASURED = """
import json, resource, sys, time
from datumaro_embed.adapter import SourceDataset, import_dataset
from datumaro_embed.pipeline import EmbedOptions, embed_source
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
imported = import_dataset(sys.argv[1] + ":image_dir")
source = SourceDataset(imported.dataset, root=imported.root)
options = EmbedOptions(model="demo", restart=True)
encoder = options.load_encoder()
before = peak()
started, cpu = time.perf_counter(), time.process_time()
summary = embed_source(source, sys.argv[2], options, progress=False, encoder=encoder)
seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
assert summary.n_failed == 0, summary.lines()
print(json.dumps({"n_items": summary.n_items, "seconds": seconds, "cpu_seconds": cpu,
                  "imported_mb": before, "peak_mb": peak()}))
"""
SIDE_PX = 96


def numbered_images(work: Path, n_images: int) -> Path:
    """Return a folder of small JPEGs, each with its number in a comment."""
    root = work / f"numbered-{n_images}"
    if root.is_dir():
        return root
    partial = root.with_name(f".{root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    pictures = _small_pictures(work)
    for number in range(n_images):
        head, tail = pictures[number % len(pictures)]
        text = f"{number:08}".encode()
        comment = b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text
        (partial / f"{number:08}.jpg").write_bytes(head + comment + tail)
    partial.rename(root)
    return root


def measure(images: Path, work: Path) -> dict[str, float]:
    """Embed a folder in a process of its own."""
    store = work / "growth.h5"
    command = [sys.executable, "-c", MEASURED, str(images), str(store)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    store.unlink()
    facts: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return facts


def main() -> int:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--items", default="1000,10000,100000")
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    found = []
    print("| items | peak RSS MB | of it before embedding | ms an item | core-ms an item |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for n_images in map(int, options.items.split(",")):
        facts = measure(numbered_images(options.work, n_images), options.work)
        found.append(facts)
        wall, cores = (1000 * facts[key] / n_images for key in ("seconds", "cpu_seconds"))
        memory = f"{facts['peak_mb']:.0f} | {facts['imported_mb']:.0f}"
        print(f"| {n_images:,} | {memory} | {wall:.3f} | {cores:.3f} |", flush=True)
    if options.out is not None:
        content = {"machine": describe_machine(), "sizes": found}
        options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


def _small_pictures(work: Path) -> list[tuple[bytes, bytes]]:
    """Return small JPEGs cut behind their first marker, where a comment goes."""
    found = []
    for path in sorted(materials.photographs_folder(work, 64).glob("*.jpg")):
        buffer = BytesIO()
        with Image.open(path) as image:
            image.resize((SIDE_PX, SIDE_PX)).save(buffer, "JPEG", quality=90)
        found.append((buffer.getvalue()[:2], buffer.getvalue()[2:]))
    return found


if __name__ == "__main__":
    sys.exit(main())
