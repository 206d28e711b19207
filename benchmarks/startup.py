"""How long a user waits before anything happens: help, info, the first vector.

    python benchmarks/startup.py [--work FOLDER] [--rounds 5] [--python ENV/bin/python]

Each line is a whole process, from its start to its end, in turns; medians. The first vector is that
of one photograph by ViT-B/32 with random weights, of ours and, where there is a Python with
transformers, of torch.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import materials
from machine import WORK, write_result

OURS = """
import sys
from PIL import Image
from datumaro_embed import ClipEncoder
print(ClipEncoder.load(sys.argv[1]).embed_images([Image.open(sys.argv[2])]).shape)
"""
TORCH = """
import sys, torch
from PIL import Image
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection
processor = CLIPImageProcessor.from_pretrained(sys.argv[1])
pixels = processor(Image.open(sys.argv[2]), return_tensors="pt")
with torch.inference_mode():
    print(CLIPVisionModelWithProjection.from_pretrained(sys.argv[1])(**pixels).image_embeds.shape)
"""


def commands(work: Path, torch_python: Path | None) -> dict[str, list[str]]:
    """Return what is started, by name; makes a store for `info`."""
    python, program = sys.executable, str(Path(sys.executable).with_name("datumaro-embed"))
    store = work / "startup.h5"
    sample = materials.REPO / "sample_data" / "coco"
    embed = [program, "embed", str(sample), "--store", str(store), "--model", "demo", "--restart"]
    subprocess.run(embed, check=True, capture_output=True)
    image = str(next(iter(sorted(materials.photographs_folder(work, 64).glob("*.jpg")))))
    model = str(materials.vit_b_32_model(work, "fp32", torch_python))
    found = {
        "python -c pass": [python, "-c", "pass"],
        "datumaro-embed --help": [program, "--help"],
        "datumaro-embed info STORE": [program, "info", str(store)],
        "first vector, demo model": [python, "-c", OURS, "demo", image],
        "first vector, ViT-B/32": [python, "-c", OURS, model, image],
        "embed 69 images, demo model": embed,
    }
    if torch_python is not None:
        checkpoint = str(materials.vit_b_32_checkpoint(work, torch_python))
        code = ["-W", "ignore", "-c", TORCH, checkpoint, image]
        found["first vector, transformers on torch"] = [str(torch_python), *code]
    return found


def main() -> int:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--python", type=Path, metavar="PATH", help="one with transformers")
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    options = parser.parse_args()
    found = commands(options.work.absolute(), options.python)
    seconds: dict[str, list[float]] = {name: [] for name in found}
    for turn in range(options.rounds + 1):
        for name, command in found.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            if turn:  # the first only fills the file cache
                seconds[name].append(time.perf_counter() - started)
    print("| | seconds, median | range |\n| --- | ---: | ---: |")
    for name, taken in seconds.items():
        print(f"| `{name}` | {statistics.median(taken):.2f} | {min(taken):.2f}–{max(taken):.2f} |")
    if options.out is not None:
        write_result(options.out, seconds=seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
