"""A pulled model proves itself before it is installed; image-only models and other weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datumaro_embed import Findings, explore
from datumaro_embed.cli import main
from datumaro_embed.encoders import ClipEncoder, load_encoder
from datumaro_embed.errors import ModelInvalidError, UsageError
from datumaro_embed.exporting import pull_model
from datumaro_embed.exporting.proof import IMAGES, TEXTS, prove_model
from datumaro_embed.models import CATALOGUE, CatalogueEntry, load_manifest, resolve_model
from datumaro_embed.models.making import make_golden
from datumaro_embed.models.manifest import write_manifest
from explore_support import Client
from hub_server import HubServer, clients_of
from model_support import largest_constant, sign
from support import SAMPLE, run

pytestmark = pytest.mark.slow

IMAGE = Path("yolo") / "images" / "train" / "photo_01.jpg"
HUB = Path(__file__).parents[1] / "golden" / "hub"
SIZES = ((48, 50), (48, 54), (62, 48), (90, 48), (70, 70), (96, 120))
DINOV2 = json.loads((HUB / "expected-dinov2.json").read_text(encoding="utf-8"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """Serve three repositories, and give two of them a short name."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    repositories = {
        "org/random": HUB / "tiny-clip",
        "org/demo": resolve_model("demo"),
        "org/images": HUB / "tiny-dinov2",
    }
    facts = {"licence": "MIT", "logit_scale": 100.0}
    for name in ("random", "demo"):
        entry = CatalogueEntry(repo_id=f"org/{name}", family="clip", **facts)
        monkeypatch.setitem(CATALOGUE, f"{name}-twin", entry)
    with HubServer(repositories) as server, clients_of(server, tmp_path / "hf"):
        yield server


def drawn() -> list[Image.Image]:
    coarse = np.random.default_rng(5).integers(0, 256, (6, 5, 7, 3), dtype=np.uint8)
    return [Image.fromarray(c).resize((50 + 9 * i, 70)) for i, c in enumerate(coarse)]


# ------------------------------------------------------------------------------- meaning and tokens


def test_a_short_name_must_know_a_cat(
    tmp_path: Path, hub: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelInvalidError, match=r"not nearest to its own text\. Nothing"):
        pull_model("random-twin")
    assert not list((tmp_path / "cache").rglob("model.json"))
    assert main(["pull", "demo-twin"]) == 0
    printed = capsys.readouterr()
    found = Path(printed.out.strip())
    assert found == tmp_path / "cache" / "datumaro-embed" / "models" / "demo-twin"
    assert printed.err == (
        "demo-twin: no public source confirms the commit (the newest one is used).\n"
    )
    assert load_encoder("demo-twin").fingerprint == load_encoder("demo").fingerprint


def test_another_repository_is_installed_and_the_doubt_is_said(
    tmp_path: Path, hub: HubServer, caplog: pytest.LogCaptureFixture
) -> None:
    pull_model("org/random", tmp_path / "m")
    assert "org/random cannot tell a photo of a cat from a photo of a cup of coffee" in caplog.text
    caplog.clear()
    pull_model("org/demo", tmp_path / "demo")
    assert "does not tell" not in caplog.text


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"tokens": (49406, 320, 49407)}, r"the tokens of 'a photo of a cat' are \[.*should be \["),
        ({"dim": 512}, "its vectors have 16 numbers, and should have 512"),
        ({"size_px": 224}, "images of 32 px for an encoder of 224 px"),
        ({"pad_id": 1 << 20}, "has no token 1048576, which is pad_id"),
    ],
)
def test_a_model_that_differs_from_the_catalogue_is_not_installed(
    tmp_path: Path,
    hub: HubServer,
    monkeypatch: pytest.MonkeyPatch,
    facts: dict[str, object],
    why: str,
) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.setitem(CATALOGUE, "twin", replace(CATALOGUE["random-twin"], **facts))
    with pytest.raises(ModelInvalidError, match=why):
        pull_model("twin", tmp_path / "out" / "m")
    assert list((tmp_path / "out").iterdir()) == []


def changed_model(folder: Path, name: str, fill: float) -> Path:
    """A copy of the demo model with other numbers in one graph, and golden vectors to match."""
    model = Path(shutil.copytree(resolve_model("demo"), folder))
    weights = model / f"{name}.bin"
    data = np.fromfile(weights, np.uint8)
    table = data[largest_constant(weights.with_suffix(".xml"))].view(np.float16)
    table[:] = fill if fill else np.random.default_rng(0).permutation(table)
    data.tofile(weights)
    sign(model)
    manifest = load_manifest(model)
    golden = make_golden(model, manifest.image, manifest.text)
    write_manifest(model, replace(manifest, golden=golden))
    return model


@pytest.mark.parametrize(
    ("name", "fill", "why"),
    [
        ("text_encoder", 0.01, "different texts have equal vectors"),
        ("text_encoder", 0.0, "not nearest to its own text"),
        ("image_encoder", 0.0, "not nearest to its own text"),
    ],
)
def test_weights_without_sense_fail(tmp_path: Path, name: str, fill: float, why: str) -> None:
    model = changed_model(tmp_path / "m", name, fill)
    with pytest.raises(ModelInvalidError, match=why):
        prove_model(model)


def test_what_is_shipped_to_prove_a_model() -> None:
    assert (len(IMAGES), len(TEXTS)) == (2, 4)
    assert prove_model(resolve_model("demo"))


def test_doubts_about_int8_files_are_said_with_them(
    tmp_path: Path, hub: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    for weights, is_said in (("fp32", False), ("int8", True)):  # the hub does not have it
        assert main(["pull", "jina-clip-v1", "-o", f"{tmp_path}/m", "--weights", weights]) == 1
        assert ("INT8 text encoder has the correction" in capsys.readouterr().err) == is_said


def test_a_name_without_onnx_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"export-model pe-core-b-16 -o pe-core-b-16`\.$"):
        pull_model("pe-core-b-16", tmp_path / "m")


def test_models_are_listed(hub: HubServer, capsys: pytest.CaptureFixture[str]) -> None:
    pull_model("org/images")
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["demo", "images"]
    rows = {line.split()[0]: line for line in lines[5:]}
    assert set(rows) == set(CATALOGUE)
    assert rows["pe-core-b-16"].split()[1:5] == ["export-model", "1.8", "GB", "medium"]
    assert rows["dinov2-small"].endswith("no texts       duplicates, outliers, similar images")


# ------------------------------------------------------------------------------------ other weights


@pytest.mark.parametrize(("weights", "limit"), [("fp16", 0.99999), ("int8", 0.98)])
def test_the_hubs_own_small_weights(
    tmp_path: Path, hub: HubServer, weights: str, limit: float
) -> None:
    full = pull_model("org/random", tmp_path / "full")
    small = pull_model("org/random", tmp_path / "small", weights=weights)
    assert load_manifest(small).precision == weights
    assert load_manifest(small).fingerprint != load_manifest(full).fingerprint
    sizes = [(m / "image_encoder.bin").stat().st_size for m in (small, full)]
    assert sizes[0] < 0.7 * sizes[1]
    ours, theirs = (load_encoder(model, precision="f32") for model in (small, full))
    for found, expected in (
        (ours.embed_images(drawn()), theirs.embed_images(drawn())),
        (ours.embed_texts(TEXTS), theirs.embed_texts(TEXTS)),  # type: ignore[attr-defined]
    ):
        assert np.einsum("ij,ij->i", found, expected).min() > limit


def test_dynamic_int8_is_computed_one_by_one_and_embeds_a_dataset(
    tmp_path: Path, hub: HubServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Its scales are those of the whole batch, so in a batch every vector would be another."""
    assert not load_manifest(pull_model("org/random", tmp_path / "full")).one_by_one
    assert "at a time" not in caplog.text
    model = pull_model("org/random", tmp_path / "m", weights="int8")
    assert load_manifest(model).one_by_one
    assert "org/random is computed one image or text at a time, which is slower" in caplog.text
    store = tmp_path / "e.h5"
    done = run("datumaro-embed", "embed", SAMPLE / "coco", "--store", store, "--model", model)
    assert done.returncode == 0, done.stderr
    encoder = load_encoder(model, precision="f32")
    assert isinstance(encoder, ClipEncoder)
    assert encoder.batch_size == 1
    for embed, given in ((encoder.embed_images, drawn()), (encoder.embed_texts, TEXTS)):
        alone = np.concatenate([embed([one]) for one in given])  # type: ignore[operator]
        np.testing.assert_array_equal(embed(given), alone)  # type: ignore[operator]
    sign(model, one_by_one=False)
    with pytest.raises(ModelInvalidError, match="a vector changes with the other rows of its b"):
        prove_model(model)


def test_weights_that_a_repository_lacks(tmp_path: Path, hub: HubServer) -> None:
    with pytest.raises(ModelInvalidError, match=r"no int8 weights \(onnx/model_int8.onnx or"):
        pull_model("org/images", tmp_path / "m", weights="int8")
    with pytest.raises(UsageError, match="weights is 'q4'"):
        pull_model("org/images", tmp_path / "m", weights="q4")


@pytest.mark.parametrize("taken", ["demo", "random-twin"])
def test_a_repository_does_not_take_the_name_of_another_model(
    tmp_path: Path, hub: HubServer, capsys: pytest.CaptureFixture[str], taken: str
) -> None:
    hub.repositories[f"evil/{taken}"] = HUB / "tiny-clip"
    assert main(["pull", f"evil/{taken}"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"evil/{taken} would be installed as {taken}, which is the name of another" in line
    assert line.endswith(f"`datumaro-embed pull evil/{taken} -o DIR`.")
    assert not list((tmp_path / "cache").rglob("model.json"))
    pull_model(f"evil/{taken}", tmp_path / "m")


def test_an_id_that_has_a_short_name(
    tmp_path: Path, hub: HubServer, caplog: pytest.LogCaptureFixture
) -> None:
    pull_model("org/demo", tmp_path / "m")
    assert "org/demo is also listed as demo-twin, with settings" in caplog.text


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"weights": "int8"}, r"org/demo is a model directory, .* Leave out weights and precision"),
        ({"precision": "fp16"}, "org/demo is a model directory, which is taken as it is"),
        ({"weights": "int8", "precision": "fp16"}, "weights int8 are stored as they are, not in"),
    ],
)
def test_options_that_would_do_nothing(
    tmp_path: Path, hub: HubServer, options: dict[str, str], why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        pull_model("org/demo", tmp_path / "m", **options)
    assert not (tmp_path / "m").exists()


# --------------------------------------------------------------------------------------- image-only


def test_dinov2_gives_transformers_vectors(tmp_path: Path, hub: HubServer) -> None:
    model = pull_model("org/images", tmp_path / "m")
    manifest = load_manifest(model)
    assert (manifest.family, manifest.text, manifest.licence) == ("image", None, "apache-2.0")
    assert (manifest.image.resize_px, manifest.image.size_px) == (48, 42)
    assert not (model / "tokenizer.json").exists()
    encoder = load_encoder(model, precision="f32")
    images = [image.resize(size) for image, size in zip(drawn(), SIZES, strict=True)]
    np.testing.assert_allclose(encoder.embed_images(images), DINOV2["images"], atol=1e-5)


def test_dinov2_does_all_that_needs_no_texts(tmp_path: Path, hub: HubServer) -> None:
    model, store = pull_model("org/images"), tmp_path / "e.h5"
    done = run("datumaro-embed", "embed", SAMPLE / "coco", "--store", store, "--model", model.name)
    assert done.returncode == 0, done.stderr
    found = run("datumaro-embed", "duplicates", store, "--across-splits")
    assert "LEAKAGE" in found.stdout
    asked = run("datumaro-embed", "search", store, "a cat", "--model", model)
    assert (asked.returncode, len(asked.stderr.splitlines())) == (1, 1)
    assert "has no text encoder" in asked.stderr
    with explore(store) as explorer:  # without findings, it audits
        page = Client(explorer.url)
        assert page.wait_for_task("encoder")["state"] == "done"
        assert page.json("api/store")["text"] is False
        assert page.rows(like=5)[0] == 5
        answer = page.post("api/image", (SAMPLE / IMAGE).read_bytes())
        assert len(page.rows(image=answer["id"])) == 69
        assert "has no text encoder" in page.json("api/rows", 400, text="a cat")["error"]
        assert page.wait_for_task("audit")["state"] == "done"
        kinds = {finding.kind for finding in Findings.read(explorer.findings)}
    assert {"outlier", "leak"} <= kinds
