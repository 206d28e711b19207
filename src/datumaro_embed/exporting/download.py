"""A checkpoint on this machine: a directory as it is, or a hub repository's files."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ..models.checkpoint import FAMILIES, read_json
from ..models.hub import open_repo
from ..models.image_settings import OPEN_CLIP_CONFIG
from .traced import not_exportable

__all__ = ["Checkpoint", "fetch_checkpoint", "is_open_clip"]

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_SMALL = ("*.json", "*.txt", "*.model", "README.md", "NOTICE*", "LICENSE*", "LICENCE*")

# Weights in the order in which each loader looks for them: only what is found first is read.
# Source: transformers' `PreTrainedModel.from_pretrained`; open_clip's `_find_checkpoint_in_dir`.
_TRANSFORMERS = (
    *("model.safetensors", "model-*-of-*.safetensors"),
    *("pytorch_model.bin", "pytorch_model-*-of-*.bin"),
)
_OPEN_CLIP = (
    *("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors"),
    *("open_clip_pytorch_model.bin", "open_clip_pytorch_model.pth"),
    *("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth"),
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint directory on this machine, and what to call it in ``model.json``."""

    folder: Path
    source: str
    revision: str


def fetch_checkpoint(source: str | Path, revision: str | None) -> Checkpoint:
    """Return a local checkpoint: a directory as it is, a hub id by download (or from its cache).

    Of weights, those are downloaded that the checkpoint's own loader would read: beside them may
    lie others, of another architecture or in another library's names.

    Raises
    ------
    ModelInvalidError
        Neither a directory nor a hub id, or a repository without weights.
    ModelNotFoundError, ModelDownloadError
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return Checkpoint(folder, folder.resolve().name, revision or "")
    if not isinstance(source, str) or not _HUB_ID.fullmatch(source):
        raise not_exportable(str(source), "no such directory, and not a Hugging Face id")
    repo = open_repo(source, revision)
    top = {name for name in repo.digests if "/" not in name}
    small = [name for name in sorted(top) if any(fnmatch(name, kind) for kind in _SMALL)]
    if not {"config.json", OPEN_CLIP_CONFIG} & set(small):
        raise not_exportable(source, f"it has neither config.json nor {OPEN_CLIP_CONFIG}")
    folder = repo.fetch_all(small)
    loader = _OPEN_CLIP if is_open_clip(top, read_json(folder / "config.json")) else _TRANSFORMERS
    weights = next(_found(loader, top), None)
    if weights is None:
        raise not_exportable(source, f"it has no weights of these names: {', '.join(loader)}")
    return Checkpoint(repo.fetch_all(weights), source, repo.commit)


def is_open_clip(names: Collection[str], config: Mapping[str, Any]) -> bool:
    """Return whether OpenCLIP reads a checkpoint of these files, and not transformers.

    Transformers does where it can: ``config.json`` is of a family known here, and weights have
    transformers' names.
    """
    known = config.get("model_type") in FAMILIES and any(_found(_TRANSFORMERS, names))
    return OPEN_CLIP_CONFIG in names and not known


def _found(patterns: Collection[str], names: Collection[str]) -> Iterator[list[str]]:
    """Yield the files of each pattern that has some."""
    for pattern in patterns:
        if matching := [name for name in sorted(names) if fnmatch(name, pattern)]:
            yield matching
