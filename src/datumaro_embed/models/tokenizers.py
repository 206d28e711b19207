"""Convert texts to token ids with a model's ``tokenizer.json``, completed by its loader's steps."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Regex, Tokenizer, models, normalizers

from ..errors import ModelInvalidError
from .checkpoint import context_length, read_json, token_id, unusable
from .files import read_bytes
from .manifest import TEXT_INPUTS, TextSpec, checked

CLIP, SIGLIP, SIGLIP2 = "CLIPTokenizer", "SiglipTokenizer", "Siglip2Tokenizer"
BERT, XLM_ROBERTA = "BertTokenizer", "XLMRobertaTokenizer"

# Default special tokens of each class in transformers, used if no file names them.
_SPECIAL = {
    CLIP: {"pad_token": "<|endoftext|>", "eos_token": "<|endoftext|>"},
    SIGLIP: {"pad_token": "</s>", "eos_token": "</s>"},
    SIGLIP2: {"pad_token": "<pad>", "eos_token": "<eos>"},
    BERT: {"pad_token": "[PAD]", "eos_token": "[SEP]"},
    XLM_ROBERTA: {"pad_token": "<pad>", "eos_token": "</s>"},
}
# Classes that transformers uses for a family if the files name none.
_USUAL = dict.fromkeys(("altclip", "jina_clip", "metaclip_2"), XLM_ROBERTA)
_USUAL |= {"chinese_clip": BERT}
_PAD_LEFT = {SIGLIP2, "GemmaTokenizer"}  # unless a file says otherwise


class TextTokenizer:
    """Tokenizer of a fixed context length; thread-safe.

    `path` is that of ``tokenizer.json``; `read` returns the file's bytes.
    """

    def __init__(
        self, path: Path, spec: TextSpec, read: Callable[[Path], npt.NDArray[np.uint8]] = read_bytes
    ) -> None:
        content = read(path).tobytes()
        try:
            self._tokenizer = Tokenizer.from_buffer(content)
        except Exception as error:  # the library raises bare Exception
            raise ModelInvalidError(
                f"Model file {path} is not a tokenizer: {error}. Recreate the model directory.",
                path=path,
            ) from error
        for name in ("pad_id", "eos_id"):
            if self._tokenizer.id_to_token(getattr(spec, name)) is None:
                raise ModelInvalidError(
                    f"Model file {path} has no token {getattr(spec, name)}, which is "
                    f"{name} in model.json. Recreate the model directory.",
                    path=path,
                )
        self._path, self._spec = path, spec
        self._tokenizer.enable_truncation(spec.context_length)
        self._tokenizer.enable_padding(length=spec.context_length, pad_id=spec.pad_id)

    def __call__(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Tokenize; truncate long texts before the end token, and pad short ones.

        Returns
        -------
        input_ids, attention_mask : arrays of shape (n_texts, context_length), int64
            The mask is 1 for tokens of the text and 0 for padding.
        """
        cased = (text.lower() if self._spec.lower_case else text for text in texts)
        # The tokenizer would refuse lone surrogates, which are invalid in UTF-8; they become "?".
        valid = [text.encode("utf-8", "replace").decode() for text in cased]
        try:
            rows = self._tokenizer.encode_batch(valid)
        except Exception as error:  # the library raises bare Exception, for a word without token
            raise ModelInvalidError(
                f"Model file {self._path} does not take a text: {error}. Use other words, or "
                "another model.",
                path=self._path,
            ) from error
        shape = (len(rows), self._spec.context_length)
        ids = np.array([row.ids for row in rows], dtype=np.int64).reshape(shape)
        mask = np.array([row.attention_mask for row in rows], dtype=np.int64).reshape(shape)
        return ids, mask


def highest_token(path: Path) -> int:
    """Return the highest token id that a ``tokenizer.json`` may give a text.

    Special tokens count only if every text gets them: models may lack the others.
    """
    tokenizer = Tokenizer.from_file(str(path))
    words = tokenizer.get_vocab(with_added_tokens=False).values()
    added = tokenizer.get_added_tokens_decoder().items()
    in_texts = (number for number, token in added if not token.special)
    return max(0, *words, *in_texts, *tokenizer.encode("a").ids)


def complete_tokenizer(
    path: Path, checkpoint: Path, config: Mapping[str, Any], family: str
) -> TextSpec:
    """Add missing steps of its loader to a ``tokenizer.json``, and return how texts are encoded.

    transformers lower-cases texts and removes punctuation for SigLIP in code. A checkpoint's file
    may do neither, and texts in other cases would get other vectors.

    Raises `ModelInvalidError` if the file is not a tokenizer, pads on the left, lacks a special
    token, or does not end a text with the end token, as all supported families do: vectors would be
    wrong without an error.

    Parameters
    ----------
    path : Path
        The ``tokenizer.json``, which is rewritten if a step is missing.
    checkpoint : Path
        The folder of ``tokenizer_config.json`` and ``special_tokens_map.json``.
    config : mapping
        Content of ``config.json``.
    family : str
        One of `checkpoint.FAMILIES`.

    Returns
    -------
    TextSpec
        With both inputs; the graph shows which ones it takes.
    """
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise unusable(f"its tokenizer cannot be used: {error}") from error
    settings = {
        **read_json(checkpoint / "special_tokens_map.json"),
        **read_json(checkpoint / "tokenizer_config.json"),
    }
    kind = tokenizer_kind(family, settings, tokenizer)
    stated = _class_name(settings)
    if (settings.get("padding_side") or ("left" if stated in _PAD_LEFT else "right")) != "right":
        raise unusable("its tokenizer pads on the left")

    # Steps of the class, before the file's own normalizer, that the file lacks. SigLIP's
    # lower-casing is left to `TextSpec.lower_case`, with Python's method, which knows the Greek
    # final sigma; that of the tokenizers library does not.
    steps: list[Any] = []
    if kind == SIGLIP:
        with_marks = _normalized(tokenizer, f"a {string.punctuation}b")
        if with_marks != _normalized(tokenizer, "a b"):
            steps = canonical_siglip()
    elif kind in {CLIP, SIGLIP2} and _keeps_case(tokenizer):
        steps = [normalizers.Lowercase()]
    if steps:
        own = [tokenizer.normalizer] if tokenizer.normalizer is not None else []
        tokenizer.normalizer = normalizers.Sequence([*steps, *own])

    # Special tokens that the settings name but the file has as plain words. transformers makes them
    # special: if "!" is the padding, a "!" in a text is also encoded differently.
    listed = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    named = {_content(settings.get(f"{name}_token")) for name in ("bos", "eos", "pad", "unk")}
    specials = sorted(t for t in named - listed if t and tokenizer.token_to_id(t) is not None)
    if steps or specials:
        tokenizer.add_special_tokens(specials)
        tokenizer.save(str(path))
    return _text_spec(kind, settings, tokenizer, config, family)


def tokenizer_kind(family: str, settings: Mapping[str, Any], tokenizer: Tokenizer) -> str:
    """Return the transformers class that encodes texts like the model's authors.

    SigLIP 2 is of the family ``"siglip"`` and often names GemmaTokenizer, which keeps the case.
    """
    if family == "siglip":
        return SIGLIP2 if isinstance(tokenizer.model, models.BPE) else SIGLIP
    return _class_name(settings) or _USUAL.get(family, CLIP)


def canonical_siglip() -> list[Any]:
    """Return SigLIP's normalizers: they remove punctuation and collapse white space.

    Source: ``canonicalize_text`` of big_vision, as in transformers' SiglipTokenizer.
    """
    punctuation = "".join(f"\\{char}" for char in string.punctuation)
    return [
        normalizers.Replace(Regex(f"[{punctuation}]"), ""),
        normalizers.Replace(Regex(r"\s+"), " "),
        normalizers.Strip(),
    ]


def _content(token: Any) -> str | None:
    """Return a special token as text; files may have it as an object with properties."""
    stated = token.get("content") if isinstance(token, Mapping) else token
    return None if stated is None else str(stated)


def _keeps_case(tokenizer: Tokenizer) -> bool:
    return _normalized(tokenizer, "Ab") != _normalized(tokenizer, "ab")


def _normalized(tokenizer: Tokenizer, text: str) -> str:
    own = tokenizer.normalizer
    return text if own is None else str(own.normalize_str(text))


def _class_name(settings: Mapping[str, Any]) -> str:
    return str(settings.get("tokenizer_class") or "").removesuffix("Fast")


def _text_spec(
    kind: str,
    settings: Mapping[str, Any],
    tokenizer: Tokenizer,
    config: Mapping[str, Any],
    family: str,
) -> TextSpec:
    def special_id(name: str) -> Any:
        content = _content(settings.get(name))
        if content is None and name == "pad_token":
            content = (tokenizer.padding or {}).get("pad_token")
        if content is None:
            usual = tokenizer.token_to_id(_SPECIAL[kind][name]) if kind in _SPECIAL else None
            found = token_id(config, f"{name}_id") if usual is None else usual
            reason = f"it does not say what its {name} is"
        else:
            found = tokenizer.token_to_id(content)  # transformers would add it to the vocabulary
            reason = f"its {name} {content!r} is not in its tokenizer"
        if found is None:
            raise unusable(reason)
        return found

    lowers = _keeps_case(tokenizer) and bool(settings.get("do_lower_case", kind == SIGLIP))
    facts = {
        "context_length": context_length(config, family),
        "pad_id": special_id("pad_token"),
        "eos_id": special_id("eos_token"),
        "lower_case": lowers,
        "inputs": TEXT_INPUTS,
    }
    try:
        spec = checked(TextSpec, facts)
    except ValueError as error:
        raise unusable(f"its tokenizer cannot be used: {error}") from error
    try:
        ids = tokenizer.encode("a photo of a cat").ids
    except Exception as error:  # the library raises bare Exception
        raise unusable(f"its tokenizer cannot be used: {error}") from error
    while len(ids) > 1 and ids[-1] == spec.pad_id != spec.eos_id:  # some tokenizers pad
        ids.pop()
    if not ids or ids[-1] != spec.eos_id:
        raise unusable(f"its tokenizer ends a text with token {ids[-1:]}, not with {spec.eos_id}")
    return spec
