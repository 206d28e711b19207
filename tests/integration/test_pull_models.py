"""`pull` of repositories whose files say little, or cannot be used: right, or one sentence."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from datumaro_embed.encoders import ClipEncoder
from datumaro_embed.errors import ModelInvalidError
from datumaro_embed.exporting import pull_model
from datumaro_embed.models import load_manifest
from datumaro_embed.models.making import make_golden
from datumaro_embed.models.manifest import IMAGE_FILES, MODEL_FILES, write_manifest
from datumaro_embed.models.tokenizers import TextTokenizer
from hub_server import COMMIT, HubServer, clients_of
from onnx_edit import external, rename_output

pytestmark = pytest.mark.slow

TINY = Path(__file__).parents[1] / "golden" / "hub" / "tiny-clip"
TEXTS = ["a photo of a cat", "A Photo of a CAT, a dog and a red ball"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Give a copy of the tiny CLIP to change; it is served as ``org/model``."""
    return Path(shutil.copytree(TINY, tmp_path / "repository"))


@pytest.fixture
def hub(repository: Path, tmp_path: Path) -> Iterator[HubServer]:
    """Serve the copy, and point this process's hub client at it."""
    with HubServer({"org/model": repository}) as server, clients_of(server, tmp_path / "hf"):
        yield server


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pull the tiny CLIP as it is."""
    folder = tmp_path_factory.mktemp("tiny")
    with HubServer({"org/tiny": TINY}) as server, clients_of(server, folder / "hf"):
        return pull_model("org/tiny", folder / "m")


@pytest.fixture(scope="module")
def expected(tiny: Path) -> np.ndarray:
    """Return the vectors of TEXTS by the tiny CLIP as it is."""
    return vectors(tiny)


def vectors(model_dir: Path) -> np.ndarray:
    return ClipEncoder.load(model_dir, precision="f32").embed_texts(TEXTS)


def edit(folder: Path, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    body = json.loads((folder / name).read_text(encoding="utf-8"))
    change(body)
    (folder / name).write_text(json.dumps(body), encoding="utf-8")


def refused(hub: HubServer, tmp_path: Path, why: str) -> None:
    """Check that a pull is one error of ours, leaves nothing, and fetched no weights."""
    (tmp_path / "out").mkdir(exist_ok=True)
    with pytest.raises(ModelInvalidError, match=why) as caught:
        pull_model("org/model", tmp_path / "out" / "m")
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []


def fetched(hub: HubServer) -> set[str]:
    return {r.partition(f"{COMMIT}/")[2] for r in hub.requests if r.startswith("GET")} - {""}


def test_a_model_directory_without_a_text_encoder(
    tmp_path: Path, tiny: Path, hub: HubServer
) -> None:
    hub.repositories["org/images"] = ours = Path(shutil.copytree(tiny, tmp_path / "ours"))
    whole = load_manifest(tiny)
    golden = make_golden(ours, whole.image, None)
    files = {name: whole.files[name] for name in IMAGE_FILES}
    write_manifest(ours, replace(whole, text=None, files=files, golden=golden))
    for name in set(MODEL_FILES) - set(IMAGE_FILES):
        (ours / name).unlink()
    pulled = pull_model("org/images", tmp_path / "m")
    assert {path.name for path in pulled.iterdir()} == {"model.json", *IMAGE_FILES}
    assert load_manifest(pulled).golden.image_vector == whole.golden.image_vector


# ------------------------------------------------------------------------------------ external data


def move_weights(repository: Path, location: str = "{name}.onnx_data") -> None:
    """Move the weights of both graphs to files beside them, as models above 2 GB have it."""
    for name in ("vision_model", "text_model"):
        path = repository / "onnx" / f"{name}.onnx"
        graph, weights = external(path.read_bytes(), location.format(name=name))
        path.write_bytes(graph)
        target = path.parent / location.format(name=name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(weights)


@pytest.mark.parametrize("location", ["{name}.onnx_data", "./weights/{name}.bin"])
def test_weights_in_files_of_their_own(
    tmp_path: Path, repository: Path, hub: HubServer, expected: np.ndarray, location: str
) -> None:
    move_weights(repository, location)
    pulled = pull_model("org/model", tmp_path / "m")
    np.testing.assert_allclose(vectors(pulled), expected, atol=1e-6)
    assert not [p for p in (tmp_path / "hf").rglob("*") if p.name.startswith(".datumaro-embed")]


def test_the_cache_holds_weights_once(
    tmp_path: Path, repository: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenVINO is given hard links: while it reads, no second copy takes space."""
    move_weights(repository)
    links = []
    real = os.link
    monkeypatch.setattr(os, "link", lambda *a: (real(*a), links.append(os.stat(a[1]).st_nlink)))
    pull_model("org/model", tmp_path / "m")
    assert links == [2] * 4


def test_a_file_system_without_hard_links(
    tmp_path: Path,
    repository: Path,
    hub: HubServer,
    expected: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_links(*paths: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    move_weights(repository)
    monkeypatch.setattr(os, "link", no_links)
    pulled = pull_model("org/model", tmp_path / "m")
    np.testing.assert_allclose(vectors(pulled), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("gone.onnx_data", "needs 'onnx/gone.onnx_data', which is not in the repository"),
        ("../outside.bin", "keeps weights outside its folder: 'outside.bin'"),
        ("/etc/hostname", "needs 'onnx/etc/hostname', which is not in the repository"),
    ],
)
def test_weights_that_cannot_be_had_are_no_long_download(
    tmp_path: Path, repository: Path, hub: HubServer, location: str, why: str
) -> None:
    move_weights(repository)
    (repository / "outside.bin").write_bytes(b"weights")
    path = repository / "onnx" / "text_model.onnx"
    path.write_bytes(external((TINY / "onnx" / "text_model.onnx").read_bytes(), location)[0])
    refused(hub, tmp_path, why)
    assert {"onnx/vision_model.onnx", "onnx/text_model.onnx"} <= fetched(hub)
    assert "onnx/vision_model.onnx_data" not in fetched(hub)


def test_ir_without_its_weights_is_no_download(
    tmp_path: Path, repository: Path, hub: HubServer
) -> None:
    (repository / "openvino_model.xml").write_text("<net/>")
    refused(hub, tmp_path, "needs 'openvino_model.bin', which is not in the repository")
    assert "openvino_model.xml" not in fetched(hub)


@pytest.mark.parametrize("content", [b"version https://git-lfs.github.com/spec/v1", b"<html>"])
def test_graphs_that_are_no_onnx(
    tmp_path: Path, repository: Path, hub: HubServer, content: bytes
) -> None:
    (repository / "onnx" / "vision_model.onnx").write_bytes(content)
    refused(hub, tmp_path, "vision_model.onnx: it is")


# -------------------------------------------------------------------------------------- projection


@pytest.mark.parametrize(
    ("file", "output"), [("vision_model", "image_embeds"), ("text_model", "text_embeds")]
)
def test_encoders_of_clip_before_their_projection(
    tmp_path: Path, repository: Path, hub: HubServer, file: str, output: str
) -> None:
    """Whatever its width, ``pooler_output`` is not in the space that both encoders share."""
    path = repository / "onnx" / f"{file}.onnx"
    path.write_bytes(rename_output(path.read_bytes(), output, "pooler_output"))
    refused(hub, tmp_path, f"has no output '{output}', only pooler_output")


@pytest.mark.parametrize("projection_dim", [32, 512, None])
def test_another_width_than_the_projections(
    tmp_path: Path, repository: Path, hub: HubServer, projection_dim: int | None
) -> None:
    edit(repository, "config.json", lambda c: c.update(projection_dim=projection_dim))
    refused(hub, tmp_path, f"16 numbers, but its projection_dim is {projection_dim or 512}")


# ------------------------------------------------------------------------------------------ SigLIP


def end_id() -> int:
    """The token at which the tiny text encoder pools."""
    return int(json.loads((TINY / "config.json").read_text())["text_config"]["eos_token_id"])


def siglip(repository: Path, *, pooled: bool = True) -> None:
    """Make the repository one of SigLIP 2: its names, a stretch to the square, Gemma's tokenizer.

    As of transformers.js, its tokenizer keeps the case: transformers lower-cases in code.
    """
    edit(repository, "config.json", lambda c: c.update(model_type="siglip"))
    for file, output in (("vision_model", "image_embeds"), ("text_model", "text_embeds")):
        path = repository / "onnx" / f"{file}.onnx"
        if pooled:
            path.write_bytes(rename_output(path.read_bytes(), output, "pooler_output"))
    images = {"image_processor_type": "SiglipImageProcessor", "size": {"height": 32, "width": 32}}
    (repository / "preprocessor_config.json").write_text(json.dumps(images))
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,!?'▁"
    vocab = {t: i for i, t in enumerate(["<pad>", "<bos>", "<unk>", *letters])}
    vocab["<eos>"] = end = end_id()
    made = Tokenizer(models.BPE(vocab, [], unk_token="<unk>", fuse_unk=True))
    made.normalizer = normalizers.Replace(" ", "▁")
    made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    made.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", end)]
    )
    made.add_special_tokens(["<pad>", "<eos>", "<bos>", "<unk>"])
    made.save(str(repository / "tokenizer.json"))
    settings = {"tokenizer_class": "GemmaTokenizer", "padding_side": "right"}
    names = {"pad_token": "<pad>", "eos_token": "<eos>"}
    (repository / "tokenizer_config.json").write_text(json.dumps({**settings, **names}))


def test_texts_of_siglip2_are_lower_cased(tmp_path: Path, repository: Path, hub: HubServer) -> None:
    siglip(repository)
    pulled = pull_model("org/model", tmp_path / "m")
    manifest = load_manifest(pulled)
    assert (manifest.family, manifest.image.resize) == ("siglip", "stretch")
    assert (manifest.text.pad_id, manifest.text.eos_id) == (0, end_id())
    tokenize = TextTokenizer(pulled / "tokenizer.json", manifest.text)
    upper, lower, other = tokenize(["A Photo of a CAT!", "a photo of a cat!", "a photo"])[0]
    assert np.array_equal(upper, lower)
    assert not np.array_equal(lower, other)
    assert vectors(pulled).shape == (2, 16)


# ------------------------------------------------------------------------- files that say little


def usual_defaults(folder: Path) -> None:
    """Leave only what differs from transformers' defaults: here, the sizes."""
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": 32, "crop_size": 32}))


def old_sections(folder: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        for side in ("text", "vision"):
            config[f"{side}_config_dict"] = config[f"{side}_config"]
            config[f"{side}_config"] = None

    edit(folder, "config.json", change)


def no_tokenizer_settings(folder: Path) -> None:
    (folder / "tokenizer_config.json").unlink()


def plain_pad_token(folder: Path) -> None:
    """Padding is a token of the vocabulary that is not among the added ones."""
    edit(folder, "tokenizer_config.json", lambda c: c.update(pad_token="!"))


def no_lower_casing(folder: Path) -> None:
    edit(folder, "tokenizer.json", lambda c: c["normalizer"]["normalizers"].pop())
    edit(folder, "tokenizer_config.json", lambda c: c.pop("do_lower_case"))


@pytest.mark.parametrize(
    "change",
    [
        usual_defaults,
        old_sections,
        no_tokenizer_settings,
        plain_pad_token,
        no_lower_casing,
    ],
)
def test_what_transformers_reads_is_read(
    tmp_path: Path,
    repository: Path,
    hub: HubServer,
    tiny: Path,
    expected: np.ndarray,
    change: Callable[[Path], None],
) -> None:
    change(repository)
    pulled = pull_model("org/model", tmp_path / "m")
    assert load_manifest(pulled).image == load_manifest(tiny).image
    # CLIP attends backwards only, so another padding changes no vector.
    np.testing.assert_allclose(vectors(pulled), expected, atol=1e-6)


def no_vision_config(folder: Path) -> None:
    edit(folder, "config.json", lambda c: c.pop("vision_config"))


def null_setting(folder: Path) -> None:
    edit(folder, "preprocessor_config.json", lambda c: c.update(resample=None))


def null_configs(folder: Path) -> None:
    edit(folder, "config.json", lambda c: c.update(vision_config=None, text_config=None))


def null_file(folder: Path) -> None:
    (folder / "config.json").write_text("null")


def text_for_a_section(folder: Path) -> None:
    edit(folder, "config.json", lambda c: c.update(text_config="CLIPTextConfig"))


def another_processor(folder: Path) -> None:
    edit(
        folder,
        "preprocessor_config.json",
        lambda c: c.update(image_processor_type="ConvNextImageProcessor"),
    )


def unknown_pad_token(folder: Path) -> None:
    edit(folder, "tokenizer_config.json", lambda c: c.update(pad_token="[PAD]"))


def squash(folder: Path) -> None:
    body = {
        "model_cfg": {"vision_cfg": {"image_size": 32}},
        "preprocess_cfg": {"resize_mode": "squash"},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(body))


def another_crop(folder: Path) -> None:
    processor = {"image_processor": {"size": {"shortest_edge": 36}, "crop_size": 32}}
    (folder / "processor_config.json").write_text(json.dumps(processor))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (no_vision_config, "images of 32 px for an encoder of 224 px"),
        (null_setting, "resample is None, not a whole number"),
        (null_configs, "images of 32 px for an encoder of 224 px"),
        (null_file, "config.json: it is not a JSON object"),
        (text_for_a_section, "text_config is 'CLIPTextConfig', not a JSON object"),
        (another_processor, "prepared by ConvNextImageProcessor"),
        (unknown_pad_token, r"pad_token '\[PAD\]' is not in its tokenizer"),
        (squash, "open_clip_config.json disagree: resize is"),
        (another_crop, "preprocessor_config.json disagree: resize_px is 36 in one and 32"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_before_the_graphs(
    tmp_path: Path,
    repository: Path,
    hub: HubServer,
    change: Callable[[Path], None],
    why: str,
) -> None:
    change(repository)
    refused(hub, tmp_path, why)
    assert not [name for name in fetched(hub) if name.endswith(".onnx")]
