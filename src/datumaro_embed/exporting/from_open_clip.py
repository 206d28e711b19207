"""Trace both encoders of a checkpoint in OpenCLIP's layout with OpenVINO.

Imports torch and open_clip only inside functions. An OpenCLIP repository that also has a
``config.json`` is read by transformers instead (from_transformers.py).
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from ..models.checkpoint import (
    OPEN_CLIP_CONFIG,
    check_agreement,
    image_spec,
    open_clip_settings,
    part,
    read_json,
)
from ..models.graph import Half, cut_out, input_shapes
from ..models.making import need_extra
from ..models.manifest import TextSpec
from .traced import Traced, check_half, example_inputs, logits, not_exportable, quiet, refused

# CLIP's word pattern, from clip/simple_tokenizer.py in OpenAI's repository.
_WORD = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def trace(folder: Path, tokenizer_path: Path) -> Traced:
    """Trace a checkpoint and write its ``tokenizer.json``.

    Raises ModelInvalidError for another text encoder's tokenizer, captions (CoCa) or padded images.
    """
    need_extra("Exporting an OpenCLIP checkpoint", "export", "open_clip")
    import open_clip
    from open_clip.transform import PreprocessCfg, image_transform_v2

    config = part(read_json(folder / OPEN_CLIP_CONFIG), "model_cfg")
    text = part(config, "text_cfg")
    if other := text.get("hf_tokenizer_name") or text.get("hf_model_name"):
        reason = f"it uses the tokenizer of {other}"
        raise not_exportable(folder.name, f"{reason}; export the transformers form of this model")
    if "multimodal_cfg" in config or text.get("tokenizer_kwargs"):
        raise not_exportable(folder.name, "it is a captioning model, or has its own tokenizer")
    with refused(folder), quiet():
        model = open_clip.create_model(f"local-dir:{folder}", require_pretrained=True).eval()
    preprocessor = open_clip_settings(model.visual.preprocess_cfg)
    spec = image_spec(preprocessor, "clip")
    check_agreement(folder, "clip", OPEN_CLIP_CONFIG, spec)
    context = int(model.context_length)
    eos_id = _write_tokenizer(tokenizer_path)
    shapes = input_shapes(spec.size_px, context)
    images, texts = (
        _half(folder.name, model, f"encode_{side}", given, shapes[given], f"{side}_embeds")
        for side, given in (("image", "pixel_values"), ("text", "input_ids"))
    )
    with quiet():
        tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
    transform = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    return Traced(
        family="open_clip",
        images=images,
        texts=texts,
        preprocessor=preprocessor,
        image=spec,
        text=TextSpec(context, pad_id=0, eos_id=eos_id, lower_case=True, inputs=texts.inputs),
        **logits(model),
        reference_tokens=lambda texts: {"input_ids": tokenize(list(texts)).numpy()},
        reference_pixels=lambda image: transform(image).numpy(),
    )


def _write_tokenizer(target: Path) -> int:
    """Write OpenCLIP's byte-pair tokenizer, without its lower-casing; return its end token.

    OpenCLIP runs ftfy over every text. This tokenizer also replaces curly quotes, ligatures and
    full-width letters, but does not repair wrongly decoded text and HTML.
    """
    import open_clip
    from ftfy import chardata

    own = open_clip.SimpleTokenizer()
    start, end = (own.decoder[i] for i in own.all_special_ids[:2])
    single = {**chardata.LIGATURES, **chardata.WIDTH_MAP}
    replaced = {re.escape(chr(code)): str(new) for code, new in single.items()}
    replaced |= {chardata.SINGLE_QUOTE_RE.pattern: "'", chardata.DOUBLE_QUOTE_RE.pattern: '"'}
    model: Any = models.BPE(
        dict(own.encoder),
        list(own.bpe_ranks),
        unk_token=end,
        end_of_word_suffix="</w>",
        fuse_unk=False,
    )
    made = Tokenizer(model)
    made.normalizer = normalizers.Sequence(
        [
            *(normalizers.Replace(Regex(old), new) for old, new in replaced.items()),
            normalizers.NFC(),
            normalizers.Replace(Regex(r"\s+"), " "),
        ]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORD), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(t, own.encoder[t]) for t in (start, end)]
    )
    made.add_special_tokens([start, end])
    made.save(str(target))
    return int(own.eot_token_id)


def _half(
    source: str, model: Any, method: str, given: str, shape: tuple[int, ...], output: str
) -> Half:
    """Trace one method of the model, and compare the result with torch on two random rows."""
    import openvino as ov
    import torch

    class Encoder(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, given: torch.Tensor) -> torch.Tensor:
            rows: torch.Tensor = getattr(self.model, method)(given)
            return rows

    kind = torch.float32 if given == "pixel_values" else torch.int64
    example = torch.zeros((2, *shape[1:]), dtype=kind)
    with quiet(), torch.no_grad(), tempfile.TemporaryDirectory(prefix="datumaro-embed-") as scratch:
        graph = ov.convert_model(Encoder(), example_input=example)
        graph.input(0).get_tensor().set_names({given})
        graph.output(0).get_tensor().set_names({output})
        graph.reshape({given: ov.PartialShape(list(shape))})
        path = Path(scratch) / "half.xml"
        ov.save_model(graph, path, compress_to_fp16=False)
        del graph
        half = cut_out(path, output, {given: shape})
        arrays = example_inputs({given: shape}, model.vocab_size)
        expected = getattr(model, method)(torch.from_numpy(arrays[given])).numpy()
    check_half(half, arrays, expected, source)
    return half
