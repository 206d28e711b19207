"""An audit that is killed goes on where it was, and finds the same."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from datumaro import Dataset
from PIL import Image

from datumaro_embed import embed_dataset
from datumaro_embed.encoders import FakeEncoder

pytestmark = pytest.mark.slow

N_PICTURES, N_KILLS = 150, 3


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures and, of each, a smaller copy."""
    root = tmp_path_factory.mktemp("killed")
    (root / "images").mkdir()
    rng = np.random.default_rng(0)
    for n in range(N_PICTURES):
        cells = rng.integers(30, 226, (8, 8, 3)).astype(np.uint8)
        image = Image.fromarray(cells).resize((160, 120), Image.Resampling.BICUBIC)
        image.save(root / "images" / f"{n:03}a.png")
        image.resize((120, 90)).save(root / "images" / f"{n:03}b.png")
    dataset = Dataset.import_from(str(root / "images"), "image_dir")
    embed_dataset(
        dataset, root / "s.h5", encoder=FakeEncoder(), root=root / "images", progress=False
    ).close()
    return root / "s.h5"


def audit(store: Path, output: Path, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "datumaro_embed.cli", "audit", str(store), "-o", str(output)]
    return subprocess.Popen([*command, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def pieces(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob(".datumaro-embed-*.tmp/*.*")
            if not file.name.startswith(".")}  # fmt: skip


def killed(process: subprocess.Popen[bytes], folder: Path) -> bool:
    """Kill an audit once it has kept something more; False where it ended before."""
    before = pieces(folder).keys()
    while process.poll() is None:
        if pieces(folder).keys() > before:
            process.kill()
            process.communicate()
            return True
        time.sleep(0.001)
    return False


def test_a_killed_audit_goes_on_and_finds_the_same(store: Path, tmp_path: Path) -> None:
    whole, folder = tmp_path / "whole.csv", tmp_path / "killed"
    folder.mkdir()
    process = audit(store, whole)
    assert (process.communicate()[1], process.returncode)[1] == 0
    assert len(whole.read_bytes().splitlines()) > 2 * N_PICTURES
    kept: dict[str, bytes] = {}
    for _ in range(N_KILLS):
        assert killed(audit(store, folder / "f.csv"), folder)
        now = pieces(folder)
        assert now.items() >= kept.items()  # nothing is made again
        kept = now
    pairs = [tuple(row[:2]) for name, data in kept.items() if name.startswith("proofs")
             for row in json.loads(data)]  # fmt: skip
    assert len(pairs) == len({*pairs}) > 128
    process = audit(store, folder / "f.csv")
    assert (process.communicate()[1], process.returncode)[1] == 0
    assert (folder / "f.csv").read_bytes() == whole.read_bytes()
    assert [path.name for path in folder.iterdir()] == ["f.csv"]


def test_pieces_of_another_audit_are_removed(store: Path, tmp_path: Path) -> None:
    assert killed(audit(store, tmp_path / "f.csv"), tmp_path)
    (left,) = tmp_path.iterdir()
    assert killed(audit(store, tmp_path / "f.csv", "--keep-split", "train"), tmp_path)
    (other,) = tmp_path.iterdir()
    assert left != other
    process = audit(store, tmp_path / "f.csv", "--only", "duplicate")
    assert (process.communicate()[1], process.returncode)[1] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["f.csv"]
