"""Trace both encoders of a checkpoint in transformers' layout.

optimum-intel traces CLIP and SigLIP. It does not know their relatives, which OpenVINO traces.

Imports torch, transformers and optimum only inside functions.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from ..models.checkpoint import (
    FAMILIES,
    check_image_size,
    context_length,
    family_of,
    read_images,
    read_json,
)
from ..models.graph import Half, cut_out, input_shapes
from ..models.making import need_extra
from ..models.tokenizers import SIGLIP2, canonical_siglip, complete_tokenizer, tokenizer_kind
from .traced import (
    Traced,
    check_half,
    example_inputs,
    logits,
    not_exportable,
    quiet,
    refused,
    trace_half,
    use_traceable_mask,
)

_TASK = "zero-shot-image-classification"
_BY_OPTIMUM = {"clip", "siglip"}

_Shapes = Mapping[str, tuple[int, ...]]

# Files of a vocabulary without tokenizer.json, which transformers converts.
_VOCABULARIES = (("vocab.json", "merges.txt"), ("vocab.txt",), ("sentencepiece.bpe.model",))


def trace(folder: Path, tokenizer_path: Path) -> Traced:
    """Trace a checkpoint and write its ``tokenizer.json``.

    Both encoders are extracted from one zero-shot model, so that they include the checkpoint's
    projection and pooling.
    """
    from transformers import AutoImageProcessor, AutoTokenizer, Siglip2Tokenizer

    stated = read_json(folder / "config.json")
    family = family_of(stated)
    if family not in FAMILIES:
        raise not_exportable(
            folder.name, "it has no text encoder; use `pull` or `import-model` with its ONNX files"
        )
    if family == "jina_clip":
        raise not_exportable(
            folder.name, "transformers lacks its code; use `pull`, which needs only its ONNX files"
        )
    preprocessor, spec = read_images(folder, family)
    check_image_size(stated, spec)
    context = context_length(stated, family)
    model, config = _load(folder)
    with refused(folder, "its tokenizer: "), quiet():
        _write_tokenizer(folder, tokenizer_path)
    text = complete_tokenizer(tokenizer_path, folder, config, family)
    shapes = input_shapes(spec.size_px, context)
    halves = _by_optimum if family in _BY_OPTIMUM else _by_openvino
    images, texts = halves(model, shapes, text.pad_id, folder.name)
    with refused(folder, "its image processor: "), quiet():
        prepare = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")

    # AutoTokenizer's choice for SigLIP 2 keeps the case, unlike the model's training.
    kind = tokenizer_kind(family, {}, Tokenizer.from_file(str(tokenizer_path)))
    made = Siglip2Tokenizer if kind == SIGLIP2 else AutoTokenizer
    with refused(folder, "its tokenizer: "), quiet():
        tokenize = made.from_pretrained(folder, local_files_only=True)
    options = {"padding": "max_length", "truncation": True, "max_length": context}
    return Traced(
        family=family,
        images=images,
        texts=texts,
        preprocessor=preprocessor,
        image=spec,
        text=replace(text, inputs=texts.inputs),
        **logits(model),
        reference_tokens=lambda texts: tokenize(list(texts), **options, return_tensors="np"),
        reference_pixels=lambda image: prepare(image, return_tensors="np")["pixel_values"][0],
    )


def _load(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Load the checkpoint in float32; return the model and its complete configuration."""
    import torch
    from transformers import AutoConfig, AutoModelForZeroShotImageClassification

    with refused(folder, "config.json: "):
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    with refused(folder), quiet():
        model, loaded = AutoModelForZeroShotImageClassification.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
        )
    if loaded["missing_keys"]:  # transformers would use random numbers instead
        missing = ", ".join(sorted(loaded["missing_keys"])[:3])
        raise not_exportable(folder.name, f"its weights lack {missing}")
    return model.eval(), config.to_dict()


def _by_optimum(model: Any, shapes: _Shapes, pad_id: int, source: str) -> tuple[Half, Half]:
    import torch

    with tempfile.TemporaryDirectory(prefix="datumaro-embed-") as scratch:
        _export(model, Path(scratch))
        whole = Path(scratch) / "openvino_model.xml"
        images, texts = (cut_out(whole, f"{side}_embeds", shapes) for side in ("image", "text"))
    needed = {name: shapes[name] for name in (*images.inputs, *texts.inputs)}
    arrays = example_inputs(needed, model.config.text_config.vocab_size, pad_id=pad_id)
    with quiet(), torch.no_grad():
        rows = model(**{name: torch.from_numpy(array) for name, array in arrays.items()})
    check_half(images, arrays, rows.image_embeds.numpy(), source)
    check_half(texts, arrays, rows.text_embeds.numpy(), source)
    return images, texts


def _export(model: Any, scratch: Path) -> None:
    from optimum.exporters.openvino.convert import export_from_model
    from optimum.intel import OVConfig

    with quiet():
        export_from_model(
            model, scratch, task=_TASK, ov_config=OVConfig(dtype="fp32"), stateful=False
        )


def _by_openvino(model: Any, shapes: _Shapes, pad_id: int, source: str) -> tuple[Half, Half]:
    def image(model: Any, pixels: Any) -> Any:
        return model.get_image_features(pixel_values=pixels).pooler_output

    def text(model: Any, ids: Any, mask: Any) -> Any:
        return model.get_text_features(input_ids=ids, attention_mask=mask).pooler_output

    if model.config.model_type == "metaclip_2":
        use_traceable_mask(model)
    tokens = {name: shape for name, shape in shapes.items() if name != "pixel_values"}
    pixels = {"pixel_values": shapes["pixel_values"]}
    options = {"vocab_size": model.config.text_config.vocab_size, "pad_id": pad_id}
    return (
        trace_half(model, image, pixels, "image_embeds", source, **options),
        trace_half(model, text, tokens, "text_embeds", source, **options),
    )


def _write_tokenizer(checkpoint: Path, target: Path) -> None:
    """Copy a checkpoint's ``tokenizer.json``, or make it from an older format.

    ``spiece.model`` takes precedence, as transformers' SiglipTokenizer reads it.
    """
    own, pieces = checkpoint / "tokenizer.json", checkpoint / "spiece.model"
    if pieces.is_file():
        _sentencepiece(pieces).save(str(target))
    elif own.is_file():
        shutil.copyfile(own, target)
    else:
        sets = [[name for name in n if not (checkpoint / name).is_file()] for n in _VOCABULARIES]
        if all(sets):  # transformers would make an empty tokenizer
            missing = " or ".join(" and ".join(names) for names in sets)
            raise FileNotFoundError(f"no tokenizer.json and no {missing}")
        from transformers import AutoTokenizer

        made = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
        made.backend_tokenizer.save(str(target))


def _sentencepiece(path: Path) -> Tokenizer:
    """Make SigLIP's tokenizer from its ``spiece.model``, without lower-casing.

    Like transformers, it applies `canonical_siglip`, then sentencepiece's normalization.
    """
    need_extra("Exporting this model", "export", "sentencepiece", "google.protobuf")
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(path.read_bytes())
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    fallback = proto.trainer_spec.byte_fallback
    tokenizer = Tokenizer(
        models.Unigram(pieces, unk_id=proto.trainer_spec.unk_id, byte_fallback=fallback)
    )
    charsmap = proto.normalizer_spec.precompiled_charsmap
    tokenizer.normalizer = normalizers.Sequence(
        [
            *canonical_siglip(),
            *([normalizers.Precompiled(charsmap)] if charsmap else []),
            normalizers.Replace(Regex(" {2,}"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    end = (proto.trainer_spec.eos_piece, proto.trainer_spec.eos_id)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end[0]}", special_tokens=[end]
    )
    tokenizer.add_special_tokens([end[0], proto.trainer_spec.unk_piece])
    return tokenizer
