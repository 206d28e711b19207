"""Show what INT8 costs the demo model: make one from drawn scenes, compare both on other scenes.

    python scripts/demo_model/evaluate_int8.py [--model demo] [--items 600]

Needs the `quantise` extra and what evaluate.py needs. Scenes for calibration and for the held-out
table are drawn in the training styles; R@1 is that of evaluate.py, on drawings by an artist that
the model has never seen. Exit status 1 where recall@10 is below 0.95, or R@1 falls by more than two
points.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from datumaro_embed.adapter import import_dataset
from datumaro_embed.encoders import ClipEncoder
from datumaro_embed.quantising import quantise_model

sys.path.append(str(Path(__file__).parents[1] / "sample_data"))  # has drawings.py

import drawings
from captions import TRAINING_STYLES, everyday_concepts
from evaluate import SEED, single_recalls, single_scenes
from scenes import TRAINING_PHOTOGRAPHS, compose

MAX_LOSS = 0.02
MIN_RECALL = 0.95


def write_scenes(folder: Path, concepts: list[str], n_scenes: int, seed: int = 1) -> None:
    """Draw scenes with one to three things, as files in a folder for each concept of the first."""
    rng = np.random.default_rng([SEED, seed])
    photographs = drawings.photographs()
    behind = [photographs[name] for name in TRAINING_PHOTOGRAPHS]
    style = TRAINING_STYLES[0]
    known = [c for c in concepts if c in set(drawings.icon_names(style))]
    icons = drawings.load_icons(style, known, size_px=224)
    for number in range(n_scenes):
        chosen = rng.choice(sorted(icons), rng.integers(1, 4), replace=False).tolist()
        scene = compose(rng, icons, tuple(chosen), behind)
        target = folder / chosen[0] / f"{number:05}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene.pixels).save(target)


def main() -> int:
    """Draw, quantise, compare, print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="demo", help="model directory or name")
    parser.add_argument("--items", type=int, default=600, help="scenes; half of them calibrate")
    options = parser.parse_args()
    concepts = everyday_concepts()
    with tempfile.TemporaryDirectory() as scratch:
        scenes = Path(scratch) / "scenes"
        write_scenes(scenes, concepts, options.items)
        source = import_dataset(f"{scenes}:imagenet").source
        out = Path(scratch) / "int8"
        half = options.items // 2
        fidelity = quantise_model(options.model, source, out, calibration_items=half, force=True)
        print("\n".join(fidelity.lines()))
        found = {}
        tests = single_scenes(concepts, SEED)
        for name, model in (("full", options.model), ("INT8", out)):
            encoder = ClipEncoder.load(model)
            recalls = single_recalls(concepts, tests, encoder.embed_images, encoder.embed_texts)
            found[name] = recalls["R@1"]
            print(f"  text to image R@1, {name}   {found[name]:.4f}")
    loss = found["full"] - found["INT8"]
    holds = fidelity.recall_at_10 >= MIN_RECALL and loss <= MAX_LOSS
    print(f"  loss {100 * loss:.1f} points: {'holds' if holds else 'DOES NOT HOLD'}")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
