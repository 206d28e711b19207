"""`import-model`: image encoders of one's own, with or without texts."""

from __future__ import annotations

import json
import os
import re
import shutil
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers

from datumaro_embed.cli import main
from datumaro_embed.encoders import ClipEncoder, load_encoder
from datumaro_embed.errors import ModelInvalidError, UsageError
from datumaro_embed.exporting import import_model
from datumaro_embed.models import load_manifest, resolve_model
from onnx_edit import external, rename_output

pytestmark = pytest.mark.slow

HUB = Path(__file__).parents[1] / "golden" / "hub"
CLIP, DINOV2 = HUB / "tiny-clip" / "onnx", HUB / "tiny-dinov2" / "onnx" / "model.onnx"
EXPECTED = json.loads((HUB / "expected.json").read_text(encoding="utf-8"))
TEXTS = ["", "a photo of a cat", "A Photo of a CAT, a dog and a red ball", "word " * 60, "猫 🐈"]
CLIP_PIXELS = {
    "size": 32,
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}
IMAGENET = {"size": 42, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def drawn() -> list[Image.Image]:
    coarse = np.random.default_rng(5).integers(0, 256, (6, 5, 7, 3), dtype=np.uint8)
    return [Image.fromarray(c).resize((50 + 9 * i, 70)) for i, c in enumerate(coarse)]


def padded_tokenizer(path: Path) -> Path:
    tokenizer = Tokenizer.from_file(str(CLIP.parent / "tokenizer.json"))
    end = tokenizer.encode("a").ids[-1]
    tokenizer.enable_padding(pad_id=end)
    tokenizer.save(str(path))
    return path


def test_images_and_texts_are_those_of_transformers(tmp_path: Path) -> None:
    model = import_model(
        CLIP / "vision_model.onnx",
        tmp_path / "m",
        **CLIP_PIXELS,
        text=CLIP / "text_model.onnx",
        tokenizer=padded_tokenizer(tmp_path / "tokenizer.json"),
        context=24,
    )
    encoder = ClipEncoder.load(model, precision="f32")
    np.testing.assert_allclose(encoder.embed_images(drawn()), EXPECTED["images"], atol=1e-5)
    np.testing.assert_allclose(encoder.embed_texts(TEXTS), EXPECTED["texts"], atol=1e-5)


def test_the_command_and_an_only_input_of_another_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    renamed = tmp_path / "backbone.onnx"
    data = (CLIP / "vision_model.onnx").read_bytes()
    renamed.write_bytes(data.replace(b"pixel_values", b"input_images"))
    given = ["--size", "32", "--mean", *map(str, CLIP_PIXELS["mean"])]
    given += ["--std", *map(str, CLIP_PIXELS["std"]), "--license", "MIT"]
    assert main(["import-model", str(renamed), "-o", str(tmp_path / "m"), *given]) == 0
    printed = capsys.readouterr()
    assert printed.out.strip() == str(tmp_path / "m")
    assert printed.err.splitlines()[-1] == "m: vectors of 16 numbers"
    manifest = load_manifest(tmp_path / "m")
    assert (manifest.family, manifest.dim, manifest.licence) == ("image", 16, "MIT")
    assert (manifest.name, manifest.source) == ("m", "backbone.onnx")
    encoder = load_encoder(tmp_path / "m", precision="f32")
    np.testing.assert_allclose(encoder.embed_images(drawn()), EXPECTED["images"], atol=1e-5)


def test_an_ir(tmp_path: Path) -> None:
    demo = load_manifest(resolve_model("demo")).image
    model = import_model(
        resolve_model("demo") / "image_encoder.xml",
        tmp_path / "m",
        size=demo.size_px,
        mean=demo.mean,
        std=demo.std,
        resize_px=demo.resize_px,
    )
    ours, theirs = load_encoder(model, precision="f32"), load_encoder("demo", precision="f32")
    found, expected = ours.embed_images(drawn()), theirs.embed_images(drawn())
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_tokens_are_pooled_as_asked(tmp_path: Path) -> None:
    first, mean = (
        load_encoder(
            import_model(DINOV2, tmp_path / pool, **IMAGENET, pool=pool, features=features),
            precision="f32",
        ).embed_images(drawn())
        for pool, features in (("cls", ""), ("mean", "last"))
    )
    assert not np.allclose(first, mean, atol=1e-3)
    expected = json.loads((HUB / "expected-dinov2.json").read_text(encoding="utf-8"))["images"]
    assert first.shape == np.shape(expected)


@pytest.mark.parametrize(
    ("options", "error", "why"),
    [
        ({}, ModelInvalidError, "has the shape .*, which is not one vector per row"),
        ({"pool": "mean"}, ModelInvalidError, "not show where the numbers .* give features: first"),
        ({"pool": "cls", "features": "last"}, UsageError, "features is for pool mean only"),
        ({"pool": "cls", "output_name": "features"}, ModelInvalidError, "no output 'features', b"),
        ({"std": (0.2, 0.0, 0.2)}, UsageError, "impossible: std is .*"),
        ({"resize": "pad"}, UsageError, "resize is 'pad', not one of"),
        ({"resize": "stretch", "resize_px": 48}, UsageError, "resize_px is for resize crop only"),
        ({"mean": (123, 117, 104)}, UsageError, "scale makes pixels of 0 to 1, .* a mean of"),
        ({"std": (58, 57, 57)}, UsageError, "Give mean and standard deviation of the scaled"),
        ({"scale": 1}, UsageError, "scale makes pixels of 0 to 255, which does not fit"),
        ({"resize_px": 32}, UsageError, "size_px is 42, not at most resize_px"),
        ({"text": "text.onnx"}, UsageError, "Give text and tokenizer"),
    ],
    ids=str,
)
def test_what_cannot_be_imported(
    tmp_path: Path, options: dict[str, object], error: type[Exception], why: str
) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(error, match=why):
        import_model(DINOV2, tmp_path / "out" / "m", **{**IMAGENET, **options})
    assert list((tmp_path / "out").iterdir()) == []


def test_files_that_are_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalidError, match=r"Cannot import .*vision_model\.onnx: "):
        import_model(CLIP / "vision_model.onnx", tmp_path / "m", **{**CLIP_PIXELS, "size": 48})
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(ModelInvalidError, match=r"Cannot import .*broken.onnx: it is"):
        import_model(tmp_path / "broken.onnx", tmp_path / "m", **IMAGENET)
    with pytest.raises(UsageError, match=r"There is no file '.*none\.onnx'\. Check the path"):
        import_model(tmp_path / "none.onnx", tmp_path / "m", **IMAGENET)
    (tmp_path / "weights.pt").write_bytes(b"weights")
    with pytest.raises(UsageError, match=r"is not an image or text encoder\. Give an \.onnx"):
        import_model(tmp_path / "weights.pt", tmp_path / "m", **IMAGENET)
    texts = {"text": CLIP / "text_model.onnx", "context": 24}
    plain = shutil.copy(CLIP.parent / "tokenizer.json", tmp_path / "tokenizer.json")
    with pytest.raises(ModelInvalidError, match="does not say how it pads"):
        import_model(
            CLIP / "vision_model.onnx", tmp_path / "m", **CLIP_PIXELS, **texts, tokenizer=plain
        )
    with pytest.raises(ModelInvalidError, match="its vectors have 16 numbers, not 32"):
        import_model(DINOV2, tmp_path / "m", **IMAGENET, pool="cls", **texts, tokenizer=plain)


@pytest.mark.parametrize(("features", "order"), [("first", (0, 1, 2, 3)), ("last", (0, 2, 3, 1))])
def test_a_map_is_averaged_over_its_places(
    tmp_path: Path, features: str, order: tuple[int, ...]
) -> None:
    pixels = ops.parameter([-1, 3, 8, 8], np.float32, "pixel_values")
    moved = ops.transpose(pixels, np.array(order, np.int64))
    moved.output(0).tensor.set_names({"image_embeds"})
    pixels.output(0).tensor.set_names({"pixel_values"})
    ov.save_model(ov.Model([moved], [pixels], "map"), tmp_path / "a.xml")
    facts = {**IMAGENET, "size": 8, "pool": "mean", "features": features}
    model = import_model(tmp_path / "a.xml", tmp_path / "m", **facts)
    assert load_manifest(model).dim == 3
    red = Image.new("RGB", (9, 9), "red")
    found = load_encoder(model, precision="f32").embed_images([red])[0]
    colour = (np.array((1, 0, 0)) - IMAGENET["mean"]) / IMAGENET["std"]
    np.testing.assert_allclose(found, colour / np.linalg.norm(colour), atol=1e-5)


def test_a_pool_that_does_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalidError, match="one vector per row already; leave out pool"):
        import_model(CLIP / "vision_model.onnx", tmp_path / "m", **CLIP_PIXELS, pool="cls")


@pytest.mark.parametrize(
    ("changes", "context", "error", "why"),
    [
        ({}, 0, UsageError, "context is 0. Give 1 to 16384 tokens"),
        ({}, 20_000, UsageError, "context is 20000. Give 1 to 16384"),
        ({"unk_token": "none"}, 24, ModelInvalidError, "k.json: it does not take every text: Word"),
        ({"pad_id": 77}, 24, ModelInvalidError, "k.json: it pads with token 77, which it does not"),
    ],
    ids=str,
)
def test_texts_that_cannot_be_made_tokens(
    tmp_path: Path, changes: dict[str, Any], context: int, error: type[Exception], why: str
) -> None:
    words = {"[PAD]": 0, "[UNK]": 1, "cat": 2}
    made = Tokenizer(models.WordLevel(words, unk_token=changes.get("unk_token", "[UNK]")))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.enable_padding(pad_id=changes.get("pad_id", 0), pad_token="[PAD]")
    made.save(str(tmp_path / "k.json"))
    given = {"text": CLIP / "text_model.onnx", "tokenizer": tmp_path / "k.json"}
    with pytest.raises(error, match=why):
        import_model(
            CLIP / "vision_model.onnx", tmp_path / "m", **CLIP_PIXELS, **given, context=context
        )


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    graph, target = (tmp_path / os.fsdecode(name) for name in (b"v\xff.onnx", b"m\xff"))
    shutil.copy(CLIP / "vision_model.onnx", graph)
    model = import_model(graph, target, **CLIP_PIXELS)
    assert (load_manifest(model).name, load_manifest(model).source) == ("m?", "v?.onnx")


def test_graphs_that_are_not_whole(tmp_path: Path) -> None:
    graph, _ = external((CLIP / "vision_model.onnx").read_bytes(), "gone.data")
    contents = {"empty.onnx": b"", "gone.onnx": graph, "other.xml": b"<a/>"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for name, why in (
        ("empty.onnx", "it is empty"),
        ("gone.onnx", "its weights are in 'gone.data', which is not beside it"),
        ("other.xml", "it is not an OpenVINO IR"),
    ):
        with pytest.raises(ModelInvalidError, match=f"Cannot import .*{name}: {why}"):
            import_model(tmp_path / name, tmp_path / "m", **CLIP_PIXELS)


def test_weights_behind_links(tmp_path: Path) -> None:
    """As in a hub's cache; OpenVINO refuses weights that are elsewhere."""
    for folder in ("blobs", "snapshot"):
        (tmp_path / folder).mkdir()
    parts = external((CLIP / "vision_model.onnx").read_bytes(), "vision.data")
    for name, content in zip(("vision.onnx", "vision.data"), parts, strict=True):
        (tmp_path / "blobs" / f"0{name}").write_bytes(content)
        (tmp_path / "snapshot" / name).symlink_to(tmp_path / "blobs" / f"0{name}")
    graph = tmp_path / "snapshot" / "vision.onnx"
    model = import_model(graph, tmp_path / "m", **CLIP_PIXELS)
    encoder = load_encoder(model, precision="f32")
    np.testing.assert_allclose(encoder.embed_images(drawn()), EXPECTED["images"], atol=1e-5)


def test_few_of_many_outputs_are_listed(tmp_path: Path) -> None:
    pixels = ops.parameter([-1, 3, 8, 8], np.float32, "pixel_values")
    outputs = [ops.add(pixels, np.float32(i)) for i in range(50)]
    for i, one in enumerate(outputs):
        one.output(0).tensor.set_names({f"o{i}"})
    ov.save_model(ov.Model(outputs, [pixels], "many"), tmp_path / "a.xml")
    with pytest.raises(ModelInvalidError, match=r"but 50 outputs: o0, .*, o7, …; choose one with"):
        import_model(tmp_path / "a.xml", tmp_path / "m", **{**IMAGENET, "size": 8})


def test_vectors_without_direction_do_not_name_a_folder_that_is_gone(tmp_path: Path) -> None:
    pixels = ops.parameter([-1, 3, 8, 8], np.float32, "pixel_values")
    mean = ops.reduce_mean(pixels, np.array([2, 3], np.int64), keep_dims=False)
    vectors = ops.multiply(mean, np.float32(0))
    vectors.output(0).tensor.set_names({"image_embeds"})
    pixels.output(0).tensor.set_names({"pixel_values"})
    ov.save_model(ov.Model([vectors], [pixels], "zero"), tmp_path / "a.xml")
    with pytest.raises(ModelInvalidError, match=r"'.*/m' was not made: .*golden vec") as caught:
        import_model(tmp_path / "a.xml", tmp_path / "m", **{**IMAGENET, "size": 8})
    assert not re.search(r"\.tmp|Recreate", str(caught.value))


def test_a_tokenizer_with_more_tokens_than_the_text_encoder(tmp_path: Path) -> None:
    """OpenVINO looks up other numbers for them, without an error."""
    tokenizer = Tokenizer.from_file(str(padded_tokenizer(tmp_path / "tokenizer.json")))
    highest = max(tokenizer.get_vocab().values())
    tokenizer.add_tokens(["zebra"])
    tokenizer.save(str(tmp_path / "more.json"))
    with pytest.raises(
        ModelInvalidError, match=f"ids up to {highest + 1}, but the text encoder only .*{highest}"
    ):
        import_model(
            CLIP / "vision_model.onnx",
            tmp_path / "m",
            **CLIP_PIXELS,
            text=CLIP / "text_model.onnx",
            tokenizer=tmp_path / "more.json",
            context=24,
        )


def test_a_graph_that_mixes_the_rows_of_a_batch(tmp_path: Path) -> None:
    pixels = ops.parameter([-1, 3, 8, 8], np.float32, "pixel_values")
    flat = ops.reduce_mean(pixels, np.array([2], np.int64), keep_dims=False)
    flat = ops.reshape(flat, np.array([0, 24], np.int64), special_zero=True)
    highest = ops.reduce_max(flat, np.array([0], np.int64), keep_dims=True)
    vectors = ops.add(flat, ops.multiply(highest, np.float32(0.01)))
    vectors.output(0).tensor.set_names({"image_embeds"})
    pixels.output(0).tensor.set_names({"pixel_values"})
    ov.save_model(ov.Model([vectors], [pixels], "mixing"), tmp_path / "a.xml")
    model = import_model(tmp_path / "a.xml", tmp_path / "m", **{**IMAGENET, "size": 8})
    assert load_manifest(model).one_by_one
    encoder = load_encoder(model, precision="f32")
    alone = np.concatenate([encoder.embed_images([one]) for one in drawn()])
    np.testing.assert_array_equal(encoder.embed_images(drawn()), alone)


def made_ir(path: Path, kinds: dict[str, str]) -> Path:
    """Write an IR that adds up inputs of pixels, given as name → type, to one vector per image."""
    inputs = [ops.parameter([-1, 3, 8, 8], np.dtype(kind), name) for name, kind in kinds.items()]
    floats = [ops.convert(one, "f32") for one in inputs]
    whole = reduce(ops.add, floats)
    vectors = ops.reduce_mean(whole, np.array([2, 3], np.int64), keep_dims=False)
    vectors.output(0).tensor.set_names({"image_embeds"})
    for one, name in zip(inputs, kinds, strict=True):
        one.output(0).tensor.set_names({name})
    ov.save_model(ov.Model([vectors], inputs, "made"), path)
    return path


@pytest.mark.parametrize(
    ("kinds", "size", "why"),
    [
        (
            {"pixel_values": "float32"},
            16,
            r"the shape \[\?,3,8,8\], not .*,16,16\]",
        ),
        (
            {"pixel_values": "float32", "mask": "float32"},
            8,
            "needs the input 'mask', but an",
        ),
        ({"pixel_values": "uint8"}, 8, "'pixel_values' takes u8, not floating"),
    ],
    ids=str,
)
def test_inputs_that_are_not_pixels_of_this_size(
    tmp_path: Path, kinds: dict[str, str], size: int, why: str
) -> None:
    """OpenVINO would reshape a network that works with any size, and cast pixels to integers."""
    (tmp_path / "out").mkdir()
    graph = made_ir(tmp_path / "graph.xml", kinds)
    with pytest.raises(ModelInvalidError, match=f"Cannot import .*graph.xml: its? .*{why}"):
        import_model(graph, tmp_path / "out" / "m", **{**IMAGENET, "size": size})
    assert list((tmp_path / "out").iterdir()) == []


def test_a_text_encoder_in_place_of_the_image_encoder(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalidError, match=r"needs the input 'input_ids', but .*"):
        import_model(CLIP / "text_model.onnx", tmp_path / "m", **CLIP_PIXELS)


def test_antialiasing_that_openvino_leaves_out(tmp_path: Path) -> None:
    """OpenVINO gives other vectors without an error, so nothing else would notice."""
    data = DINOV2.read_bytes()
    changed = data.replace(b"antialias\x18\x00", b"antialias\x18\x01")
    assert changed != data
    (tmp_path / "a.onnx").write_bytes(changed)
    with pytest.raises(ModelInvalidError, match="resizes with antialiasing, which OpenVINO"):
        import_model(tmp_path / "a.onnx", tmp_path / "m", **IMAGENET, pool="cls")


def test_the_only_output_may_have_any_name(tmp_path: Path) -> None:
    data = rename_output((CLIP / "vision_model.onnx").read_bytes(), "image_embeds", "features")
    (tmp_path / "a.onnx").write_bytes(data)
    model = import_model(tmp_path / "a.onnx", tmp_path / "m", **CLIP_PIXELS)
    encoder = load_encoder(model, precision="f32")
    np.testing.assert_allclose(encoder.embed_images(drawn()), EXPECTED["images"], atol=1e-5)
