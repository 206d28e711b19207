"""Trace both encoders of a checkpoint in OpenCLIP's layout with OpenVINO.

Imports torch and open_clip only inside functions. An OpenCLIP repository that also has a
``config.json`` is read by transformers instead (from_transformers.py).
"""

from __future__ import annotations

import re
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
from ..models.graph import input_shapes
from ..models.making import need_extra
from ..models.manifest import TextSpec
from .traced import Traced, logits, not_exportable, quiet, refused, trace_half, use_traceable_mask

_C1_CONTROLS = range(0x80, 0xA0)
_CONTEXT = 77  # tokens, unless the configuration says otherwise
# CLIP's word pattern, from clip/simple_tokenizer.py in OpenAI's repository.
_WORD = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def trace(folder: Path, tokenizer_path: Path) -> Traced:
    """Trace a checkpoint and write its ``tokenizer.json``.

    Raises ModelInvalidError for a text encoder of OpenCLIP with another tokenizer, captions (CoCa)
    or padded images. A text encoder of transformers (XLM-RoBERTa, NLLB) has its own tokenizer, in
    the checkpoint; its configuration is read from the hub or the cache.
    """
    need_extra("Exporting an OpenCLIP checkpoint", "export", "open_clip")
    import open_clip
    from open_clip.transform import PreprocessCfg, image_transform_v2

    config = part(read_json(folder / OPEN_CLIP_CONFIG), "model_cfg")
    text = part(config, "text_cfg")
    is_bpe = not text.get("hf_model_name")
    if is_bpe and (other := text.get("hf_tokenizer_name")):
        reason = f"it uses the tokenizer of {other}"
        raise not_exportable(folder.name, f"{reason}; export the transformers form of this model")
    if "multimodal_cfg" in config or text.get("tokenizer_kwargs") or text.get("tokenizer_mode"):
        raise not_exportable(folder.name, "it is a captioning model, or has its own tokenizer")
    with refused(folder), quiet():
        model = open_clip.create_model(f"local-dir:{folder}", require_pretrained=True).eval()
    preprocessor = open_clip_settings(model.visual.preprocess_cfg)
    spec = image_spec(preprocessor, "clip")
    check_agreement(folder, "clip", OPEN_CLIP_CONFIG, spec)
    context = int(model.context_length) if is_bpe else int(text.get("context_length") or _CONTEXT)
    if is_bpe:
        pad_id, eos_id = 0, _write_tokenizer(tokenizer_path)
    else:
        use_traceable_mask(model.text.transformer)
        with refused(folder, "its tokenizer: "), quiet():
            pad_id, eos_id = _write_own_tokenizer(folder, tokenizer_path)
    shapes = input_shapes(spec.size_px, context)
    images, texts = (
        trace_half(
            model,
            lambda model, given, side=side: getattr(model, f"encode_{side}")(given),
            {given: shapes[given]},
            f"{side}_embeds",
            folder.name,
            vocab_size=model.vocab_size,
            pad_id=pad_id,
        )
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
        text=TextSpec(context, pad_id, eos_id, lower_case=is_bpe, inputs=texts.inputs),
        **logits(model),
        reference_tokens=lambda texts: {"input_ids": tokenize(list(texts)).numpy()},
        reference_pixels=lambda image: transform(image).numpy(),
    )


def _write_tokenizer(target: Path) -> int:
    """Write OpenCLIP's byte-pair tokenizer, without its lower-casing; return its end token."""
    import open_clip

    own = open_clip.SimpleTokenizer()
    start, end = (own.decoder[i] for i in own.all_special_ids[:2])
    model: Any = models.BPE(
        dict(own.encoder),
        list(own.bpe_ranks),
        unk_token=end,
        end_of_word_suffix="</w>",
        fuse_unk=False,
    )
    made = Tokenizer(model)
    made.normalizer = normalizers.Sequence(_cleaning())
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


def _write_own_tokenizer(folder: Path, target: Path) -> tuple[int, int]:
    """Write the tokenizer of the checkpoint, after OpenCLIP's cleaning; return padding and end."""
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    theirs.backend_tokenizer.save(str(target))
    made = Tokenizer.from_file(str(target))
    own = [made.normalizer] if made.normalizer is not None else []
    made.normalizer = normalizers.Sequence([*_cleaning(), normalizers.Strip(), *own])
    made.save(str(target))
    pad_id, eos_id = int(theirs.pad_token_id), int(theirs.eos_token_id)
    if made.encode("a photo of a cat").ids[-1] != eos_id or theirs.padding_side != "right":
        raise ValueError("it pads on the left, or does not end a text with its end token")
    return pad_id, eos_id


def _cleaning() -> list[Any]:
    """Return OpenCLIP's cleaning of texts as normalizers.

    OpenCLIP runs ftfy over every text. These normalizers also replace curly quotes, ligatures,
    full-width letters and Windows' characters among control characters, and remove other control
    characters, byte order marks and a terminal's colors, but do not repair wrongly decoded text and
    HTML.
    """
    from ftfy import chardata, fixes

    replaced = {r"\x{1b}\[[\d;]*[a-zA-Z]": ""}
    replaced |= {f"\\x{{{code:x}}}": fixes.fix_c1_controls(chr(code)) for code in _C1_CONTROLS}
    single = {**chardata.LIGATURES, **chardata.WIDTH_MAP}
    replaced |= {re.escape(chr(code)): str(new) for code, new in single.items()}
    replaced |= {chardata.SINGLE_QUOTE_RE.pattern: "'", chardata.DOUBLE_QUOTE_RE.pattern: '"'}
    controls = "".join(f"\\x{{{code:x}}}" for code in sorted(chardata.CONTROL_CHARS))
    replaced[f"[{controls}]"] = ""
    return [
        *(normalizers.Replace(Regex(old), new) for old, new in replaced.items()),
        normalizers.NFC(),
        normalizers.Replace(Regex(r"\s+"), " "),
    ]
