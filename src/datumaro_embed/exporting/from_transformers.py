"""Trace both encoders of a checkpoint in transformers' layout with optimum-intel.

Imports torch, transformers and optimum only inside functions.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
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
from ..models.graph import cut_out, input_shapes
from ..models.making import need_extra
from ..models.tokenizers import SIGLIP2, canonical_siglip, complete_tokenizer, tokenizer_kind
from .traced import Traced, check_half, example_inputs, logits, not_exportable, quiet, refused

_TASK = "zero-shot-image-classification"


def trace(folder: Path, tokenizer_path: Path) -> Traced:
    """Trace a checkpoint and write its ``tokenizer.json``.

    Both encoders are extracted from one zero-shot model, so that they include the checkpoint's
    projection and pooling.
    """
    import torch
    from transformers import AutoImageProcessor

    stated = read_json(folder / "config.json")
    family = family_of(stated)
    if family not in FAMILIES:
        raise not_exportable(
            folder.name, "it has no text encoder; use `pull` or `import-model` with its ONNX files"
        )
    preprocessor, spec = read_images(folder, family)
    check_image_size(stated, spec)
    context = context_length(stated, family)
    model, config = _load(folder)
    with refused(folder, "its tokenizer: "), quiet():
        _write_tokenizer(folder, tokenizer_path)
    text = complete_tokenizer(tokenizer_path, folder, config, family)
    shapes = input_shapes(spec.size_px, context)
    with tempfile.TemporaryDirectory(prefix="datumaro-embed-") as scratch:
        _export(model, Path(scratch))
        whole = Path(scratch) / "openvino_model.xml"
        images = cut_out(whole, "image_embeds", shapes)
        texts = cut_out(whole, "text_embeds", shapes)
    needed = {name: shapes[name] for name in (*images.inputs, *texts.inputs)}
    arrays = example_inputs(needed, model.config.text_config.vocab_size)
    with quiet(), torch.no_grad():
        rows = model(**{name: torch.from_numpy(array) for name, array in arrays.items()})
    check_half(images, arrays, rows.image_embeds.numpy(), folder.name)
    check_half(texts, arrays, rows.text_embeds.numpy(), folder.name)
    with refused(folder, "its image processor: "), quiet():
        prepare = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    return Traced(
        family=family,
        images=images,
        texts=texts,
        preprocessor=preprocessor,
        image=spec,
        text=replace(text, inputs=texts.inputs),
        **logits(model),
        reference_tokens=_tokens(folder, family, tokenizer_path, context),
        reference_pixels=lambda image: prepare(image, return_tensors="np")["pixel_values"][0],
    )


def _tokens(
    folder: Path, family: str, tokenizer_path: Path, context: int
) -> Callable[[Sequence[str]], Any]:
    """Return transformers' tokenizer that encodes texts like the model's authors.

    AutoTokenizer's choice for SigLIP 2 keeps the case, unlike its training.
    """
    from transformers import AutoTokenizer, Siglip2Tokenizer

    kind = tokenizer_kind(family, {}, Tokenizer.from_file(str(tokenizer_path)))
    made = Siglip2Tokenizer if kind == SIGLIP2 else AutoTokenizer
    with refused(folder, "its tokenizer: "), quiet():
        reference = made.from_pretrained(folder, local_files_only=True)
    options = {"padding": "max_length", "truncation": True, "max_length": context}
    return lambda texts: reference(list(texts), **options, return_tensors="np")


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


def _export(model: Any, scratch: Path) -> None:
    from optimum.exporters.openvino.convert import export_from_model
    from optimum.intel import OVConfig

    with quiet():
        export_from_model(
            model, scratch, task=_TASK, ov_config=OVConfig(dtype="fp32"), stateful=False
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
        for name in ("vocab.json", "merges.txt"):
            if not (checkpoint / name).is_file():  # transformers would make an empty tokenizer
                raise FileNotFoundError(f"no tokenizer.json and no {name}")
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
