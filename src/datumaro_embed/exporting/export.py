"""Make a model directory from a checkpoint: both encoders as OpenVINO IR.

The modules that read a checkpoint (from_transformers.py, from_open_clip.py) need torch and other
packages of the ``export`` extra, and import them only inside functions.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..models.catalogue import CATALOGUE, CatalogueEntry
from ..models.checkpoint import FAMILIES, OPEN_CLIP_CONFIG, licence_of, read_json
from ..models.hub import open_repo
from ..models.making import NOTICES, check_options, need_extra, new_model_dir, write_model
from . import from_open_clip, from_transformers
from .pull import prove
from .traced import check_preparation, not_exportable

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_MODULES = "modules.json"
_SMALL = ("*.json", "*.txt", "*.model", "README.md", *NOTICES)

# Weight files in the order in which each loader looks for them; it only reads the first found.
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


def export_model(
    source: str | Path,
    out_dir: str | Path,
    *,
    revision: str | None = None,
    precision: str = "fp32",
    name: str | None = None,
    source_name: str | None = None,
    licence: str | None = None,
    prompt_template: str = "a photo of a {}",
    overwrite: bool = False,
) -> Path:
    """Write the model directory of a checkpoint, whole or not at all, and return its path.

    Takes about 5 s for a tiny model, and 20 s and 3 GB of memory for ViT-B/32.

    Raises `MissingExtraError`, `UsageError`, `ModelNotFoundError`, `ModelDownloadError`, and
    `ModelInvalidError` if the checkpoint is missing, incomplete or of an unsupported family, or if
    the vectors, tokens or pixels differ from those of its own library.

    Parameters
    ----------
    source : str or Path
        A local checkpoint directory of CLIP, SigLIP, one of their relatives (docs/models.md) or
        OpenCLIP, a Hugging Face id, or a short name of `models.CATALOGUE`.
    out_dir, revision, precision, prompt_template, overwrite
        As in `pull_model`; for INT8 see `datumaro_embed.quantising`.
    name, source_name, licence : str, optional
        Values for ``model.json``, instead of `out_dir`'s name, `source` and the model card's
        license.
    """
    check_options(precision, prompt_template)
    need_extra("Exporting a model", "export", "optimum.intel", "transformers", "torch")
    out_dir = Path(out_dir)
    asked = str(source)
    entry = CATALOGUE.get(asked, CatalogueEntry(knows_cats=False))
    if asked in CATALOGUE and not Path(source).is_dir():
        if not entry.checkpoint:
            raise UsageError(
                f"{asked} cannot be exported. Download it: `datumaro-embed pull {asked}`."
            )
        source, licence = entry.checkpoint, licence or entry.licence
    with new_model_dir(out_dir, replace=overwrite) as fresh:
        folder, stated_source, commit = _fetch(source, revision)
        names = [path.name for path in folder.iterdir()]
        is_open_clip = _is_open_clip(names, read_json(folder / "config.json"))
        reader = from_open_clip if is_open_clip else from_transformers
        traced = reader.trace(folder, fresh / "tokenizer.json")
        check_preparation(traced, fresh / "tokenizer.json", stated_source)
        write_model(
            fresh,
            traced,
            precision=precision,
            name=name or out_dir.name,
            source=source_name or stated_source,
            revision=commit,
            licence=licence or licence_of(folder),
            prompt_template=prompt_template,
        )
        prove(fresh, asked, entry)
        for pattern in NOTICES:  # copy licenses and attributions with the weights
            for file in folder.glob(pattern):
                shutil.copyfile(file, fresh / file.name)
    return out_dir


def _fetch(source: str | Path, revision: str | None) -> tuple[Path, str, str]:
    """Return a checkpoint's folder, and its source and revision for ``model.json``.

    Uses a directory as it is, and downloads a hub id or takes it from the cache. Downloads only the
    weights that the checkpoint's loader would read; a repository may also have weights of another
    architecture or for another library.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder / _clip_module(folder), folder.resolve().name, revision or ""
    if not isinstance(source, str) or not _HUB_ID.fullmatch(source):
        raise not_exportable(str(source), "it is neither a directory nor a Hugging Face id")
    repo = open_repo(source, revision)
    below = ""
    if _MODULES in repo.digests and (module := _clip_module(repo.fetch_all([_MODULES]))):
        below = f"{module}/"
    top = [name.removeprefix(below) for name in sorted(repo.digests) if name.startswith(below)]
    top = [name for name in top if "/" not in name]
    small = [name for name in top if any(fnmatch(name, kind) for kind in _SMALL)]
    if not {"config.json", OPEN_CLIP_CONFIG} & set(small):
        raise not_exportable(source, f"it has neither config.json nor {OPEN_CLIP_CONFIG}")
    folder = repo.fetch_all(below + name for name in small) / below
    loader = _OPEN_CLIP if _is_open_clip(top, read_json(folder / "config.json")) else _TRANSFORMERS
    weights = next(_found(loader, top), None)
    if weights is None:
        raise not_exportable(source, f"it has no weights with these names: {', '.join(loader)}")
    return repo.fetch_all(below + name for name in weights) / below, source, repo.commit


def _clip_module(folder: Path) -> str:
    """Return the subfolder with the CLIP of a sentence-transformers model; else empty."""
    try:
        modules = json.loads((folder / _MODULES).read_text(encoding="utf-8"))
        paths = [m["path"] for m in modules if m["type"].rpartition(".")[2] == "CLIPModel"]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return ""
    inside = paths and re.fullmatch(r"[\w-]+", paths[0])
    return paths[0] if inside else ""


def _is_open_clip(names: Collection[str], config: Mapping[str, Any]) -> bool:
    """Tell whether OpenCLIP, not transformers, reads a checkpoint with these files.

    transformers is preferred if ``config.json`` is of a supported family and the weights have
    transformers' file names.
    """
    known = config.get("model_type") in FAMILIES and any(_found(_TRANSFORMERS, names))
    return OPEN_CLIP_CONFIG in names and not known


def _found(patterns: Collection[str], names: Collection[str]) -> Iterator[list[str]]:
    """Yield the files of each pattern that matches any."""
    for pattern in patterns:
        if matching := [name for name in sorted(names) if fnmatch(name, pattern)]:
            yield matching
