"""What the speed benchmarks run on: JPEGs of real photographs, and a ViT-B/32 of random weights.

Everything is made here from installed packages and kept under a folder of work, so that the next
run finds it. The photographs are those of the scikit-image and scikit-learn wheels. Speed does not
depend on the weights, so nothing is downloaded.

Needs ``scikit-image`` and ``scikit-learn``. Making a checkpoint or a model needs torch and more
(the extras ``export`` and ``quantise``): where these are in another environment, give its Python as
an argument or in ``DATUMARO_EMBED_TORCH_PYTHON``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

REPO = Path(__file__).parents[1]
SIZE_PX = (640, 480)
QUALITY = 90
_CALIBRATION_ITEMS = 64

sys.path.append(str(REPO / "scripts" / "sample_data"))  # has drawings.py


def photographs_folder(work: Path, n_images: int) -> Path:
    """Return a folder of `n_images` different JPEGs, 640 x 480, cut from real photographs.

    Parameters
    ----------
    work : Path
        Where what is made is kept; the folder is that of `coco_dataset`.

    Notes
    -----
    About 20 ms for each image the first time. The same images on every machine with the same
    versions of Pillow and of the wheels.
    """
    return coco_dataset(work, n_images) / "images" / "train"


def coco_dataset(work: Path, n_images: int) -> Path:
    """Return a COCO dataset of `n_images` JPEGs, each with one box and one caption."""
    root = work / f"photographs-{n_images}"
    if root.is_dir():
        return root
    partial = _fresh(root)
    images = partial / "images" / "train"
    images.mkdir(parents=True)
    _cut_photographs(images, n_images)
    _write_annotations(partial / "annotations", n_images)
    partial.rename(root)
    return root


def vit_b_32_checkpoint(work: Path, python: str | Path | None = None) -> Path:
    """Return a ``CLIPModel`` checkpoint in Hugging Face's layout: ViT-B/32's shape, random weights.

    Parameters
    ----------
    python : str or Path, optional
        A Python with torch and transformers.
    """
    root = work / "vit-b-32-checkpoint"
    if not root.is_dir():
        partial = _fresh(root)
        code = (
            "import sys; from pathlib import Path; from checkpoints import write_clip; "
            "write_clip(Path(sys.argv[1]), image_size=224, patch=32, width=768, layers=12, "
            "dim=512, text_width=512, text_layers=12, context=77, vocab_size=49408)"
        )
        _run(python, code, partial)
        partial.rename(root)
    return root


def vit_b_32_model(work: Path, precision: str = "fp32", python: str | Path | None = None) -> Path:
    """Return the checkpoint as a model directory.

    Parameters
    ----------
    precision : {"fp32", "int8"}
        INT8 is calibrated on 64 photographs.
    python : str or Path, optional
        A Python with torch, transformers, optimum-intel and, for INT8, nncf.
    """
    root = work / f"vit-b-32-{precision}"
    if root.is_dir():
        return root
    if precision == "fp32":
        code = (
            "import sys; from datumaro_embed.exporting import export_model; "
            "export_model(sys.argv[1], sys.argv[2])"
        )
        _run(python, code, vit_b_32_checkpoint(work, python), root)
    elif precision == "int8":
        full = vit_b_32_model(work, "fp32", python)
        code = (
            "import sys; from pathlib import Path; from datumaro_embed.quantising import *; "
            "print('\\n'.join(export_int8(sys.argv[1], Path(sys.argv[2]), calibrate=sys.argv[3], "
            f"calibration_items={_CALIBRATION_ITEMS}, force=True).lines()))"
        )
        _run(python, code, full, root, f"{coco_dataset(work, 4 * _CALIBRATION_ITEMS)}:coco")
    else:
        raise ValueError(f"precision {precision!r} is neither fp32 nor int8")
    return root


def _cut_photographs(folder: Path, n_images: int) -> None:
    from drawings import photographs

    originals = list(photographs().values())
    for number in range(n_images):
        rng = np.random.default_rng(number)
        image = Image.fromarray(originals[number % len(originals)])
        image = image.resize(SIZE_PX, Image.Resampling.LANCZOS, box=_random_box(image.size, rng))
        if rng.integers(2):
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        image.save(folder / f"{number:06}.jpg", quality=QUALITY)


def _random_box(
    size: tuple[int, int], rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Draw a 4:3 part of an image, 0.6 to 1 times the largest that fits."""
    width = min(size[0], size[1] * SIZE_PX[0] / SIZE_PX[1]) * rng.uniform(0.6, 1.0)
    height = width * SIZE_PX[1] / SIZE_PX[0]
    left, top = rng.uniform(0, size[0] - width), rng.uniform(0, size[1] - height)
    return left, top, left + width, top + height


def _write_annotations(folder: Path, n_images: int) -> None:
    """Write COCO's files of boxes and captions."""
    width, height = SIZE_PX
    images = [
        {"id": i + 1, "file_name": f"{i:06}.jpg", "width": width, "height": height}
        for i in range(n_images)
    ]
    boxes = [
        {"id": i + 1, "image_id": i + 1, "category_id": 1, "bbox": [10, 20, 300, 200]}
        | {"area": 60_000, "iscrowd": 0, "segmentation": []}
        for i in range(n_images)
    ]
    captions = [
        {"id": i + 1, "image_id": i + 1, "caption": f"a photo of a thing, number {i}"}
        for i in range(n_images)
    ]
    folder.mkdir()
    categories = [{"id": 1, "name": "thing"}]
    for name, entries in (("instances", boxes), ("captions", captions)):
        content = {"images": images, "annotations": entries, "categories": categories}
        (folder / f"{name}_train.json").write_text(json.dumps(content), encoding="utf-8")


def _fresh(root: Path) -> Path:
    """Return the name under which a folder is made before it gets its own."""
    partial = root.with_name(f".{root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    return partial


def _run(python: str | Path | None, code: str, *arguments: str | Path) -> None:
    """Run code in an environment with torch, this repository's packages first."""
    program = str(python or os.environ.get("DATUMARO_EMBED_TORCH_PYTHON") or sys.executable)
    path = os.pathsep.join([str(REPO / "src"), str(REPO / "tests" / "export")])
    environment = {**os.environ, "PYTHONPATH": path}
    subprocess.run([program, "-c", code, *map(str, arguments)], check=True, env=environment)
