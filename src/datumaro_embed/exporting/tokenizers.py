"""``tokenizer.json`` for a checkpoint: its own, or made from the vocabulary that it has instead."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from ..errors import MissingExtraError
from ..models.tokenizers import canonical_siglip

__all__ = ["byte_pair_tokenizer", "sentencepiece_tokenizer", "write_tokenizer"]

# CLIP's own pattern of a word: clip/simple_tokenizer.py of OpenAI's repository.
_WORD = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def write_tokenizer(checkpoint: Path, target: Path) -> None:
    """Copy a checkpoint's ``tokenizer.json``, or make it from an older form of it.

    ``spiece.model`` goes first: it is what transformers' SiglipTokenizer reads.

    Raises
    ------
    FileNotFoundError
        The checkpoint has no tokenizer of a kind known here.
    """
    own, pieces = checkpoint / "tokenizer.json", checkpoint / "spiece.model"
    if pieces.is_file():
        sentencepiece_tokenizer(pieces).save(str(target))
    elif own.is_file():
        shutil.copyfile(own, target)
    else:
        for name in ("vocab.json", "merges.txt"):
            if not (checkpoint / name).is_file():  # transformers would make an empty tokenizer
                raise FileNotFoundError(f"no tokenizer.json and no {name}")
        from transformers import AutoTokenizer

        made = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
        made.backend_tokenizer.save(str(target))


def sentencepiece_tokenizer(path: Path) -> Tokenizer:
    """Make SigLIP's tokenizer from its ``spiece.model``.

    Lower-casing is not part of it: `TextSpec.lower_case` says whether the text is lowered first.

    Notes
    -----
    Source: `canonical_siglip`, then sentencepiece's own normalization, as transformers'
    SiglipTokenizer applies both.
    """
    try:
        from sentencepiece import sentencepiece_model_pb2
    except ImportError as error:
        raise MissingExtraError(
            "Exporting this model needs sentencepiece, which is not installed. "
            "Run: pip install 'datumaro-embed[export]'",
            name="sentencepiece",
        ) from error
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


def byte_pair_tokenizer(
    vocab: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    ends: tuple[str, str],
    replacements: Mapping[str, str],
) -> Tokenizer:
    """Make a tokenizer of CLIP's kind; the text is lowered before it.

    Parameters
    ----------
    vocab : mapping of str to int
    merges : sequence of pairs
    ends : pair of str
        The tokens before and after every text.
    replacements : mapping of str to str
        Regular expression → what stands for it, before anything else.
    """
    start, end = ends
    model: Any = models.BPE(
        dict(vocab), list(merges), unk_token=end, end_of_word_suffix="</w>", fuse_unk=False
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [
            *(normalizers.Replace(Regex(old), new) for old, new in replacements.items()),
            normalizers.NFC(),
            normalizers.Replace(Regex(r"\s+"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORD), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(start, vocab[start]), (end, vocab[end])]
    )
    tokenizer.add_special_tokens([start, end])
    return tokenizer
