#!/usr/bin/env python3
"""Kill a real `datumaro-embed embed` at random moments, again and again, and compare the end.

    python scripts/soak_kill.py -n 50

Makes a dataset, embeds it once without interruption, and then in rounds: start, SIGKILL at a
random moment of its writing, start again … until the run ends by itself. Objects are embedded too.
Prints one line for each round and exits 1 where a finished store differs from the first in any byte
of items, annotations or objects.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from datumaro_embed.models import resolve_model
from datumaro_embed.place import manifest_files
from datumaro_embed.store import open_store
from datumaro_embed.store.schema import array_specs


@dataclass
class Tally:
    """What happened in all rounds."""

    kills: int = 0
    rounds: int = 0
    different: int = 0
    moments: Counter[str] = field(default_factory=Counter)
    """Kills by what was on the disk just after."""


def main() -> int:
    """Run the rounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", "--kills", type=int, default=50)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--commit-rows", type=int, default=32, help="8,192 in real life")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--keep-segments", action="store_true", help="a store directory, not a file"
    )
    chosen = parser.parse_args()
    rng = random.Random(chosen.seed)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        return _soak(Path(folder), chosen, rng)


def _soak(folder: Path, chosen: argparse.Namespace, rng: random.Random) -> int:
    dataset = _write_dataset(folder / "data", chosen.images)
    shutil.copytree(resolve_model("demo"), folder / "model")  # which stays as it is all the while
    name = "store" if chosen.keep_segments else "store.h5"
    reference = folder / "whole" / name
    process = _start(dataset, reference, chosen.commit_rows)
    _wait_for_lock(reference, process)
    started = time.monotonic()
    _end(process)
    seconds = time.monotonic() - started
    expected = _content(reference)
    print(f"an uninterrupted run writes for {seconds:.1f} s", flush=True)
    tally = Tally()
    while tally.kills < chosen.kills:
        target = folder / f"round-{tally.rounds}" / name
        before = tally.kills
        while tally.kills < chosen.kills:
            process = _start(dataset, target, chosen.commit_rows)
            _wait_for_lock(target, process)
            started = time.monotonic()
            try:
                process.wait(timeout=rng.uniform(0, 0.7) * seconds)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                tally.kills += 1
                tally.moments[_moment(target)] += 1
                continue
            _check_ended(process)
            if tally.kills == before:  # a whole run, and the first may have been slow
                seconds = min(seconds, time.monotonic() - started)
            break
        _end(_start(dataset, target, chosen.commit_rows))
        same = _content(target) == expected
        alone = [path.name for path in target.parent.iterdir()] == [name]
        tally.rounds += 1
        tally.different += not (same and alone)
        print(
            f"round {tally.rounds}: {tally.kills - before} kills, "
            f"{'identical' if same else 'DIFFERENT'}{'' if alone else ', something is left'}",
            flush=True,
        )
        if not same:
            print("\n".join(_differences(reference, target)), flush=True)
        shutil.rmtree(target.parent)
    print(f"| kills | rounds | {' | '.join(tally.moments)} | final stores that differ |")
    counts = " | ".join(map(str, tally.moments.values()))
    print(f"| {tally.kills} | {tally.rounds} | {counts} | {tally.different} |")
    return 1 if tally.different else 0


def _write_dataset(root: Path, n_images: int) -> Path:
    (root / "annotations").mkdir(parents=True)
    folder = root / "images" / "train"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for number in range(n_images):
        name = f"{number:05}.jpg"
        small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        small.resize((320, 240), Image.Resampling.BICUBIC).save(folder / name)
        images.append({"id": number + 1, "file_name": name, "width": 320, "height": 240})
        for n in range(number % 4):
            box: dict[str, Any] = {"id": 4 * number + n + 1, "image_id": number + 1}
            box |= {"category_id": 1, "iscrowd": 0, "bbox": [1.5 + 60 * n, 2, 30, 40], "area": 1200}
            boxes.append(box | {"segmentation": []})
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "thing"}]}
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    return root


def _start(dataset: Path, target: Path, commit_rows: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "datumaro_embed.cli", "embed", f"{dataset}:coco"]
    command += [
        "--store",
        str(target),
        "--model",
        str(dataset.with_name("model")),
        "--commit-rows",
        str(commit_rows),
        "--objects",
    ]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _wait_for_lock(target: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until a run begins to write."""
    work = target if target.suffix == "" else Path(f"{target}.work")
    before = _changed(work / "lock")
    while _changed(work / "lock") == before and process.poll() is None:
        time.sleep(0.005)


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _end(process: subprocess.Popen[bytes]) -> None:
    process.wait()
    _check_ended(process)


def _check_ended(process: subprocess.Popen[bytes]) -> None:
    if process.returncode:
        errors = process.stderr.read().decode() if process.stderr else ""
        raise SystemExit(f"embed ended with {process.returncode}: {errors}")


def _content(path: Path, *, partial: bool = False) -> dict[str, bytes]:
    with open_store(path, partial=partial) as store:
        if problems := store.verify():
            raise SystemExit(f"{path}: {problems[0]}")
        return {
            path: store.column(path).tobytes()
            for path, spec in array_specs().items()
            if spec.table in ("items", "annotations", "objects") and store.has(path)
        }


def _differences(expected: Path, found: Path) -> Iterator[str]:
    """Say which columns differ, and in which rows."""
    with open_store(expected) as one, open_store(found) as two:
        for path in array_specs():
            if path.startswith("checksums/") or not one.has(path):
                continue
            left, right = one.column(path), two.column(path)
            if left.shape != right.shape:
                yield f"  {path}: {left.shape} and {right.shape}"
            elif left.tobytes() != right.tobytes() and len(left):
                rows = np.flatnonzero((left != right).reshape(len(left), -1).any(axis=1))
                yield f"  {path}: {len(rows)} rows, first {rows[:8].tolist()}"
        statuses = two.statuses.tolist()
        yield f"  statuses: {Counter(statuses)}; fingerprints: {one.kind.fingerprint[:12]}, "
        yield f"  {two.kind.fingerprint[:12]}; {two.provenance.get('precision')}"


def _moment(target: Path) -> str:
    """Tell how far a killed run had come; whatever is there must open and verify."""
    work = target if target.is_dir() else Path(f"{target}.work")
    if target.is_file() or (target / "manifest.json").is_file():
        _content(target)
        return "after publishing"
    if not manifest_files(work):
        return "before the first segment"
    _content(work, partial=True)
    return "between segments"


if __name__ == "__main__":
    sys.exit(main())
