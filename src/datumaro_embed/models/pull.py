"""Make a model directory from a hub repository that already holds a graph; no torch.

Three layouts are known: a model directory of ours (``model.json``), optimum-intel's one IR
(``openvino_model.xml``), and the two ONNX files that transformers.js reads.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelInvalidError, UsageError
from .catalogue import CatalogueEntry, entry_of
from .checkpoint import (
    check_image_size,
    context_length,
    family_of,
    image_spec,
    licence_of,
    read_json,
    read_preprocessor_config,
    text_spec,
)
from .graph import Half, cut_out
from .hub import HubRepo, open_repo
from .manifest import (
    MANIFEST_NAME,
    MODEL_FILES,
    ImageSpec,
    ModelManifest,
    load_manifest,
    sha256_file,
    write_manifest,
)
from .publish import publish_directory
from .resolve import user_model_dir
from .tokenizers import check_tokenizer

__all__ = ["pull_model"]

_NEEDED = ("config.json", "tokenizer.json")
_WELCOME = (
    *("preprocessor_config.json", "processor_config.json"),
    *("tokenizer_config.json", "special_tokens_map.json", "README.md"),
)
_PRECISIONS = ("fp32", "fp16")


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where a repository keeps the graphs of both encoders; each may have its weights beside it."""

    image: str
    text: str

    @property
    def sides(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.image, self.text)))

    def files(self, names: Mapping[str, str]) -> list[str]:
        """Return the graphs with their weights: ``x.bin`` of IR, ``x.onnx_data`` of ONNX."""
        wanted = []
        for side in self.sides:
            weights = side.removesuffix(".xml") + ".bin" if side.endswith(".xml") else side
            wanted += [n for n in names if n in {side, weights} or n.startswith(f"{side}_")]
        return wanted


_LAYOUTS = (
    _Layout("openvino_model.xml", "openvino_model.xml"),
    _Layout("openvino/openvino_model.xml", "openvino/openvino_model.xml"),
    _Layout("onnx/vision_model.onnx", "onnx/text_model.onnx"),
)


def pull_model(
    name: str,
    out_dir: str | Path | None = None,
    *,
    revision: str | None = None,
    precision: str = "fp32",
    prompt_template: str = "a photo of a {}",
    overwrite: bool = False,
) -> Path:
    """Download a model and write its directory; published whole or not at all.

    Parameters
    ----------
    name : str
        A short name of `catalogue.CATALOGUE`, or the id of a hub repository.
    out_dir : str or Path, optional
        The model directory to make; by default one in the user's cache that `name` then finds.
    revision : str, optional
        Branch, tag or commit, instead of the catalogue's.
    precision : {"fp32", "fp16"}
        Of the stored weights; ``"fp16"`` halves the size.
    prompt_template : str
        For label names; no repository carries one.
    overwrite : bool
        Replace an existing `out_dir`.

    Returns
    -------
    Path
        `out_dir`.

    Raises
    ------
    ModelNotFoundError, ModelDownloadError, ModelInvalidError, UsageError

    Notes
    -----
    Every file is compared with the digest that the hub lists for it. Time is the download's, plus
    a few seconds; the files stay in huggingface_hub's cache.
    """
    if precision not in _PRECISIONS or "{}" not in prompt_template:
        raise UsageError(
            f"precision {precision!r} must be one of {_PRECISIONS} and the prompt template "
            f"{prompt_template!r} must hold {{}}. Change the one that does not."
        )
    entry = entry_of(name)
    short = name.rpartition("/")[2]
    target = Path(out_dir) if out_dir is not None else user_model_dir() / short
    with publish_directory(target, overwrite=overwrite) as fresh:
        repo = open_repo(entry.repo_id, revision or entry.revision)
        if {MANIFEST_NAME, *MODEL_FILES} <= set(repo.digests):
            _copy_ours(repo, fresh)
        else:
            _convert(repo, entry, fresh, short, precision == "fp16", prompt_template)
    return target


def _copy_ours(repo: HubRepo, fresh: Path) -> None:
    for name in (MANIFEST_NAME, *MODEL_FILES):
        shutil.copyfile(repo.fetch(name), fresh / name)
    load_manifest(fresh)


def _convert(
    repo: HubRepo, entry: CatalogueEntry, fresh: Path, name: str, compress: bool, template: str
) -> None:
    layout = _layout(repo)
    snapshot = _download(repo, layout)
    config = read_json(snapshot / "config.json")
    family = family_of(config)
    preprocessor = read_preprocessor_config(snapshot)
    image = image_spec(preprocessor)
    check_image_size(config, image)
    halves = _halves(repo, snapshot, layout, image, context_length(config))
    for half, file in zip(halves, ("image_encoder.xml", "text_encoder.xml"), strict=True):
        half.save(fresh / file, compress_to_fp16=compress)
    _write_json(fresh / "preprocessor_config.json", preprocessor)
    shutil.copyfile(snapshot / "tokenizer.json", fresh / "tokenizer.json")
    tokenizer = read_json(fresh / "tokenizer.json")
    text = text_spec(snapshot, config, halves[1].inputs, tokenizer)
    check_tokenizer(fresh / "tokenizer.json", text)
    manifest = ModelManifest(
        name=name,
        source=repo.repo_id,
        revision=repo.commit,
        licence=entry.licence or licence_of(snapshot),
        family=family,
        dim=halves[0].dim,
        precision="fp16" if compress else "fp32",
        image=image,
        text=text,
        logit_scale=entry.logit_scale,
        logit_bias=entry.logit_bias,
        prompt_template=template,
        files={file: sha256_file(fresh / file) for file in MODEL_FILES},
    )
    write_manifest(fresh, manifest)


def _layout(repo: HubRepo) -> _Layout:
    names = set(repo.digests)
    for layout in _LAYOUTS:
        if {layout.image, layout.text, *_NEEDED} <= names:
            return layout
    raise ModelInvalidError(
        f"{repo.repo_id} holds no encoders as ONNX (onnx/vision_model.onnx, onnx/text_model.onnx) "
        "or OpenVINO IR, with config.json and tokenizer.json. Use `datumaro-embed export-model` "
        "for a checkpoint of torch.",
        repo=repo.repo_id,
    )


def _download(repo: HubRepo, layout: _Layout) -> Path:
    """Fetch small files first: what is wrong with them shows before the long downloads."""
    names = [*_NEEDED, *(n for n in _WELCOME if n in repo.digests), *layout.files(repo.digests)]
    folders = [repo.fetch(name).parent for name in names]
    return folders[0]


def _halves(
    repo: HubRepo, snapshot: Path, layout: _Layout, image: ImageSpec, context: int
) -> tuple[Half, Half]:
    shapes = {
        "pixel_values": (-1, 3, image.size_px, image.size_px),
        "input_ids": (-1, context),
        "attention_mask": (-1, context),
    }
    sides = ((layout.image, "image_embeds"), (layout.text, "text_embeds"))
    try:
        images, texts = (
            cut_out(snapshot / file, output, shapes, alias="pooler_output")
            for file, output in sides
        )
    except RuntimeError as error:  # OpenVINO's only kind
        raise _unusable(repo, str(error).strip().splitlines()[-1]) from error
    if images.dim != texts.dim or not images.inputs or not texts.inputs:
        raise _unusable(repo, f"images have {images.dim} numbers and texts {texts.dim}")
    return images, texts


def _write_json(path: Path, body: Any) -> None:
    path.write_text(json.dumps(body, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _unusable(repo: HubRepo, reason: str) -> ModelInvalidError:
    return ModelInvalidError(
        f"The encoders of {repo.repo_id} cannot be used: {reason}. "
        "Try another repository, or `datumaro-embed export-model`.",
        repo=repo.repo_id,
        reason=reason,
    )
