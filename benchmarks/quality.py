"""How well statistics of pixels tell bad pictures, beside cleanvision.

    python benchmarks/quality.py make /tmp/planted5 /tmp/bad
    VENV/bin/python benchmarks/peers/cleanvision_scores.py /tmp/bad /tmp/bad.csv
    python benchmarks/quality.py score /tmp/bad [/tmp/bad.csv]

VENV: a virtual environment with cleanvision.

``make`` copies the readable pictures of a planted dataset (shared drawings, see planted_labels.py)
that are no planted outliers to ``good``, and 60 of them to a folder for each kind, made bad.
``score`` prints for each kind: AUROC against the good pictures, how many are above the threshold
that 2 % of the good ones pass, and how many are named by default, with how many of the good.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from datumaro_embed.auditing.quality import KINDS, measure_quality
from datumaro_embed.signatures import describe

_EACH = 60
_PEER = {  # kind → issue of cleanvision
    "dark": "dark",
    "bright": "light",
    "blurry": "blurry",
    "uninformative": "low_information",
    "odd_shape": "odd_aspect_ratio",
    "odd_size": "odd_size",
    "gray": "grayscale",
}


def _dim(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    factor = rng.uniform(0.12, 0.35)
    return picture.point(lambda level: int(level * factor))


def _bleach(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    factor = rng.uniform(0.12, 0.35)
    return picture.point(lambda level: int(255 - (255 - level) * factor))


def _blur(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    if rng.random() < 0.5:
        return picture.filter(ImageFilter.GaussianBlur(rng.uniform(1.2, 3)))
    pixels = np.asarray(picture).astype(np.float32)  # moved while it was taken
    length = int(rng.integers(6, 13))
    moved = np.mean([np.roll(pixels, shift, axis=1) for shift in range(length)], axis=0)
    return Image.fromarray(moved[:, length:].astype(np.uint8))


def _fog(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    level, factor = rng.uniform(60, 200), rng.uniform(0.02, 0.08)
    return picture.point(lambda old: int(level + (old - 128) * factor))


def _flatten(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    color = rng.integers(0, 256, 3)
    pixels = color + rng.normal(0, rng.uniform(0, 2), (picture.height, picture.width, 3))
    text = rng.random() < 0.3  # a placeholder with a line of something
    if text:
        pixels[picture.height // 2 - 4 : picture.height // 2 + 4, 40:120:5] = 255 - color
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _noise(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    noise = rng.normal(0, rng.uniform(15, 40), (picture.height, picture.width, 3))
    return Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))


def _strip(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    share = rng.uniform(0.08, 0.18)
    width, height = picture.size
    if rng.random() < 0.5:
        return picture.crop((0, 0, width, max(8, int(height * share))))
    return picture.crop((0, 0, max(8, int(width * share)), height))


def _scale(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    factor = rng.uniform(0.08, 0.2) if rng.random() < 0.5 else rng.uniform(4, 6)
    return picture.resize([max(8, int(side * factor)) for side in picture.size])


def _decolor(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    gray = picture.convert("L")
    return gray.convert("RGB") if rng.random() < 0.5 else gray  # stored as color, or as gray


MAKERS: dict[str, Callable[[Image.Image, np.random.Generator], Image.Image]] = {
    "dark": _dim,
    "bright": _bleach,
    "blurry": _blur,
    "uninformative": _fog,
    "uniform": _flatten,
    "noisy": _noise,
    "odd_shape": _strip,
    "odd_size": _scale,
    "gray": _decolor,
}


def make(dataset: Path, out: Path) -> None:
    """Write the folders."""
    truth = json.loads(Path(f"{dataset}_truth.json").read_text())
    left_out = {entry[0] for kind in ("outlier", "corrupt") for entry in truth[kind]}
    files = [f for f in sorted(dataset.rglob("*.jpg")) if f.stem not in left_out]
    rng = np.random.default_rng(0)
    (out / "good").mkdir(parents=True)
    for file in files:
        (out / "good" / file.name).write_bytes(file.read_bytes())
    for kind, maker in MAKERS.items():
        (out / kind).mkdir()
        for n in rng.choice(len(files), _EACH, replace=False):
            picture = maker(Image.open(files[n]).convert("RGB"), rng)
            picture.save(out / kind / files[n].name, quality=90)


def score(folder: Path, peer: Path | None) -> None:
    """Print the tables."""
    files = sorted(folder.rglob("*.jpg"))
    kinds = np.array([file.parent.name for file in files])
    sizes, numbers, seconds = [], [], 0.0
    for file in files:
        picture = Image.open(file).convert("RGB")
        start = time.perf_counter()
        numbers.append(describe(picture)[1])
        seconds += time.perf_counter() - start
        sizes.append(picture.size)
    print(f"{1000 * seconds / len(files):.2f} ms a picture")
    # Each kind with the good pictures alone: a dataset is not bad in nine ways at once.
    print("| kind | AUROC | at 2 % false | by default | good ones named | cleanvision: the same |")
    print("|---|---|---|---|---|---|")
    theirs = _peer_scores(peer, folder, files) if peer else {}
    for kind in KINDS:
        some = (kinds == "good") | (kinds == kind)
        found = measure_quality(np.array(numbers)[some], np.array(sizes)[some])[kind]
        bad = kinds[some] == kind
        row = [kind, *_figures(found.values, found.named, bad)]
        if issue := theirs.get(_PEER.get(kind, "")):
            row.append(" / ".join(_figures(issue[0][some], issue[1][some], bad)))
        print(f"| {' | '.join(row)} |")


def _figures(
    values: npt.NDArray[np.floating], named: npt.NDArray[np.bool_], bad: npt.NDArray[np.bool_]
) -> list[str]:
    good = np.sort(values[~bad])
    above = np.searchsorted(good, values[bad], "left") + np.searchsorted(good, values[bad], "right")
    auroc = above.mean() / 2 / len(good)
    least = good[int(np.ceil(0.98 * len(good))) - 1]
    at_two = (values[bad] > least).mean()
    return [
        f"{auroc:.3f}",
        f"{at_two:.0%}",
        f"{named[bad].mean():.0%}",
        f"{named[~bad].mean():.1%}",
    ]


def _peer_scores(
    table: Path, folder: Path, files: list[Path]
) -> dict[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]]:
    """Read issue → badness and verdict of each file."""
    with table.open(newline="") as lines:
        rows = {row["file"]: row for row in csv.DictReader(lines)}
    ordered = [rows[str(file.relative_to(folder))] for file in files]
    return {
        issue: (
            np.array([1 - float(row[f"{issue}_score"]) for row in ordered]),
            np.array([row[f"is_{issue}_issue"] == "True" for row in ordered]),
        )
        for issue in _PEER.values()
    }


def main() -> None:
    """Run a part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["make", "score"])
    parser.add_argument("paths", type=Path, nargs="+")
    options = parser.parse_args()
    first, second = [*options.paths, None][:2]
    if options.part == "make":
        make(first, second)
    else:
        score(first, second)


if __name__ == "__main__":
    main()
