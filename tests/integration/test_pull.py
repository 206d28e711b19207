"""`datumaro-embed pull` in a real process, from a hub on 127.0.0.1 that can misbehave."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datumaro_embed.encoders import ClipEncoder
from datumaro_embed.models import CATALOGUE, load_manifest
from datumaro_embed.models.manifest import MANIFEST_NAME, MODEL_FILES
from hub_server import COMMIT, HubServer
from support import SAMPLE, run

HUB = Path(__file__).parents[1] / "golden" / "hub"
TINY = HUB / "tiny-clip"
EXPECTED = json.loads((HUB / "expected.json").read_text(encoding="utf-8"))
PATIENCE_S = "30"  # of the hub's client, on a busy machine
TEXTS = ["", "a photo of a cat", "A Photo of a CAT, a dog and a red ball", "word " * 60, "猫 🐈"]


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """Serve the tiny CLIP under two names: one of its own, one of the catalogue."""
    names = ["org/tiny-clip", CATALOGUE["clip-vit-base-patch16"].repo_id]
    with HubServer(dict.fromkeys(names, TINY)) as server:
        yield server


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: HubServer) -> None:
    """Point the hub's client at the server, with a cache of its own."""
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", PATIENCE_S)
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", PATIENCE_S)
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)


def pull(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run("datumaro-embed", "pull", *arguments)


def one_error(done: subprocess.CompletedProcess[str]) -> str:
    """Check that a run ended with one line that is an error of ours."""
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("datumaro-embed: ")
    return lines[0]


def test_vectors_are_those_of_transformers(tmp_path: Path) -> None:
    done = pull("org/tiny-clip", "-o", tmp_path / "m")
    assert done.returncode == 0
    assert re.fullmatch(r"org/tiny-clip cannot tell a photo of a cat .*\n", done.stderr)
    manifest = load_manifest(tmp_path / "m")
    assert (manifest.source, manifest.revision) == ("org/tiny-clip", COMMIT)
    assert (manifest.name, manifest.licence, manifest.dim) == ("tiny-clip", "mit", 16)
    assert (manifest.logit_scale, manifest.logit_bias) == (None, None)
    assert manifest.text.context_length == 24
    encoder = ClipEncoder.load(tmp_path / "m", precision="f32")
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (6, 5, 7, 3), dtype=np.uint8)
    images = [Image.fromarray(c).resize((50 + 9 * i, 70)) for i, c in enumerate(coarse)]
    np.testing.assert_allclose(encoder.embed_images(images), EXPECTED["images"], atol=1e-5)
    np.testing.assert_allclose(encoder.embed_texts(TEXTS), EXPECTED["texts"], atol=1e-5)


def test_a_short_name_that_serves_another_model_is_refused(tmp_path: Path) -> None:
    done = pull("clip-vit-base-patch16")
    doubt, line = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert doubt.endswith("no public source confirms the commit (the newest one is used).")
    assert "images of 32 px for an encoder of 224 px" in line
    assert not list((tmp_path / "cache").rglob("model.json"))


@pytest.mark.slow
def test_a_model_is_found_by_its_name(tmp_path: Path) -> None:
    done = pull("org/tiny-clip")
    found = Path(done.stdout.strip())
    assert found == tmp_path / "cache" / "datumaro-embed" / "models" / "tiny-clip"
    store = tmp_path / "x.h5"
    done = run("datumaro-embed", "embed", SAMPLE / "coco", "--store", store, "--model", found.name)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_pulling_and_embedding_need_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['torch', 'transformers', 'optimum', 'onnx']))\n"
        "from datumaro_embed.exporting import pull_model\n"
        "from datumaro_embed import ClipEncoder\n"
        f"found = pull_model('org/tiny-clip', {str(tmp_path / 'm')!r})\n"
        "print(ClipEncoder.load(found).embed_texts(['a cat']).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "(1, 16)\n"), done.stderr


@pytest.mark.slow
def test_half_precision_is_smaller(tmp_path: Path) -> None:
    assert pull("org/tiny-clip", "-o", tmp_path / "full").returncode == 0
    assert pull("org/tiny-clip", "-o", tmp_path / "half", "--precision", "fp16").returncode == 0
    full, half = (load_manifest(tmp_path / name) for name in ("full", "half"))
    assert (half.precision, full.precision) == ("fp16", "fp32")
    sizes = [(tmp_path / n / "image_encoder.bin").stat().st_size for n in ("half", "full")]
    assert sizes[0] < 0.7 * sizes[1]
    assert half.fingerprint != full.fingerprint


@pytest.mark.slow
def test_a_model_directory_on_a_hub_is_taken_as_it_is(tmp_path: Path, hub: HubServer) -> None:
    assert pull("org/tiny-clip", "-o", tmp_path / "first").returncode == 0
    hub.repositories["org/ours"] = tmp_path / "first"
    assert pull("org/ours", "-o", tmp_path / "second").returncode == 0
    for name in (MANIFEST_NAME, *MODEL_FILES):
        assert (tmp_path / "second" / name).read_bytes() == (tmp_path / "first" / name).read_bytes()
    assert not (tmp_path / "second" / "image_encoder.bin").is_symlink()


@pytest.mark.slow
def test_pulling_twice_gives_one_fingerprint_and_downloads_once(
    tmp_path: Path, hub: HubServer
) -> None:
    assert pull("org/tiny-clip", "-o", tmp_path / "a").returncode == 0
    hub.requests.clear()
    assert pull("org/tiny-clip", "-o", tmp_path / "b").returncode == 0
    assert not [r for r in hub.requests if r.startswith("GET") and "resolve" in r]
    first, second = (load_manifest(tmp_path / name) for name in "ab")
    assert first.fingerprint == second.fingerprint


@pytest.mark.slow
def test_an_existing_directory_is_kept(tmp_path: Path, hub: HubServer) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "mine").write_text("mine")
    assert "exists" in one_error(pull("org/tiny-clip", "-o", tmp_path / "m"))
    assert hub.requests == []
    line = one_error(pull("org/tiny-clip", "-o", tmp_path / "m", "--overwrite"))
    assert "do not belong to a model (mine)" in line
    assert hub.requests == []
    assert (tmp_path / "m" / "mine").read_text() == "mine"
    (tmp_path / "m" / "mine").rename(tmp_path / "m" / "model.json")
    assert pull("org/tiny-clip", "-o", tmp_path / "m", "--overwrite").returncode == 0
    assert load_manifest(tmp_path / "m").dim == 16


@pytest.mark.slow
def test_offline_uses_the_cache_and_says_what_is_not_in_it(
    tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    line = one_error(pull("org/tiny-clip", "-o", tmp_path / "m"))
    assert "not in the cache, and HF_HUB_OFFLINE" in line
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert pull("org/tiny-clip", "-o", tmp_path / "online", "--revision", "main").returncode == 0
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.requests.clear()
    for revision in ("main", COMMIT):
        done = pull("org/tiny-clip", "-o", tmp_path / revision, "--revision", revision)
        assert done.returncode == 0, done.stderr
        assert load_manifest(tmp_path / revision).revision == COMMIT
    assert hub.requests == []


def test_the_token_is_sent(tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert pull("org/tiny-clip", "-o", tmp_path / "m").returncode == 0
    assert "Bearer hf_secret" in hub.tokens


def test_a_cut_connection_is_taken_up_again(tmp_path: Path, hub: HubServer) -> None:
    hub.faults["onnx/vision_model.onnx"] = "cut once"
    done = pull("org/tiny-clip", "-o", tmp_path / "m")
    assert done.returncode == 0, done.stderr
    assert load_manifest(tmp_path / "m").dim == 16


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fault", "why"),
    [
        ("onnx/vision_model.onnx", "cut", "Cannot download onnx/vision_model.onnx"),
        ("onnx/text_model.onnx", "stall", "Cannot download onnx/text_model.onnx"),
        ("onnx/text_model.onnx", "corrupt", "arrived damaged twice"),
        ("tokenizer.json", "corrupt", "arrived damaged twice"),
        pytest.param(
            *("onnx/vision_model.onnx", "500", "Cannot download onnx/vision_model.onnx"),
            marks=pytest.mark.slow,
        ),
        ("*", "500", "Cannot download the list of files"),
        pytest.param("*", "html", "Cannot download the list of files", marks=pytest.mark.slow),
        ("*", "gated", "set HF_TOKEN"),
    ],
)
def test_faults_of_the_hub(
    tmp_path: Path,
    hub: HubServer,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    fault: str,
    why: str,
) -> None:
    (tmp_path / "out").mkdir()
    hub.faults[name] = fault
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "1" if fault == "stall" else PATIENCE_S)
    line = one_error(pull("org/tiny-clip", "-o", tmp_path / "out" / "m"))
    assert why in line
    assert list((tmp_path / "out").iterdir()) == []
    hub.faults.clear()
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", PATIENCE_S)
    done = pull("org/tiny-clip", "-o", tmp_path / "out" / "m")  # no fault leaves a trace
    assert done.returncode == 0, done.stderr


def test_no_such_repository_and_no_such_revision(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for arguments in (("org/none",), ("org/tiny-clip", "--revision", "v9"), ("org/a b",)):
        line = one_error(pull(*arguments, "-o", tmp_path / "out" / "m"))
        assert re.fullmatch(r"datumaro-embed: Cannot get org/.* Check the name.*HF_TOKEN\.", line)
    assert list((tmp_path / "out").iterdir()) == []


def test_no_hub_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "Check the connection" in one_error(pull("org/tiny-clip", "-o", tmp_path / "m"))
    assert not (tmp_path / "m").exists()


def test_a_cache_that_is_no_folder(tmp_path: Path, hub: HubServer) -> None:
    (tmp_path / "cache").write_text("mine")
    assert "Cannot write" in one_error(pull("org/tiny-clip"))
    assert hub.requests == []


def changed(folder: Path, name: str, **changes: object) -> None:
    body = json.loads((folder / name).read_text(encoding="utf-8"))
    (folder / name).write_text(json.dumps({**body, **changes}), encoding="utf-8")


def no_onnx(folder: Path) -> None:
    shutil.rmtree(folder / "onnx")


def another_family(folder: Path) -> None:
    changed(folder, "config.json", model_type="bert")


def naflex(folder: Path) -> None:
    changed(folder, "config.json", model_type="siglip2")


def broken_onnx(folder: Path) -> None:
    (folder / "onnx" / "vision_model.onnx").write_bytes(b"no model")


def another_size(folder: Path) -> None:
    changed(folder, "preprocessor_config.json", size=64, crop_size=64)


def left_padding(folder: Path) -> None:
    changed(folder, "tokenizer_config.json", padding_side="left")


def another_end(folder: Path) -> None:
    path = folder / "tokenizer.json"
    body = json.loads(path.read_text(encoding="utf-8"))
    body["post_processor"] = None
    path.write_text(json.dumps(body), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (another_end, "ends a text with token"),
        (no_onnx, "export-model"),
        (another_family, "'bert'"),
        (naflex, "NaFlex"),
        (broken_onnx, "cannot be used"),
        (another_size, "64 px"),
        (left_padding, "pads on the left"),
    ],
)
def test_repositories_that_are_no_model(
    tmp_path: Path, hub: HubServer, damage: object, why: str
) -> None:
    (tmp_path / "out").mkdir()
    folder = Path(shutil.copytree(TINY, tmp_path / "repository"))
    assert callable(damage)
    damage(folder)
    hub.repositories["org/bad"] = folder
    assert why in one_error(pull("org/bad", "-o", tmp_path / "out" / "m"))
    assert list((tmp_path / "out").iterdir()) == []
