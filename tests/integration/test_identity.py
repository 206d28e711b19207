"""Vectors of different models never mix: refused by name, and not one byte of a store changes."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from datumaro_embed.models import load_manifest, resolve_model
from hub_server import HubServer
from model_support import sign
from support import SAMPLE, run

TINY = Path(__file__).parents[1] / "golden" / "hub" / "tiny-clip"


@pytest.fixture(scope="module")
def other_length(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a model whose vectors have another length than the demo's."""
    folder = tmp_path_factory.mktemp("pulled")
    with HubServer({"org/tiny-clip": TINY}) as hub, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", hub.url)
        patch.setenv("HF_HOME", str(folder / "hf"))
        patch.delenv("HF_HUB_OFFLINE", raising=False)
        done = run("datumaro-embed", "pull", "org/tiny-clip", "-o", folder / "tiny")
    assert done.returncode == 0, done.stderr
    return folder / "tiny"


@pytest.fixture(scope="module")
def other_mean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the demo model with another mean: as near to it as another model can be."""
    folder = tmp_path_factory.mktemp("near") / "near"
    shutil.copytree(resolve_model("demo"), folder)
    image = asdict(load_manifest(folder).image)
    sign(folder, image={**image, "mean": [0.49, *image["mean"][1:]]})
    assert load_manifest(folder).dim == load_manifest(resolve_model("demo")).dim
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "clip.h5"
    done = run("datumaro-embed", "embed", SAMPLE / "coco", "--store", path, "--model", "demo")
    assert done.returncode == 0, done.stderr
    return path


@pytest.mark.slow
@pytest.mark.parametrize("model", ["other_length", "other_mean"])
@pytest.mark.parametrize("command", ["embed", "search"])
def test_a_store_refuses_another_model(
    store: Path, model: str, command: str, request: pytest.FixtureRequest
) -> None:
    other = request.getfixturevalue(model)
    before = store.read_bytes()
    arguments = {
        "embed": ["embed", SAMPLE / "coco", "--store", store],
        "search": ["search", store, "a cat"],
    }[command]
    done = run("datumaro-embed", *arguments, "--model", other)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "demo" in done.stderr
    assert load_manifest(other).name in done.stderr or load_manifest(other).fingerprint[:8] in (
        done.stderr
    )
    assert store.read_bytes() == before
    assert [path.name for path in store.parent.iterdir()] == [store.name]
