"""`report`, `convert` and `import` as processes; wrong inputs are one clear line."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from support import run

pytestmark = pytest.mark.slow


def test_convert_then_import(coco_store: Path, tmp_path: Path) -> None:
    done = run("datumaro-embed", "convert", coco_store, "--to", "npy", "-o", tmp_path / "export")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"69 items in {tmp_path / 'export'}\n"
    done = run("datumaro-embed", "import", tmp_path / "export", "-o", tmp_path / "s.h5")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"69 items in {tmp_path / 's.h5'} (69 × ")
    assert run("datumaro-embed", "verify", tmp_path / "s.h5").stdout == "69 rows: sound\n"


def test_report(coco_store: Path, tmp_path: Path) -> None:
    done = run("datumaro-embed", "report", coco_store, "-o", tmp_path / "r.html")
    assert done.returncode == 0, done.stderr
    assert "69 with a picture" in done.stdout
    assert (tmp_path / "r.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["x"] = [1]
    return tmp_path / "foreign.h5"


@pytest.mark.parametrize("command", [("report",), ("convert", "--to", "csv")])
def test_no_store_here(tmp_path: Path, foreign: Path, command: tuple[str, ...]) -> None:
    for store, words in [(tmp_path / "gone.h5", "gone.h5"), (foreign, "not an embedding store")]:
        name, *flags = command
        done = run("datumaro-embed", name, store, *flags, "-o", tmp_path / "out")
        assert (done.returncode, done.stdout) == (1, "")
        assert words in done.stderr
        assert done.stderr.startswith("datumaro-embed: ")
        assert done.stderr.count("\n") == 1
        assert not (tmp_path / "out").exists()


WRONG = {
    "findings": (("report", "--findings", "none.csv"), "No findings file at 'none.csv'"),
    "size": (("report", "--max-mb", "0.05"), "--max-mb 0.05 is too small"),
    "flag": (("convert", "--to", "npy", "--vectors"), "--vectors is for csv only"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments(coco_store: Path, tmp_path: Path, case: str) -> None:
    (name, *flags), words = WRONG[case]
    done = run("datumaro-embed", name, coco_store, *flags, "-o", tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("datumaro-embed: ")
    assert words in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_vectors_without_ids(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.eye(2, dtype=np.float32))
    done = run("datumaro-embed", "import", tmp_path / "v.npy", "-o", tmp_path / "s.h5")
    assert done.returncode == 1
    assert done.stderr == (
        "datumaro-embed: An .npy file holds no ids. Name the file with the ids: --ids.\n"
    )
