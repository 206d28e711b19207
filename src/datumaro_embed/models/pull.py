"""Make a model directory from a hub repository that already holds a graph; no torch.

Three layouts are known: a model directory of ours (``model.json``), optimum-intel's one IR
(``openvino_model.xml``), and the two ONNX files that transformers.js reads.
"""

from __future__ import annotations

import json
import posixpath
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import ModelInvalidError, UsageError
from ..files import new_path
from .catalogue import CatalogueEntry, entry_of
from .checkpoint import (
    check_dim,
    check_image_size,
    context_length,
    family_of,
    licence_of,
    read_json,
)
from .golden import make_golden
from .graph import Half, cut_out
from .hub import HubRepo, open_repo
from .image_settings import OPEN_CLIP_CONFIG, read_images
from .manifest import (
    MANIFEST_NAME,
    MODEL_FILES,
    ImageSpec,
    ModelManifest,
    load_manifest,
    sha256_file,
    write_manifest,
)
from .onnx_files import read_onnx
from .resolve import user_model_dir
from .tokenizers import complete_tokenizer

__all__ = ["pull_model"]

_NEEDED = ("config.json", "tokenizer.json")
_WELCOME = (
    *("preprocessor_config.json", "processor_config.json", OPEN_CLIP_CONFIG),
    *("tokenizer_config.json", "special_tokens_map.json", "README.md"),
)
_PRECISIONS = ("fp32", "fp16")
_POOLED = {"clip": "", "siglip": "pooler_output"}  # what else an output of vectors may be called


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where a repository keeps the graphs of both encoders."""

    image: str
    text: str

    @property
    def sides(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.image, self.text)))


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
    if out_dir is None:
        user_model_dir().mkdir(parents=True, exist_ok=True)
        out_dir = user_model_dir() / short
    target = Path(out_dir)
    with new_path(target, directory=True, replace=overwrite, remedy="--overwrite") as fresh:
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
    """Fetch small files first: what is wrong with them shows before the long downloads."""
    layout = _layout(repo)
    names = [*_NEEDED, *(n for n in _WELCOME if n in repo.digests)]
    snapshot = repo.fetch_all(names)
    config = read_json(snapshot / "config.json")
    family = family_of(config)
    preprocessor, image = read_images(snapshot, family)
    check_image_size(config, image)
    shutil.copyfile(snapshot / "tokenizer.json", fresh / "tokenizer.json")
    text = complete_tokenizer(fresh / "tokenizer.json", snapshot, config)
    images, texts = _halves(repo, layout, config, image)
    check_dim(config, images.dim)
    images.save(fresh / "image_encoder.xml", compress_to_fp16=compress)
    texts.save(fresh / "text_encoder.xml", compress_to_fp16=compress)
    text = replace(text, inputs=texts.inputs)
    _write_json(fresh / "preprocessor_config.json", preprocessor)
    manifest = ModelManifest(
        name=name,
        source=repo.repo_id,
        revision=repo.commit,
        licence=entry.licence or licence_of(snapshot),
        family=family,
        dim=images.dim,
        precision="fp16" if compress else "fp32",
        image=image,
        text=text,
        logit_scale=entry.logit_scale,
        logit_bias=entry.logit_bias,
        prompt_template=template,
        files={file: sha256_file(fresh / file) for file in MODEL_FILES},
        golden=make_golden(fresh, image, text),
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


def _halves(
    repo: HubRepo, layout: _Layout, config: Mapping[str, Any], image: ImageSpec
) -> tuple[Half, Half]:
    """Download both graphs with their weights, and cut the encoders out of them."""
    context = context_length(config)
    shapes = {
        "pixel_values": (-1, 3, image.size_px, image.size_px),
        "input_ids": (-1, context),
        "attention_mask": (-1, context),
    }
    alias = _POOLED[family_of(config)]
    sides = ((layout.image, "image_embeds"), (layout.text, "text_embeds"))
    wanted = dict.fromkeys(layout.sides)
    for side, output in sides:
        wanted.update(dict.fromkeys(_weights(repo, side, (output, alias))))
    with repo.real_files(wanted) as folder:
        try:
            images, texts = (
                cut_out(folder / side, output, shapes, alias=alias) for side, output in sides
            )
        except RuntimeError as error:  # OpenVINO's only kind
            raise _unusable(repo, str(error).strip().splitlines()[-1]) from error
    if images.dim != texts.dim or not images.inputs or not texts.inputs:
        raise _unusable(repo, f"images have {images.dim} numbers and texts {texts.dim}")
    return images, texts


def _weights(repo: HubRepo, side: str, outputs: tuple[str, str]) -> list[str]:
    """Return the files that hold a graph's weights, once it is known that they can be used.

    The graph of a model of more than 2 GB is small, and its weights are not: it is read first.
    """
    if side.endswith(".xml"):
        weights = [side.removesuffix(".xml") + ".bin"]
    else:
        try:
            facts = read_onnx(repo.fetch(side))
        except ValueError as error:
            raise _unusable(repo, f"{side}: {error}") from error
        if not set(outputs) & set(facts.outputs):
            found = ", ".join(facts.outputs)
            raise _unusable(repo, f"{side} has no output {outputs[0]!r}, only {found}")
        folder = posixpath.dirname(side)
        weights = [posixpath.normpath(f"{folder}/{name}") for name in sorted(facts.external)]
        if outside := [name for name in weights if not name.startswith(f"{folder}/")]:
            raise _unusable(repo, f"{side} keeps weights outside its folder: {outside[0]!r}")
    if missing := [name for name in weights if name not in repo.digests]:
        raise _unusable(repo, f"{side} needs {missing[0]!r}, which the repository does not hold")
    return weights


def _write_json(path: Path, body: Any) -> None:
    path.write_text(json.dumps(body, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _unusable(repo: HubRepo, reason: str) -> ModelInvalidError:
    return ModelInvalidError(
        f"The encoders of {repo.repo_id} cannot be used: {reason}. "
        "Try another repository, or `datumaro-embed export-model`.",
        repo=repo.repo_id,
        reason=reason,
    )
