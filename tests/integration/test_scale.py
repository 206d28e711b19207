"""A hundred real photographs one by one, and thousands of files with flat memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from datumaro.components.dataset import Dataset
from PIL import Image

from datumaro_embed import ItemKey, embed_dataset, open_store
from support import SAMPLE, write_coco, write_pictures

pytestmark = pytest.mark.slow
MODES = ("RGB", "L", "CMYK", "P", "1", "LA", "RGBA")
SUFFIXES = {"RGB": ".jpg", "L": ".jpg", "CMYK": ".jpg", "1": ".png"}


def photographs(root: Path, n_images: int) -> Path:
    """Cut the sample's photographs into crops of every mode and size, as a COCO dataset."""
    originals = sorted((SAMPLE / "coco" / "images").rglob("photo_*.jpg"))
    rng = np.random.default_rng(7)
    files = []
    for number in range(n_images):
        image = Image.open(originals[number % len(originals)]).convert("RGB")
        w, h = (int(rng.integers(60, side + 1)) for side in image.size)
        x, y = int(rng.integers(0, image.width - w + 1)), int(rng.integers(0, image.height - h + 1))
        mode = MODES[number % len(MODES)]
        files.append((f"crop_{number:03}{SUFFIXES.get(mode, '.png')}", (w, h)))
        folder = root / "images" / "train"
        folder.mkdir(parents=True, exist_ok=True)
        image.crop((x, y, x + w, y + h)).convert(mode).save(folder / files[-1][0])
    return write_coco(root, files)


def test_a_hundred_real_images_equal_the_encoder_alone(tmp_path: Path, demo_as_used) -> None:
    root = photographs(tmp_path / "photos", 100)
    dataset = Dataset.import_from(str(root))

    with embed_dataset(
        dataset, tmp_path / "e.h5", model="demo", dtype="float32", batch_size=7, workers=3
    ) as store:
        assert store.n_rows == 100
        for path in sorted((root / "images" / "train").iterdir()):
            row = store.row(ItemKey("train", path.stem))
            with Image.open(path) as image:
                assert (store.widths[row], store.heights[row]) == image.size
            alone = demo_as_used.embed_images([path])
            assert float((alone @ store.embeddings([row]).T).item()) >= 0.99999


def embed_in_a_process(root: Path, store: Path) -> dict[str, int]:
    """Embed in a process of its own; return its status and peak resident memory.

    Not ``ru_maxrss``: that of a child is at least what its parent had when it started it.
    """
    code = (
        "import json, re, sys\n"
        "from pathlib import Path\n"
        "from datumaro_embed.cli import main\n"
        "status = main(['embed', sys.argv[1], '--store', sys.argv[2], '--model', 'demo'])\n"
        "peak = re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1]\n"
        "print(json.dumps({'status': status, 'peak_kib': int(peak)}))\n"
    )
    command = [sys.executable, "-c", code, str(root), str(store)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=280)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is of Linux")
def test_memory_does_not_grow_with_the_dataset(tmp_path: Path) -> None:
    peaks = {}
    for n_images in (300, 1200):
        root = write_pictures(tmp_path / str(n_images), n_images, (320, 240), ".jpg")

        result = embed_in_a_process(root, tmp_path / f"{n_images}.h5")

        assert result["status"] == 0
        peaks[n_images] = result["peak_kib"]
        with open_store(tmp_path / f"{n_images}.h5") as store:
            assert (store.n_rows, set(store.statuses.tolist())) == (n_images, {0})
    assert peaks[1200] <= 1.10 * peaks[300], peaks
