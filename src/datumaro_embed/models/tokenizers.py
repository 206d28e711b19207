"""Texts → token ids: a model's ``tokenizer.json``, and what its loader does beside it."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Regex, Tokenizer, models, normalizers

from ..errors import ModelInvalidError
from .checkpoint import context_length, family_of, read_json, token_id, unusable
from .files import read_bytes
from .manifest import TEXT_INPUTS, TextSpec, checked

CLIP, SIGLIP, SIGLIP2 = "CLIPTokenizer", "SiglipTokenizer", "Siglip2Tokenizer"

# The special tokens that each has in transformers where no file names them.
_SPECIAL = {
    CLIP: {"pad_token": "<|endoftext|>", "eos_token": "<|endoftext|>"},
    SIGLIP: {"pad_token": "</s>", "eos_token": "</s>"},
    SIGLIP2: {"pad_token": "<pad>", "eos_token": "<eos>"},
}
_PAD_LEFT = {SIGLIP2, "GemmaTokenizer"}  # unless a file says otherwise


class TextTokenizer:
    """Tokenizer of a fixed context length; thread-safe once made.

    `path`: of ``tokenizer.json``; `read`: gives the file's bytes.
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
        self._spec = spec
        self._tokenizer.enable_truncation(spec.context_length)
        self._tokenizer.enable_padding(length=spec.context_length, pad_id=spec.pad_id)

    def __call__(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Tokenize, cut long texts keeping the end token, pad short ones.

        Returns
        -------
        input_ids, attention_mask : arrays of shape (n_texts, context_length), int64
            The mask is 1 where there is a token of the text, 0 where there is padding.
        """
        cased = (text.lower() if self._spec.lower_case else text for text in texts)
        # Lone surrogates, which no UTF-8 text has, are "?": the tokenizer would refuse them.
        rows = self._tokenizer.encode_batch([t.encode("utf-8", "replace").decode() for t in cased])
        shape = (len(rows), self._spec.context_length)
        ids = np.array([row.ids for row in rows], dtype=np.int64).reshape(shape)
        mask = np.array([row.attention_mask for row in rows], dtype=np.int64).reshape(shape)
        return ids, mask


def complete_tokenizer(path: Path, checkpoint: Path, config: Mapping[str, Any]) -> TextSpec:
    """Make a ``tokenizer.json`` do all that its loader does, and say how texts are encoded.

    transformers lower-cases texts, and removes SigLIP's punctuation, in code: the file of a
    checkpoint may do neither, and texts that are not in lower case would get other vectors.

    Raises `ModelInvalidError`: it is no tokenizer, pads on the left, lacks a special token, or does
    not end a text with the end token, as every family here does: vectors would be wrong and nothing
    would say so.

    Parameters
    ----------
    path : Path
        Of the ``tokenizer.json``, which is rewritten where a step is missing.
    checkpoint : Path
        The folder of ``tokenizer_config.json`` and ``special_tokens_map.json``.
    config : mapping
        Content of ``config.json``.

    Returns
    -------
    TextSpec
        With every input; the graph says which it does take.
    """
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise unusable(f"its tokenizer cannot be used: {error}") from error
    settings = {
        **read_json(checkpoint / "special_tokens_map.json"),
        **read_json(checkpoint / "tokenizer_config.json"),
    }
    kind = tokenizer_kind(family_of(config), settings, tokenizer)
    stated = _class_name(settings)
    if (settings.get("padding_side") or ("left" if stated in _PAD_LEFT else "right")) != "right":
        raise unusable("its tokenizer pads on the left")
    steps, specials = _missing_steps(kind, tokenizer), _unlisted(settings, tokenizer)
    if steps:
        own = [tokenizer.normalizer] if tokenizer.normalizer is not None else []
        tokenizer.normalizer = normalizers.Sequence([*steps, *own])
    if steps or specials:
        tokenizer.add_special_tokens(specials)
        tokenizer.save(str(path))
    return _text_spec(kind, settings, tokenizer, config)


def tokenizer_kind(family: str, settings: Mapping[str, Any], tokenizer: Tokenizer) -> str:
    """Return which class of transformers' encodes texts as the model's authors did.

    SigLIP 2 is of the family ``"siglip"`` and often names GemmaTokenizer, which keeps the case.
    """
    if family == "siglip":
        return SIGLIP2 if isinstance(tokenizer.model, models.BPE) else SIGLIP
    return _class_name(settings) or CLIP


def canonical_siglip() -> list[Any]:
    """Return SigLIP's own normalizers: punctuation is removed, white space collapsed.

    Source: ``canonicalize_text`` of big_vision, as transformers' SiglipTokenizer applies it.
    """
    punctuation = "".join(f"\\{char}" for char in string.punctuation)
    return [
        normalizers.Replace(Regex(f"[{punctuation}]"), ""),
        normalizers.Replace(Regex(r"\s+"), " "),
        normalizers.Strip(),
    ]


def _missing_steps(kind: str, tokenizer: Tokenizer) -> list[Any]:
    """Return what the class does before the file's own normalizer, and the file does not.

    SigLIP's lower-casing is not here but in `TextSpec.lower_case`: it is Python's, which knows
    the Greek final sigma; that of the tokenizers library does not.
    """
    if kind == SIGLIP:
        with_marks = _normalized(tokenizer, f"a {string.punctuation}b")
        return canonical_siglip() if with_marks != _normalized(tokenizer, "a b") else []
    lowers = kind in {CLIP, SIGLIP2}
    return [normalizers.Lowercase()] if lowers and _keeps_case(tokenizer) else []


def _unlisted(settings: Mapping[str, Any], tokenizer: Tokenizer) -> list[str]:
    """Return special tokens that settings name and the file holds as plain words.

    transformers makes them special: "!" as padding is another token in a text too.
    """
    listed = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    named = {_content(settings.get(f"{name}_token")) for name in ("bos", "eos", "pad", "unk")}
    return sorted(t for t in named - listed if t and tokenizer.token_to_id(t) is not None)


def _content(token: Any) -> str | None:
    """Return a special token as text; a file may give it with its properties."""
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
    kind: str, settings: Mapping[str, Any], tokenizer: Tokenizer, config: Mapping[str, Any]
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
        "context_length": context_length(config),
        "pad_id": special_id("pad_token"),
        "eos_id": special_id("eos_token"),
        "lower_case": lowers,
        "inputs": TEXT_INPUTS,
    }
    try:
        spec = checked(TextSpec, facts)
    except ValueError as error:
        raise unusable(f"its tokenizer cannot be used: {error}") from error
    ids = tokenizer.encode("a photo of a cat").ids
    while len(ids) > 1 and ids[-1] == spec.pad_id != spec.eos_id:  # some files pad by themselves
        ids.pop()
    if not ids or ids[-1] != spec.eos_id:
        raise unusable(f"its tokenizer ends a text with token {ids[-1:]}, not with {spec.eos_id}")
    return spec
