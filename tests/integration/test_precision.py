"""`--precision` and `--device`: what was asked for runs, and the store says what ran."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datumaro_embed import open_store
from support import SAMPLE, run


@pytest.mark.parametrize("precision", ["f32", "bf16", "auto"])
def test_the_store_says_what_ran(tmp_path: Path, precision: str) -> None:
    store = tmp_path / "x.h5"
    arguments = [SAMPLE / "coco", "--store", store, "--model", "demo", "--precision", precision]
    done = run("datumaro-embed", "embed", *arguments)
    assert done.returncode == 0, done.stderr
    with open_store(store) as opened:
        facts = opened.provenance
        norms = np.linalg.norm(np.asarray(opened.embeddings(), dtype=np.float32), axis=1)
    assert facts["requested_precision"] == precision
    assert facts["precision"] in {"f32", "bf16", "f16"}
    if precision == "f32":
        assert facts["precision"] == "f32"
    assert facts["device"] == "CPU"
    np.testing.assert_allclose(norms[norms > 0], 1, atol=2e-3)


def test_an_absent_device_lists_those_present(tmp_path: Path) -> None:
    arguments = ["--store", tmp_path / "x.h5", "--model", "demo", "--device", "GPU.7"]
    done = run("datumaro-embed", "embed", SAMPLE / "coco", *arguments)
    assert done.returncode == 1
    assert "no device 'GPU.7'" in done.stderr
    assert "CPU" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_precision_that_does_not_exist(tmp_path: Path) -> None:
    arguments = ["--store", tmp_path / "x.h5", "--model", "demo", "--precision", "f8"]
    done = run("datumaro-embed", "embed", SAMPLE / "coco", *arguments)
    assert done.returncode == 2
    assert list(tmp_path.iterdir()) == []
