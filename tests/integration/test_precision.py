"""`--precision` and `--device`: what was asked for runs, and the store says what ran."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datumaro_embed import open_store
from support import run, write_pictures

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures"), 9, (48, 40))


@pytest.mark.parametrize("precision", ["f32", "bf16", "auto"])
def test_the_store_says_what_ran(data: Path, tmp_path: Path, precision: str) -> None:
    store = tmp_path / "x.h5"
    arguments = [data, "--store", store, "--model", "demo", "--precision", precision]
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


@pytest.mark.parametrize("name", ["x.h5", pytest.param("x", marks=pytest.mark.slow)])
def test_vectors_of_two_precisions_are_never_mixed(data: Path, tmp_path: Path, name: str) -> None:
    def embed(precision: str) -> str:
        arguments = ["--store", tmp_path / name, "--model", "demo", "--precision", precision]
        done = run("datumaro-embed", "embed", data, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    embed("f32")
    assert "9 reused" in embed("f32")
    with open_store(tmp_path / name) as store:
        first, settings = np.array(store.embeddings()), store.kind.settings
    said = embed("bf16")
    with open_store(tmp_path / name) as store:
        second, changed = np.array(store.embeddings()), store.kind.settings != settings
    assert settings == "f32 on CPU"
    if not changed:
        pytest.skip(f"this processor computes bf16 as {settings}")
    assert "9 computed, 0 reused" in said
    assert "so every image is embedded again" in said
    assert (first != second).any(axis=1).all()


def test_an_absent_device_lists_those_present(data: Path, tmp_path: Path) -> None:
    arguments = ["--store", tmp_path / "x.h5", "--model", "demo", "--device", "GPU.7"]
    done = run("datumaro-embed", "embed", data, *arguments)
    assert done.returncode == 1
    assert "no device 'GPU.7'" in done.stderr
    assert "CPU" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_precision_that_does_not_exist(data: Path, tmp_path: Path) -> None:
    arguments = ["--store", tmp_path / "x.h5", "--model", "demo", "--precision", "f8"]
    done = run("datumaro-embed", "embed", data, *arguments)
    assert done.returncode == 2
    assert list(tmp_path.iterdir()) == []
