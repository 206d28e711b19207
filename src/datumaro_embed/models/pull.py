"""Make a model directory from a hub repository that holds graphs, without torch.

Three layouts are supported: our model directory (``model.json``), optimum-intel's single IR
(``openvino_model.xml``), and the two ONNX files of transformers.js.
"""

from __future__ import annotations

import posixpath
import shutil
from dataclasses import replace
from pathlib import Path

from ..errors import ModelInvalidError
from ..files import new_path
from .checkpoint import (
    OPEN_CLIP_CONFIG,
    check_dim,
    check_image_size,
    family_of,
    licence_of,
    read_images,
    read_json,
)
from .graph import Half, cut_out, input_shapes
from .hub import HubRepo, open_repo
from .making import Encoders, check_options, write_model
from .manifest import IMAGE_FILES, MANIFEST_NAME, MODEL_FILES, load_manifest
from .onnx_files import read_onnx
from .resolve import CatalogueEntry, entry_of, user_model_dir
from .tokenizers import complete_tokenizer

_NEEDED = ("config.json", "tokenizer.json")
_WELCOME = (
    *("preprocessor_config.json", "processor_config.json", OPEN_CLIP_CONFIG),
    *("tokenizer_config.json", "special_tokens_map.json", "README.md"),
)
_POOLED = {"clip": "", "siglip": "pooler_output"}  # other name of the output

# Possible paths of the graphs of the image encoder and the text encoder in a repository.
_LAYOUTS = (
    ("openvino_model.xml", "openvino_model.xml"),
    ("openvino/openvino_model.xml", "openvino/openvino_model.xml"),
    ("onnx/vision_model.onnx", "onnx/text_model.onnx"),
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
    """Download a model, write its directory, whole or not at all, and return its path.

    Checks every file by its digest in the hub's list. Takes a few seconds longer than the download;
    the files stay in huggingface_hub's cache.

    Parameters
    ----------
    name : str
        A short name of `resolve.CATALOGUE`, or the id of a hub repository.
    out_dir : str or Path, optional
        The model directory to write; by default in the user's cache, where `name` finds it.
    revision : str, optional
        Branch, tag or commit, instead of the catalogue's.
    precision : {"fp32", "fp16"}
        Precision of the stored weights; ``"fp16"`` halves the size. The inference precision is
        chosen when loading.
    prompt_template : str
        Template for label names; repositories have none.
    overwrite : bool
        Replace an existing `out_dir`.
    """
    check_options(precision, prompt_template)
    entry = entry_of(name)
    short = name.rpartition("/")[2]
    if out_dir is None:
        user_model_dir().mkdir(parents=True, exist_ok=True)
        out_dir = user_model_dir() / short
    target = Path(out_dir)
    with new_path(target, directory=True, replace=overwrite, remedy="--overwrite") as fresh:
        repo = open_repo(entry.repo_id, revision or entry.revision)
        if {MANIFEST_NAME, *IMAGE_FILES} <= repo.digests.keys():
            for file in (MANIFEST_NAME, *MODEL_FILES):
                if file in repo.digests:
                    shutil.copyfile(repo.fetch(file), fresh / file)
            load_manifest(fresh)
        else:
            made, licence = _convert(repo, fresh / "tokenizer.json", entry)
            write_model(
                fresh,
                made,
                precision=precision,
                name=short,
                source=repo.repo_id,
                revision=repo.commit,
                licence=licence,
                prompt_template=prompt_template,
            )
    return target


def _convert(repo: HubRepo, tokenizer: Path, entry: CatalogueEntry) -> tuple[Encoders, str]:
    """Fetch small files first, so that their errors show before the long downloads."""
    graphs = next((pair for pair in _LAYOUTS if {*pair, *_NEEDED} <= repo.digests.keys()), None)
    if graphs is None:
        raise ModelInvalidError(
            f"{repo.repo_id} has no encoders as ONNX (onnx/vision_model.onnx, "
            "onnx/text_model.onnx) or OpenVINO IR, with config.json and tokenizer.json. Use "
            "`datumaro-embed export-model` for a torch checkpoint.",
            repo=repo.repo_id,
        )
    snapshot = repo.fetch_all([*_NEEDED, *(n for n in _WELCOME if n in repo.digests)])
    config = read_json(snapshot / "config.json")
    family = family_of(config)
    preprocessor, image = read_images(snapshot, family)
    check_image_size(config, image)
    shutil.copyfile(snapshot / "tokenizer.json", tokenizer)
    text = complete_tokenizer(tokenizer, snapshot, config)
    shapes = input_shapes(image.size_px, text.context_length)
    images, texts = _halves(repo, graphs, shapes, _POOLED[family])
    check_dim(config, images.dim)
    made = Encoders(
        family=family,
        images=images,
        texts=texts,
        preprocessor=preprocessor,
        image=image,
        text=replace(text, inputs=texts.inputs),
        logit_scale=entry.logit_scale,
        logit_bias=entry.logit_bias,
    )
    return made, entry.licence or licence_of(snapshot)


def _halves(
    repo: HubRepo, graphs: tuple[str, str], shapes: dict[str, tuple[int, ...]], alias: str
) -> tuple[Half, Half]:
    """Download both graphs with their weights, and extract the encoders."""
    sides = tuple(zip(graphs, ("image_embeds", "text_embeds"), strict=True))
    wanted = dict.fromkeys(graphs)
    for graph, output in sides:
        wanted.update(dict.fromkeys(_weights(repo, graph, (output, alias))))
    with repo.real_files(wanted) as folder:
        try:
            images, texts = (
                cut_out(folder / graph, output, shapes, alias=alias) for graph, output in sides
            )
        except RuntimeError as error:  # OpenVINO raises nothing else
            raise _unusable(repo, str(error).strip().splitlines()[-1]) from error
    if images.dim != texts.dim or not images.inputs or not texts.inputs:
        raise _unusable(
            repo, f"image vectors have {images.dim} numbers, but text vectors {texts.dim}"
        )
    return images, texts


def _weights(repo: HubRepo, side: str, outputs: tuple[str, str]) -> list[str]:
    """Return the files that hold a graph's weights, after checking that the graph can be used.

    The graph file of a model of more than 2 GB is small, so it is read before the weights.
    """
    if side.endswith(".xml"):
        weights = [side.removesuffix(".xml") + ".bin"]
    else:
        try:
            found, external = read_onnx(repo.fetch(side))
        except ValueError as error:
            raise _unusable(repo, f"{side}: {error}") from error
        if not set(outputs) & set(found):
            names = ", ".join(found)
            raise _unusable(repo, f"{side} has no output {outputs[0]!r}, only {names}")
        folder = posixpath.dirname(side)
        weights = [posixpath.normpath(f"{folder}/{name}") for name in sorted(external)]
        if outside := [name for name in weights if not name.startswith(f"{folder}/")]:
            raise _unusable(repo, f"{side} keeps weights outside its folder: {outside[0]!r}")
    if missing := [name for name in weights if name not in repo.digests]:
        raise _unusable(repo, f"{side} needs {missing[0]!r}, which is not in the repository")
    return weights


def _unusable(repo: HubRepo, reason: str) -> ModelInvalidError:
    return ModelInvalidError(
        f"The encoders of {repo.repo_id} cannot be used: {reason}. "
        "Try another repository, or `datumaro-embed export-model`.",
        repo=repo.repo_id,
        reason=reason,
    )
