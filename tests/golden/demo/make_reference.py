"""Write reference.npz: what torch makes of models/demo-checkpoint, for tests that have no torch.

    PYTHONPATH=src:tests python tests/golden/demo/make_reference.py

Needs the `export` extra; run it again only when the demo model is trained again.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

HERE = Path(__file__).parent
REPO = HERE.parents[2]
sys.path.insert(0, str(REPO / "tests" / "export"))
CHECKPOINT = REPO / "models" / "demo-checkpoint"
TEXTS = [
    "",
    "a photo of a cat",
    "A PHOTO OF A CAT",
    "a drawing of a red apple and a bicycle",
    "naïve café, 猫 🐈",
    "a long text " * 60,
]


def main() -> None:
    """Embed every fourth sample image and the texts, and keep the pixels that went in."""
    from reference import TorchClip, openai_pixels

    reference = TorchClip(CHECKPOINT)
    paths = sorted((REPO / "sample_data" / "coco" / "images").rglob("*.*"))[::4]
    images = [ImageOps.exif_transpose(Image.open(path)).convert("RGB") for path in paths]
    pixels = np.stack([np.asarray(openai_pixels(image, reference.size)) for image in images])
    np.savez_compressed(
        HERE / "reference.npz",
        pixels=pixels,
        image_vectors=reference.images(images),
        text_vectors=reference.texts(TEXTS),
    )


if __name__ == "__main__":
    main()
