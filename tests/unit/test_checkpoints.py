"""models/: what a checkpoint's files say, read as transformers and OpenCLIP read them."""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from datumaro_embed.errors import ModelInvalidError
from datumaro_embed.models import ImageSpec, TextSpec
from datumaro_embed.models.checkpoint import (
    check_dim,
    check_image_size,
    context_length,
    family_of,
    image_spec,
    licence_of,
    read_images,
    read_json,
)
from datumaro_embed.models.onnx_files import read_onnx
from datumaro_embed.models.tokenizers import TextTokenizer, complete_tokenizer
from onnx_edit import external, rename_output

TINY = Path(__file__).parents[1] / "golden" / "hub" / "tiny-clip" / "onnx"
CLIP = {
    "size": {"shortest_edge": 224},
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "resample": 3,
    "rescale_factor": 1 / 255,
    "image_mean": [0.1, 0.2, 0.3],
    "image_std": [0.4, 0.5, 0.6],
}
CLIP_SPEC = ImageSpec(
    224, "shortest_side", 224, "bicubic", 1 / 255, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
)
CLIP_DEFAULT = replace(
    CLIP_SPEC,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)
SIGLIP_DEFAULT = ImageSpec(224, "stretch", 224, "bicubic", 1 / 255, (0.5,) * 3, (0.5,) * 3)
REFUSED = "This checkpoint cannot become"


def write(folder: Path, **files: Any) -> Path:
    for name, body in files.items():
        (folder / f"{name}.json").write_text(json.dumps(body), encoding="utf-8")
    return folder


# -------------------------------------------------------------------------------------- config.json


@pytest.mark.parametrize("tower", [{}, {"vision_config": None}, {"vision_config": {}}])
def test_an_encoder_without_a_configuration_is_the_usual_one(tower: dict[str, Any]) -> None:
    config = {"model_type": "clip", "text_config": None, **tower}
    check_image_size(config, CLIP_SPEC)
    assert context_length(config, "clip") == 77
    assert context_length(config, "siglip") == 64
    with pytest.raises(ModelInvalidError, match="32 px for an encoder of 224 px"):
        check_image_size(config, replace(CLIP_SPEC, size_px=32))


def test_the_old_sections_of_clip_replace_the_new_ones() -> None:
    old = {"model_type": "clip", "text_config_dict": {"max_position_embeddings": 24}}
    new = {"text_config": {"max_position_embeddings": 99}}
    assert context_length({**old, **new}, "clip") == 24
    null = {**old, "text_config_dict": None, "text_config": {"max_position_embeddings": 99}}
    assert context_length(null, "clip") == 99


@pytest.mark.parametrize(
    ("family", "n_tokens"), [("chinese_clip", 52), ("altclip", 77), ("jina_clip", 77)]
)
def test_a_language_models_table_of_positions_is_not_the_context(
    family: str, n_tokens: int
) -> None:
    config = {"model_type": family, "text_config": {"max_position_embeddings": 512}}
    assert context_length(config, family) == n_tokens


@pytest.mark.parametrize(
    "config",
    [
        {"vision_config": "ViT-B/32"},
        {"vision_config": [224]},
        {"text_config": 77},
        {"text_config": {"max_position_embeddings": "77"}},
        {"text_config": {"max_position_embeddings": 1e12}},
        {"text_config": {"max_position_embeddings": -1}},
        {"vision_config": {"image_size": [224, 196]}},
        {"vision_config": {"image_size": None}},
    ],
    ids=str,
)
def test_a_configuration_that_is_not_one(config: dict[str, Any]) -> None:
    config = {"model_type": "clip", **config}
    with pytest.raises(ModelInvalidError, match=REFUSED):
        context_length(config, "clip"), check_image_size(config, CLIP_SPEC)


@pytest.mark.parametrize("family", [None, "bert", 7, ["clip"], {"clip": 1}, "siglip2", "x" * 9999])
def test_other_families(family: Any) -> None:
    with pytest.raises(ModelInvalidError, match=r"model_type|NaFlex") as caught:
        family_of({"model_type": family})
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("content", ["null", "[]", "3", "", "{", "[" * 99999, '"clip"'])
def test_files_that_are_no_json_objects(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelInvalidError, match=r"config\.json"):
        read_json(tmp_path / "config.json")
    assert read_json(tmp_path / "none.json") == {}


def test_vectors_of_clip_are_projected() -> None:
    check_dim({"projection_dim": 16}, "clip", 16)
    check_dim({}, "clip", 512)
    check_dim({}, "siglip", 768)
    check_dim({}, "altclip", 768)
    check_dim({}, "jina_clip", 1024)
    for config in ({"projection_dim": 512}, {"projection_dim": None}, {}):
        with pytest.raises(ModelInvalidError, match="768 numbers, but its projection_dim is 512"):
            check_dim(config, "clip", 768)


# ------------------------------------------------------------------------------------------- images


def test_clips_own_settings() -> None:
    assert image_spec(CLIP, "clip") == CLIP_SPEC
    assert image_spec({**CLIP, "size": 224, "crop_size": 224}, "clip") == CLIP_SPEC


def test_the_settings_of_clips_relatives() -> None:
    clip = image_spec({}, "clip")
    assert image_spec({}, "metaclip_2") == image_spec({}, "altclip") == clip
    square = {"size": {"height": 224, "width": 224}, "do_center_crop": False}
    chinese = {"feature_extractor_type": "ChineseCLIPFeatureExtractor", **square}
    assert image_spec(chinese, "chinese_clip") == replace(clip, resize="stretch")
    jina = {"image_processor_type": "JinaCLIPImageProcessor", "size": 512, "fill_color": 0}
    expected = replace(clip, size_px=512, resize_px=512)
    assert image_spec(jina, "jina_clip") == expected
    squash = {**jina, "resize_mode": "squash", "interpolation": "bilinear"}
    expected = replace(expected, resize="stretch", resample="bilinear")
    assert image_spec(squash, "jina_clip") == expected
    with pytest.raises(ModelInvalidError, match="resized by 'longest'"):
        image_spec({**jina, "resize_mode": "longest"}, "jina_clip")


def test_a_crop_smaller_than_the_resize() -> None:
    found = image_spec({**CLIP, "size": {"shortest_edge": 256}}, "clip")
    assert (found.resize_px, found.size_px) == (256, 224)


@pytest.mark.parametrize(
    ("config", "family", "expected"),
    [
        ({}, "clip", CLIP_DEFAULT),
        ({}, "siglip", SIGLIP_DEFAULT),
        ({"do_center_crop": None, "crop_size": None, "do_pad": None}, "siglip", SIGLIP_DEFAULT),
        ({"image_processor_type": None}, "siglip", SIGLIP_DEFAULT),
        ({"image_processor_type": "SiglipImageProcessorFast"}, "clip", SIGLIP_DEFAULT),
        ({"feature_extractor_type": "CLIPFeatureExtractor"}, "clip", CLIP_DEFAULT),
        ({"size": {"shortest_edge": 224, "longest_edge": None}}, "clip", CLIP_DEFAULT),
        ({"size": [224, 224]}, "siglip", SIGLIP_DEFAULT),
        ({"resample": 2}, "siglip", replace(SIGLIP_DEFAULT, resample="bilinear")),
        ({"do_rescale": False}, "siglip", replace(SIGLIP_DEFAULT, scale=1.0)),
        ({"do_rescale": None}, "siglip", replace(SIGLIP_DEFAULT, scale=1.0)),
        (
            {"do_normalize": False},
            "clip",
            replace(CLIP_DEFAULT, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        ),
    ],
    ids=str,
)
def test_what_is_not_said_is_what_transformers_does(
    config: dict[str, Any], family: str, expected: ImageSpec
) -> None:
    assert image_spec(config, family) == expected


@pytest.mark.parametrize(
    "change",
    [
        *({key: None} for key in ("size", "crop_size", "resample", "image_mean", "image_std")),
        *({key: None} for key in ("do_center_crop", "do_resize", "rescale_factor")),
        {"resample": 9},
        {"resample": "bicubic"},
        {"resample": True},
        {"image_mean": 0.5},
        {"image_std": [1, 1]},
        {"image_std": [1, 1, 0]},
        {"rescale_factor": "1/255"},
        {"crop_size": {"height": 224, "width": 225}},
        {"crop_size": {"shortest_edge": 224}},
        {"crop_size": 256},
        {"size": {"height": 224, "width": 200}},
        {"size": {"height": 256, "width": 256}},
        {"size": {"shortest_edge": 224, "longest_edge": 300}},
        {"size": {"max_height": 224, "max_width": 224}},
        {"size": {}},
        {"size": "224"},
        {"size": 224.5},
        {"size": [224]},
        {"do_center_crop": False},
        {"do_pad": True},
        {"do_resize": False},
        {"image_processor_type": "ViTImageProcessor"},
        {"image_processor_type": 7},
    ],
    ids=str,
)
def test_settings_that_are_not_done_here(change: dict[str, Any]) -> None:
    with pytest.raises(ModelInvalidError, match=REFUSED):
        image_spec({**CLIP, **change}, "clip")


def test_siglip_with_one_number_for_a_size_is_refused() -> None:
    """transformers keeps the aspect ratio then, and nothing crops: there is no such encoder."""
    with pytest.raises(ModelInvalidError, match="keeps the aspect ratio"):
        image_spec({"size": 224}, "siglip")


def test_both_places_of_the_image_settings(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalidError, match=r"no preprocessor_config\.json"):
        read_images(tmp_path, "clip")
    write(tmp_path, processor_config={"image_processor": CLIP, "processor_class": "CLIPProcessor"})
    assert read_images(tmp_path, "clip") == (CLIP, CLIP_SPEC)
    write(tmp_path, preprocessor_config={**CLIP, "do_convert_rgb": True})
    assert read_images(tmp_path, "clip") == (CLIP, CLIP_SPEC)
    write(tmp_path, preprocessor_config={**CLIP, "resample": 2})
    with pytest.raises(ModelInvalidError, match=r"processor_config.json and .* disagree: resample"):
        read_images(tmp_path, "clip")
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(ModelInvalidError, match=r"preprocessor_config\.json"):
        read_images(tmp_path, "clip")


OPEN_CLIP = {
    "model_cfg": {"embed_dim": 16, "vision_cfg": {"image_size": 224}, "text_cfg": {}},
    "preprocess_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]},
}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"resize_mode": "shortest", "interpolation": "bicubic"},
        {"resize_mode": None, "interpolation": None, "fill_color": 0},
        {"mean": [0.1, 0.2, 0.30001]},
    ],
    ids=str,
)
def test_open_clip_that_agrees(tmp_path: Path, change: dict[str, Any]) -> None:
    preprocess = {**OPEN_CLIP["preprocess_cfg"], **change}
    write(tmp_path, open_clip_config={**OPEN_CLIP, "preprocess_cfg": preprocess})
    write(tmp_path, preprocessor_config=CLIP)
    assert read_images(tmp_path, "clip") == (CLIP, CLIP_SPEC)


@pytest.mark.parametrize(
    ("tower", "preprocess", "what"),
    [
        (
            {},
            {"resize_mode": "squash"},
            "resize is 'shortest_side' in one and 'stretch' in the other",
        ),
        (
            {},
            {"interpolation": "bilinear"},
            "resample is 'bicubic' in one and 'bilinear' in the other",
        ),
        ({}, {"mean": [0.5] * 3}, "mean is"),
        ({}, {"std": None}, "std is"),
        ({"image_size": 336}, {}, "size_px is 224 in one and 336 in the other; resize_px"),
        ({"image_size": [196, 196]}, {}, "size_px is 224 in one and 196"),
    ],
    ids=str,
)
def test_open_clip_that_disagrees(
    tmp_path: Path, tower: dict[str, Any], preprocess: dict[str, Any], what: str
) -> None:
    body = json.loads(json.dumps(OPEN_CLIP))
    body["model_cfg"]["vision_cfg"].update(tower)
    body["preprocess_cfg"].update(preprocess)
    write(tmp_path, open_clip_config=body, preprocessor_config=CLIP)
    with pytest.raises(ModelInvalidError, match=what) as caught:
        read_images(tmp_path, "clip")
    assert "preprocessor_config.json and open_clip_config.json disagree" in str(caught.value)
    assert "without the other one" in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        {"model_cfg": None, "preprocess_cfg": {"resize_mode": "longest"}},
        {"preprocess_cfg": {"mean": 5}},
        {"preprocess_cfg": [1]},
        {"model_cfg": {"vision_cfg": {"image_size": {"a": 1}}}},
        {"model_cfg": {"vision_cfg": 7}},
    ],
    ids=str,
)
def test_open_clip_that_cannot_be_read(tmp_path: Path, body: dict[str, Any]) -> None:
    write(tmp_path, open_clip_config=body, preprocessor_config=CLIP)
    with pytest.raises(ModelInvalidError, match=REFUSED):
        read_images(tmp_path, "clip")


# -------------------------------------------------------------------------------------------- texts

WORDS = ("a", "A", "photo", "of", "cat", "Cat", "CAT", "cat,", "<old>", "aσ", "aς")
NAMES = {"eos_token": "<end>", "pad_token": "<pad>"}


def tokenizer(
    folder: Path,
    *,
    kind: str = "WordLevel",
    normalizer: Any = None,
    special: Sequence[str] = ("<pad>", "<end>"),
) -> Path:
    """Write a tokenizer of words, ended by ``<end>``; `special` are its added tokens."""
    vocab = {word: i for i, word in enumerate(["<unk>", "<pad>", "<end>", *WORDS])}
    if kind == "BPE":
        letters = sorted({char for word in WORDS for char in word} | set(string.punctuation))
        vocab = {t: i for i, t in enumerate(["<unk>", "<pad>", "<end>", *letters])}
        made = Tokenizer(models.BPE(vocab, [], unk_token="<unk>"))
    elif kind == "Unigram":
        made = Tokenizer(models.Unigram([(word, -1.0) for word in vocab], unk_id=0))
        made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    else:
        made = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
        made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if normalizer is not None:
        made.normalizer = normalizer
    made.post_processor = processors.TemplateProcessing(
        single="$A <end>", special_tokens=[("<end>", vocab["<end>"])]
    )
    made.add_special_tokens(list(special))
    made.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def complete(folder: Path, family: str = "clip", **text: Any) -> TextSpec:
    config = {"model_type": family, "text_config": {"max_position_embeddings": 6, **text}}
    return complete_tokenizer(folder / "tokenizer.json", folder, config, family)


def tokens(folder: Path, spec: TextSpec, *texts: str) -> list[list[int]]:
    return TextTokenizer(folder / "tokenizer.json", spec)(texts)[0].tolist()


def test_text_settings(tmp_path: Path) -> None:
    tokenizer(tmp_path, normalizer=normalizers.Lowercase())
    write(
        tmp_path,
        special_tokens_map={"pad_token": {"content": "<pad>"}, "eos_token": "x"},
        tokenizer_config={"eos_token": "<end>", "do_lower_case": True},
    )
    before = (tmp_path / "tokenizer.json").read_bytes()
    assert complete(tmp_path) == TextSpec(6, 1, 2, False, ("input_ids", "attention_mask"))
    assert (tmp_path / "tokenizer.json").read_bytes() == before


def test_text_settings_fall_back_on_the_models_configuration(tmp_path: Path) -> None:
    tokenizer(tmp_path)
    found = complete(tmp_path, pad_token_id=3, eos_token_id=2)
    assert (found.pad_id, found.eos_id) == (3, 2)
    with pytest.raises(ModelInvalidError, match="does not say what its pad_token is"):
        complete(tmp_path, eos_token_id=2)


def test_a_special_token_that_is_a_plain_word_of_the_vocabulary(tmp_path: Path) -> None:
    tokenizer(tmp_path, special=["<end>"])
    write(tmp_path, tokenizer_config={"eos_token": "<end>", "pad_token": "<old>"})
    assert complete(tmp_path).pad_id == 3 + WORDS.index("<old>")
    assert "<old>" in {
        token["content"] for token in read_json(tmp_path / "tokenizer.json")["added_tokens"]
    }
    write(tmp_path, tokenizer_config={"eos_token": "<end>", "pad_token": "[PAD]"})
    with pytest.raises(ModelInvalidError, match=r"pad_token '\[PAD\]' is not in its tokenizer"):
        complete(tmp_path, pad_token_id=1)


def test_a_tokenizer_that_pads_by_itself_says_with_what(tmp_path: Path) -> None:
    path = tokenizer(tmp_path)
    made = Tokenizer.from_file(str(path))
    made.enable_padding(pad_id=1, pad_token="<pad>", length=6)
    made.save(str(path))
    write(tmp_path, tokenizer_config={"eos_token": "<end>"})
    assert complete(tmp_path).pad_id == 1


@pytest.mark.parametrize("settings", [{}, {"tokenizer_class": "CLIPTokenizerFast"}], ids=str)
def test_clip_lower_cases(tmp_path: Path, settings: dict[str, Any]) -> None:
    tokenizer(tmp_path, normalizer=normalizers.NFC())
    write(tmp_path, tokenizer_config={**NAMES, **settings})
    spec = complete(tmp_path)
    assert not spec.lower_case  # the tokenizer's own normalizer does it
    upper, lower = tokens(tmp_path, spec, "A Photo OF CAT", "a photo of cat")
    assert upper == lower


def test_another_tokenizer_keeps_the_case_unless_it_says_so(tmp_path: Path) -> None:
    tokenizer(tmp_path)
    write(tmp_path, tokenizer_config={**NAMES, "tokenizer_class": "PreTrainedTokenizerFast"})
    spec = complete(tmp_path)
    assert tokens(tmp_path, spec, "Cat")[0] != tokens(tmp_path, spec, "cat")[0]
    settings = {**NAMES, "tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": True}
    write(tmp_path, tokenizer_config=settings)
    spec = complete(tmp_path)
    assert tokens(tmp_path, spec, "Cat")[0] == tokens(tmp_path, spec, "cat")[0]


@pytest.mark.parametrize(
    "settings",
    [
        {"tokenizer_class": "GemmaTokenizer", "padding_side": "right"},
        {"tokenizer_class": "GemmaTokenizerFast", "padding_side": "right", "do_lower_case": False},
        {"tokenizer_class": "Siglip2Tokenizer", "padding_side": "right"},
        {"tokenizer_class": "TokenizersBackend"},
        {},
    ],
    ids=str,
)
def test_siglip2_lower_cases_and_keeps_punctuation(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    tokenizer(tmp_path, kind="BPE", normalizer=normalizers.Replace(" ", ""))
    write(tmp_path, tokenizer_config={**NAMES, **settings})
    spec = complete(tmp_path, "siglip")
    upper, lower, marked = tokens(tmp_path, spec, "A CAT", "a cat", "a cat!")
    assert upper == lower != marked
    again = (tmp_path / "tokenizer.json").read_bytes()
    assert complete(tmp_path, "siglip") == spec
    assert (tmp_path / "tokenizer.json").read_bytes() == again


@pytest.mark.parametrize(
    "normalizer",
    [
        None,
        normalizers.NFKC(),
        normalizers.Sequence([normalizers.Lowercase(), normalizers.Strip()]),
        normalizers.Replace(string.punctuation[0], ""),  # one mark is not all of them
    ],
    ids=repr,
)
def test_siglip_lower_cases_and_drops_punctuation(tmp_path: Path, normalizer: Any) -> None:
    tokenizer(tmp_path, kind="Unigram", normalizer=normalizer)
    write(tmp_path, tokenizer_config={**NAMES, "tokenizer_class": "SiglipTokenizer"})
    spec = complete(tmp_path, "siglip")
    plain, *others = tokens(
        tmp_path, spec, "a photo of cat", "A PHOTO, of (Cat)!?", " a\tphoto\n\nof cat ~#"
    )
    assert 0 not in plain
    assert others == [plain, plain]


def test_siglip_lower_cases_as_python_does(tmp_path: Path) -> None:
    tokenizer(tmp_path, kind="Unigram")
    write(tmp_path, tokenizer_config={**NAMES, "do_lower_case": True})
    spec = complete(tmp_path, "siglip")
    assert spec.lower_case
    assert tokens(tmp_path, spec, "AΣ")[0][0] == 3 + WORDS.index("aς")  # the final sigma


@pytest.mark.parametrize("stated", [False, None])
def test_siglip_keeps_the_case_where_it_says_so(tmp_path: Path, stated: bool | None) -> None:
    tokenizer(tmp_path, kind="Unigram")
    write(tmp_path, tokenizer_config={**NAMES, "do_lower_case": stated})
    spec = complete(tmp_path, "siglip")
    assert tokens(tmp_path, spec, "Cat!")[0][0] == 3 + WORDS.index("Cat")


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"padding_side": "left"}, "pads on the left"),
        ({"tokenizer_class": "Siglip2Tokenizer"}, "pads on the left"),
        ({"tokenizer_class": "GemmaTokenizer", "padding_side": None}, "pads on the left"),
        ({"eos_token": "<pad>"}, "ends a text with token"),
        ({"eos_token": 5}, "not in its tokenizer"),
        ({"eos_token": {"content": None}, "tokenizer_class": "T5Tokenizer"}, "does not say"),
    ],
    ids=str,
)
def test_tokenizers_that_are_not_done_here(
    tmp_path: Path, settings: dict[str, Any], why: str
) -> None:
    tokenizer(tmp_path)
    write(tmp_path, tokenizer_config={**NAMES, **settings})
    with pytest.raises(ModelInvalidError, match=why):
        complete(tmp_path)


@pytest.mark.parametrize("content", ["", "null", "{}", '{"model": {"type": "BPE"}}', "[" * 9999])
def test_files_that_are_no_tokenizers(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ModelInvalidError, match="its tokenizer cannot be used"):
        complete(tmp_path)


# --------------------------------------------------------------------------------------------- ONNX


def test_onnx_says_its_outputs_and_its_files(tmp_path: Path) -> None:
    whole = (TINY / "text_model.onnx").read_bytes()
    for location in ("t.onnx_data", "sub/ï.bin", "../x"):
        graph, weights = external(whole, location)
        (tmp_path / "t.onnx").write_bytes(rename_output(graph, "text_embeds", "pooler_output"))
        assert read_onnx(tmp_path / "t.onnx") == (["pooler_output"], {location})
        assert len(graph) < len(whole) / 3 < len(weights)
    (tmp_path / "t.onnx").write_bytes(whole)
    assert read_onnx(tmp_path / "t.onnx") == (["text_embeds"], set())


def test_files_that_are_no_onnx(tmp_path: Path) -> None:
    whole = (TINY / "text_model.onnx").read_bytes()
    garbage = [b"", b"no model", b"<html>", b"\xff" * 50, b"version https://git-lfs", whole[:-9]]
    for content in garbage:
        (tmp_path / "x.onnx").write_bytes(content)
        with pytest.raises(ValueError, match=r"cut off|not ONNX|empty"):
            read_onnx(tmp_path / "x.onnx")


# ------------------------------------------------------------------------------------------ licence


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: mit\n---\n# A", "mit"),
        ("---\ntags:\n- x\nlicense: 'apache-2.0'\n---\n", "apache-2.0"),
        ("---\ntags: x\n---\nlicense: mit\n", "unknown"),
        ("license: mit\n", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_licence(tmp_path: Path, card: str | None, licence: str) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert licence_of(tmp_path) == licence
