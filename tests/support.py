"""What several test modules share: the sample data, a real process, small datasets on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from datumaro_embed.kinds import is_image_name
from fork_server import environment_of_runs, fork_server

if TYPE_CHECKING:
    from datumaro_embed.adapter import ImportedDataset

REPO = Path(__file__).parents[1]
SAMPLE = REPO / "sample_data"


PROGRAMS = {"datum": "datumaro", "datumaro-embed": "datumaro_embed.cli"}


def run(
    *command: str | Path, cwd: Path | None = None, fork: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a real process of this environment: ``run("datumaro-embed", …)``, ``run("datum", …)``.

    It is a fork of one that has imported these programs, which saves a second, unless `fork` is
    False or the test has changed a variable that these imports read.
    """
    name, *arguments = map(str, command)
    if fork and name in PROGRAMS and fork_server(PROGRAMS[name]).serves(environment_of_runs()):
        return fork_server(PROGRAMS[name]).run(arguments, cwd, timeout_s=300)
    program = [sys.executable, "-m", PROGRAMS[name]] if name in PROGRAMS else [name]
    return _run_process([*program, *arguments], cwd)


def run_script(script: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run ``python script arguments`` in the script's folder, as a fork that `run` describes."""
    server, words = fork_server(PROGRAMS["datum"]), list(map(str, arguments))
    if server.serves(environment_of_runs()):
        return server.run(words, script.parent, timeout_s=300, script=str(script))
    return _run_process([sys.executable, str(script), *words], script.parent)


def _run_process(command: list[str], cwd: Path | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=environment_of_runs(),
        timeout=300,
    )


def picture(seed: int, size: tuple[int, int] = (48, 40)) -> Image.Image:
    """Return a smooth random picture, different for each seed."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


def write_coco(
    root: Path, files: Iterable[tuple[str, tuple[int, int]]], subset: str = "train"
) -> Path:
    """Write COCO annotations (one box each, label ``thing``); the images are the caller's.

    Parameters
    ----------
    files : pairs of file_name and declared (width, height)
    """
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "images" / subset).mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number, (name, (width, height)) in enumerate(files, start=1):
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 1,
                "bbox": [1, 2, 3, 4],
                "area": 12,
                "iscrowd": 0,
                "segmentation": [],
            }
        )
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "thing"}],
    }
    path = root / "annotations" / f"instances_{subset}.json"
    path.write_text(json.dumps(content))
    return root


def write_pictures(
    root: Path, n_images: int, size: tuple[int, int], suffix: str = ".png", subset: str = "train"
) -> Path:
    """Write a COCO dataset of `n_images` different pictures, all of one size."""
    files = [(f"{number:05}{suffix}", size) for number in range(n_images)]
    write_coco(root, files, subset)
    for number, (name, _) in enumerate(files):
        picture(number, size).save(root / "images" / subset / name)
    return root


def assert_all_accounted(
    root: Path, imported: ImportedDataset, *, without: Iterable[str] = ()
) -> None:
    """Check that image files on disk are rows, or are counted among the losses.

    Parameters
    ----------
    without : iterable of str
        Folders, relative to the root, whose images are no images of the dataset: masks, previews.
    """
    on_disk = {
        str(path.relative_to(root))
        for path in root.rglob("*")
        if is_image_name(path.name)
        and not path.is_dir()
        and not any(part.startswith((".", "__MACOSX")) for part in path.relative_to(root).parts)
    }
    on_disk = {
        name for name in on_disk if not name.startswith(tuple(f"{each}/" for each in without))
    }
    base = imported.source.root
    rows = [os.path.relpath(base / item.path, root) for item in imported.source if item.path]
    unused = on_disk - set(rows)
    reasons = [reason for reason in imported.losses if reason.text.startswith("image files")]
    assert len(unused) == sum(reason.count for reason in reasons), (unused, reasons)
    named = {example.split(" beside ")[0] for reason in reasons for example in reason.examples}
    assert {os.path.relpath(base / name, root) for name in named} <= unused
