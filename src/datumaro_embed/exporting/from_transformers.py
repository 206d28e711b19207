"""A checkpoint in transformers' layout → both encoders' graphs, traced by optimum-intel.

Imports torch, transformers and optimum, and only inside functions.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from ..models.checkpoint import (
    check_image_size,
    context_length,
    family_of,
    read_images,
    read_json,
)
from ..models.graph import cut_out, input_shapes
from ..models.tokenizers import SIGLIP2, complete_tokenizer, tokenizer_kind
from .tokenizers import write_tokenizer
from .traced import (
    Traced,
    check_half,
    example_inputs,
    logits,
    not_exportable,
    quiet,
    refused,
)

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
    import torch

    stated = read_json(folder / "config.json")
    family = family_of(stated)
    preprocessor, spec = read_images(folder, family)
    check_image_size(stated, spec)
    context = context_length(stated)
    model, config = _load(folder)
    with refused(folder, "its tokenizer: "), quiet():
        write_tokenizer(folder, tokenizer_path)
    text = complete_tokenizer(tokenizer_path, folder, config)
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
    return Traced(
        family=family,
        images=images,
        texts=texts,
        preprocessor=preprocessor,
        image=spec,
        text=replace(text, inputs=texts.inputs),
        **logits(model),
        reference_tokens=_tokens(folder, family, tokenizer_path, context),
        reference_pixels=_pixels(folder),
    )


def _tokens(
    folder: Path, family: str, tokenizer_path: Path, context: int
) -> Callable[[Sequence[str]], Any]:
    """Return the tokenizer of the model's authors, as transformers has it.

    What AutoTokenizer gives for SigLIP 2 keeps the case, which its training did not.
    """
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer, Siglip2Tokenizer

    kind = tokenizer_kind(family, {}, Tokenizer.from_file(str(tokenizer_path)))
    made = Siglip2Tokenizer if kind == SIGLIP2 else AutoTokenizer
    with refused(folder, "its tokenizer: "), quiet():
        reference = made.from_pretrained(folder, local_files_only=True)
    options = {"padding": "max_length", "truncation": True, "max_length": context}
    return lambda texts: reference(list(texts), **options, return_tensors="np")


def _pixels(folder: Path) -> Callable[[Image.Image], Any]:
    from transformers import AutoImageProcessor

    with refused(folder, "its image processor: "), quiet():
        prepare = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    return lambda image: prepare(image, return_tensors="np")["pixel_values"][0]


def _load(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Load the checkpoint in float32; return the model and its whole configuration."""
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
