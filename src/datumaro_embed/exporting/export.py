"""Make a model directory from a checkpoint: both encoders as OpenVINO IR.

What reads a checkpoint (from_transformers.py, from_open_clip.py) needs torch and more, which come
with the ``export`` extra and are imported inside functions only.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError, UsageError
from ..files import new_path
from ..models.checkpoint import licence_of, read_json
from ..models.golden import make_golden
from ..models.manifest import MODEL_FILES, ModelManifest, sha256_file, write_manifest
from . import from_open_clip, from_transformers
from .compare import check_preparation
from .download import fetch_checkpoint, is_open_clip
from .traced import Traced

__all__ = ["PRECISIONS", "export_model"]

PRECISIONS = ("fp32", "fp16")
_NEEDED = ("optimum.intel", "transformers", "torch")


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
    """Write the model directory of a checkpoint; published whole or not at all.

    Parameters
    ----------
    source : str or Path
        A local checkpoint directory of CLIP, SigLIP or OpenCLIP, or a Hugging Face id.
    out_dir : str or Path
        The model directory to make.
    revision : str, optional
        Of a Hugging Face id: a branch, tag or commit.
    precision : {"fp32", "fp16"}
        Of the stored weights; ``"fp16"`` halves the size. Arithmetic is chosen when loading. (For
        INT8 see `datumaro_embed.quantising`.)
    name, source_name, licence : str, optional
        Replace `out_dir`'s name, `source` and the model card's licence in ``model.json``.
    prompt_template : str
        For label names; no checkpoint carries one.
    overwrite : bool
        Replace an existing `out_dir`.

    Returns
    -------
    Path
        `out_dir`.

    Raises
    ------
    MissingExtraError
        The ``export`` extra is not installed.
    UsageError
        An unknown precision, a template without ``{}``, or `out_dir` exists.
    ModelInvalidError
        The checkpoint is not there, incomplete, or not of a family known here; or its vectors,
        tokens or pixels here are not those of its own library.
    ModelNotFoundError, ModelDownloadError
        Of a Hugging Face id.

    Notes
    -----
    About 5 s for a tiny model, 20 s and 3 GB of memory for ViT-B/32.
    """
    if precision not in PRECISIONS or "{}" not in prompt_template:
        raise UsageError(
            f"precision {precision!r} must be one of {PRECISIONS} and the prompt template "
            f"{prompt_template!r} must hold {{}}. Change the one that does not."
        )
    _check_extra()
    out_dir = Path(out_dir)
    with new_path(out_dir, directory=True, replace=overwrite, remedy="--overwrite") as fresh:
        checkpoint = fetch_checkpoint(source, revision)
        traced = _trace(checkpoint.folder, fresh / "tokenizer.json")
        check_preparation(traced, fresh / "tokenizer.json", checkpoint.source)
        compress = precision == "fp16"
        traced.images.save(fresh / "image_encoder.xml", compress_to_fp16=compress)
        traced.texts.save(fresh / "text_encoder.xml", compress_to_fp16=compress)
        _write_json(fresh / "preprocessor_config.json", traced.preprocessor)
        manifest = ModelManifest(
            name=name or out_dir.name,
            source=source_name or checkpoint.source,
            revision=checkpoint.revision,
            licence=licence or licence_of(checkpoint.folder),
            family=traced.family,
            dim=traced.images.dim,
            precision=precision,
            image=traced.image,
            text=traced.text,
            logit_scale=traced.logit_scale,
            logit_bias=traced.logit_bias,
            prompt_template=prompt_template,
            files={file: sha256_file(fresh / file) for file in MODEL_FILES},
            golden=make_golden(fresh, traced.image, traced.text),
        )
        write_manifest(fresh, manifest)
        _copy_notices(checkpoint.folder, fresh)
    return out_dir


def _copy_notices(checkpoint: Path, fresh: Path) -> None:
    """Licences and attributions go where the weights go."""
    for pattern in ("NOTICE*", "LICENSE*", "LICENCE*"):
        for file in checkpoint.glob(pattern):
            shutil.copyfile(file, fresh / file.name)


def _trace(folder: Path, tokenizer_path: Path) -> Traced:
    names = [path.name for path in folder.iterdir()]
    if is_open_clip(names, read_json(folder / "config.json")):
        return from_open_clip.trace(folder, tokenizer_path)
    return from_transformers.trace(folder, tokenizer_path)


def _check_extra() -> None:
    for package in _NEEDED:
        try:
            found = importlib.util.find_spec(package)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise MissingExtraError(
                f"Exporting a model needs {package.partition('.')[0]}, which is not installed. "
                "Run: pip install 'datumaro-embed[export]'",
                name=package,
            )


def _write_json(path: Path, body: Any) -> None:
    path.write_text(json.dumps(body, indent=2, sort_keys=True) + "\n", encoding="utf-8")
