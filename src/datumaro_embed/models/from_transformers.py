"""A checkpoint in transformers' layout → both encoders' graphs, traced by optimum-intel.

Imports torch, transformers and optimum, and only inside functions.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .checkpoint import (
    check_image_size,
    context_length,
    family_of,
    image_spec,
    read_json,
    read_preprocessor_config,
    text_spec,
)
from .graph import Half, cut_out
from .tokenizers import write_tokenizer
from .traced import Traced, check_half, example_inputs, not_exportable, quiet

__all__ = ["trace"]

_TASK = "zero-shot-image-classification"


def trace(folder: Path, tokenizer_path: Path) -> Traced:
    """Trace a checkpoint and write its ``tokenizer.json``.

    Raises
    ------
    ModelInvalidError
        It is incomplete, damaged, or not of a family known here.

    Notes
    -----
    Both encoders are cut out of one zero-shot model, so that projection and pooling are the
    checkpoint's own.
    """
    family_of(read_json(folder / "config.json"))
    preprocessor = read_preprocessor_config(folder)
    spec = image_spec(preprocessor)
    model, config = _load(folder)
    check_image_size(config, spec)
    context = context_length(config)
    shapes = {
        "pixel_values": (-1, 3, spec.size_px, spec.size_px),
        "input_ids": (-1, context),
        "attention_mask": (-1, context),
    }
    with tempfile.TemporaryDirectory(prefix="datumaro-embed-") as scratch:
        _export(model, Path(scratch))
        whole = Path(scratch) / "openvino_model.xml"
        images = cut_out(whole, "image_embeds", shapes)
        texts = cut_out(whole, "text_embeds", shapes)
    _check(folder, model, images, texts, shapes)
    _write_tokenizer(folder, tokenizer_path)
    bias = getattr(model, "logit_bias", None)
    return Traced(
        family=str(config["model_type"]),
        images=images,
        texts=texts,
        preprocessor=preprocessor,
        image=spec,
        text=text_spec(folder, config, texts.inputs, read_json(tokenizer_path)),
        logit_scale=float(model.logit_scale.detach().exp().item()),
        logit_bias=0.0 if bias is None else float(bias.detach().item()),
    )


def _load(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Load the checkpoint in float32; return the model and its whole configuration."""
    import torch
    from transformers import AutoConfig, AutoModelForZeroShotImageClassification

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise not_exportable(folder.name, f"config.json: {error}") from error
    try:
        with quiet():
            model, loaded = AutoModelForZeroShotImageClassification.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # damaged weights surface as many kinds of error
        raise not_exportable(folder.name, f"{type(error).__name__}: {error}") from error
    if loaded["missing_keys"]:  # transformers would go on with random numbers in their place
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


def _check(
    folder: Path, model: Any, images: Half, texts: Half, shapes: Mapping[str, Sequence[int]]
) -> None:
    """Compare both graphs with torch on two random rows."""
    import torch

    needed = {name: shapes[name] for name in (*images.inputs, *texts.inputs)}
    arrays = example_inputs(needed, model.config.text_config.vocab_size)
    with quiet(), torch.no_grad():
        rows = model(**{name: torch.from_numpy(array) for name, array in arrays.items()})
    check_half(images, arrays, rows.image_embeds.numpy(), folder.name)
    check_half(texts, arrays, rows.text_embeds.numpy(), folder.name)


def _write_tokenizer(folder: Path, target: Path) -> None:
    try:
        with quiet():
            write_tokenizer(folder, target)
    except ImportError:
        raise
    except Exception as error:  # transformers and sentencepiece raise many kinds
        raise not_exportable(folder.name, f"its tokenizer: {error}") from error
