"""Make a model directory from a hub repository that holds graphs, without torch.

These layouts are supported: our model directory (``model.json``), optimum-intel's single IR
(``openvino_model.xml``), and the ONNX files of transformers.js: one for images and one for texts,
or a single one of both encoders or of an image-only model.
"""

from __future__ import annotations

import posixpath
import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from ..errors import ModelDownloadError, ModelInvalidError, UsageError
from ..files import scratch, write_errors
from ..logs import log
from ..models.catalogue import CATALOGUE, CatalogueEntry, entry_of
from ..models.checkpoint import (
    FAMILIES,
    IMAGE_FAMILIES,
    OPEN_CLIP_CONFIG,
    check_dim,
    check_image_size,
    family_of,
    licence_of,
    read_images,
    read_json,
    unusable,
)
from ..models.graph import Half, cut_out, input_shapes, reason_of
from ..models.hub import HubRepo, open_repo
from ..models.making import Encoders, check_options, new_model_dir, write_model
from ..models.manifest import (
    IMAGE_FILES,
    MANIFEST_NAME,
    MODEL_FILES,
    ImageSpec,
    TextSpec,
    load_manifest,
)
from ..models.onnx_files import read_onnx
from ..models.resolve import is_packaged, user_model_dir
from ..models.tokenizers import complete_tokenizer
from .proof import TEXTS, prove_model

# Weights → endings of the ONNX files in transformers.js's repositories, in order of preference.
WEIGHTS = {"fp32": ("",), "fp16": ("_fp16",), "int8": ("_int8", "_quantized")}

_SETTINGS = (
    *("config.json", "tokenizer.json", "preprocessor_config.json", "processor_config.json"),
    *(OPEN_CLIP_CONFIG, "tokenizer_config.json", "special_tokens_map.json", "README.md"),
)
_IRS = ("openvino_model.xml", "openvino/openvino_model.xml")

# Names of the outputs besides our own, in order of preference, and how they are pooled (see
# `cut_out`); {} is "image" or "text".
_ALIASES: dict[str, dict[str, str]] = {
    "siglip": {"pooler_output": ""},
    "jina_clip": {"{}_embeddings": ""},
    **{family: {"pooler_output": "", "last_hidden_state": "cls"} for family in IMAGE_FAMILIES},
}


def pull_model(
    name: str,
    out_dir: str | Path | None = None,
    *,
    revision: str | None = None,
    weights: str = "fp32",
    precision: str = "fp32",
    prompt_template: str = "a photo of a {}",
    overwrite: bool = False,
) -> Path:
    """Download a model, write its directory, whole or not at all, and return its path.

    Compares every file with its digest in the hub's list, and proves the model before it is
    installed (see proof.py): one with a short name must understand two photographs, another one
    that does not is only reported. Takes a few seconds longer than the download; the files stay in
    huggingface_hub's cache.

    Parameters
    ----------
    name : str
        A short name of `models.CATALOGUE`, or the id of a hub repository.
    out_dir : str or Path, optional
        The model directory to write; by default in the user's cache, where `name` finds it.
    revision : str, optional
        Branch, tag or commit, instead of the catalogue's.
    weights : {"fp32", "fp16", "int8"}
        Which of the repository's ONNX files to download; a model directory has none.
    precision : {"fp32", "fp16"}
        Precision of the stored weights, if `weights` is ``"fp32"``; ``"fp16"`` halves the size.
        The inference precision is chosen when loading.
    prompt_template : str
        Template for label names; repositories have none.
    overwrite : bool
        Replace an existing `out_dir`.
    """
    check_options(precision, prompt_template)
    if weights not in WEIGHTS:
        raise UsageError(f"``weights`` is {weights!r}. Use one of {', '.join(WEIGHTS)}.")
    if weights != "fp32" and precision not in {"fp32", weights}:
        raise UsageError(
            f"``weights`` {weights} are stored as they are, not in ``precision`` {precision}. "
            "Leave one of them out."
        )
    entry = entry_of(name)
    if not entry.repo_id:
        raise UsageError(
            f"{name} is not published as ONNX. Make it from the torch weights: "
            f"`datumaro-embed export-model {name} -o {name}`."
        )
    short = name.rpartition("/")[2]
    if out_dir is None:
        _check_name(short, name)
        with write_errors(user_model_dir()):
            user_model_dir().mkdir(parents=True, exist_ok=True)
        out_dir = user_model_dir() / short
    target = Path(out_dir)
    with new_model_dir(target, replace=overwrite) as fresh:
        if others := [short for short, known in CATALOGUE.items() if known.repo_id == name]:
            log.warning(
                "%s has the short name %s, with which facts that its files lack are known. Use it: "
                "`datumaro-embed pull %s`.",
                *(name, " or ".join(others), others[0]),
            )
        repo = open_repo(entry.repo_id, revision or entry.revision)
        if {MANIFEST_NAME, *IMAGE_FILES} <= repo.digests.keys():
            if (weights, precision) != ("fp32", "fp32"):
                raise UsageError(
                    f"{repo.repo_id} is a model directory, which is taken as it is. Leave out "
                    "``weights`` and ``precision``."
                )
            for file in (MANIFEST_NAME, *MODEL_FILES):
                if file in repo.digests:
                    shutil.copyfile(repo.fetch(file), fresh / file)
            load_manifest(fresh)
        else:
            made, licence = _convert(repo, fresh / "tokenizer.json", entry, weights)
            write_model(
                fresh,
                made,
                precision=precision if weights == "fp32" else weights,
                name=short,
                source=repo.repo_id,
                revision=repo.commit,
                licence=licence,
                prompt_template=prompt_template,
            )
        prove(fresh, name, entry)
    return target


def _check_name(short: str, name: str) -> None:
    """Refuse to install a repository under the name of another model."""
    other = CATALOGUE.get(short)
    if is_packaged(short) or (other is not None and name not in {short, other.repo_id}):
        raise UsageError(
            f"{name} would be installed as {short}, which is the name of another model. "
            f"Choose a directory: `datumaro-embed pull {name} -o DIR`."
        )


def prove(model_dir: Path, name: str, entry: CatalogueEntry) -> None:
    """Prove a new directory (see proof.py), and say what may be wrong or is slow."""
    if load_manifest(model_dir, verify_hashes=False).one_by_one:
        log.warning(
            "%s is computed one image or text at a time, which is slower: in a batch, its vectors "
            "would change with the other rows, as those of dynamic INT8 do.",
            name,
        )
    texts = entry.proof_texts or TEXTS
    if not prove_model(model_dir, texts=texts, tokens=entry.tokens, with_meaning=entry.knows_cats):
        log.warning(
            "%s does not tell a photograph of a cat from one of coffee. That can be right for a "
            "model of other images; otherwise do not use it.",
            name,
        )


def _convert(
    repo: HubRepo, tokenizer: Path, entry: CatalogueEntry, weights: str
) -> tuple[Encoders, str]:
    """Fetch small files first, so that their errors show before the long downloads."""
    with scratch() as folder:
        for name in _SETTINGS:
            places = (f"{entry.folder}/{name}", name)  # those beside the graphs take precedence
            if stored := [place for place in places if place in repo.digests]:
                shutil.copyfile(repo.fetch(stored[0]), folder / name)
        if not (folder / "config.json").is_file():
            raise _no_encoders(repo)
        config = read_json(folder / "config.json")

        # The family of checkpoint.py by which texts and pixels are prepared.
        family = "clip" if entry.family == "open_clip" else entry.family
        if family not in FAMILIES:
            family = family_of(config)
        preprocessor, image = read_images(folder, family)
        if entry.size_px or family not in IMAGE_FAMILIES:  # those take images of any size
            check_image_size(config, image, entry.size_px)
        graphs = _graphs(repo, entry, family, weights)
        text: TextSpec | None = None
        if family not in IMAGE_FAMILIES:
            if not (folder / "tokenizer.json").is_file():
                raise _no_encoders(repo)
            shutil.copyfile(folder / "tokenizer.json", tokenizer)
            text = complete_tokenizer(tokenizer, folder, config, family)
            text = text if entry.pad_id is None else replace(text, pad_id=entry.pad_id)
        images, texts = _halves(repo, graphs, image, text, family)
        if entry.dim not in {0, images.dim}:
            raise unusable(f"its vectors have {images.dim} numbers, and should have {entry.dim}")
        check_dim(config, "" if entry.dim else family, images.dim)
        made = Encoders(
            family=entry.family or ("image" if text is None else family),
            images=images,
            texts=texts,
            preprocessor=preprocessor,
            image=image,
            text=None if text is None or texts is None else replace(text, inputs=texts.inputs),
            logit_scale=entry.logit_scale,
            logit_bias=entry.logit_bias,
        )
        return made, entry.licence or licence_of(folder)


def _graphs(repo: HubRepo, entry: CatalogueEntry, family: str, weights: str) -> tuple[str, ...]:
    """Return the files of the image encoder and, unless there are no texts, the text encoder."""
    n_sides = 1 if family in IMAGE_FAMILIES else 2
    sets = [("vision_model", "text_model"), ("model", "model")] if n_sides == 2 else [("model",)]
    folder, ends = entry.folder, WEIGHTS[weights]
    layouts = [
        tuple(f"{folder}/{n}{end}.onnx" for n in names) for names, end in product(sets, ends)
    ]
    if weights == "fp32":
        layouts = [*((ir,) * n_sides for ir in _IRS), *layouts]
    graphs = next((files for files in layouts if {*files} <= repo.digests.keys()), None)
    if graphs is not None:
        return graphs
    if repo.is_offline:
        raise ModelDownloadError(
            f"The {weights} weights of {repo.repo_id} are not all in the cache, and HF_HUB_OFFLINE "
            "forbids the download. Unset it, or copy a model directory from a machine that has "
            "one.",
            repo=repo.repo_id,
        )
    if weights != "fp32":
        raise ModelInvalidError(
            f"{repo.repo_id} has no {weights} weights ({' or '.join(f[0] for f in layouts)}). "
            "Leave out ``weights``, or use another repository.",
            repo=repo.repo_id,
        )
    raise _no_encoders(repo)


def _halves(
    repo: HubRepo,
    graphs: tuple[str, ...],
    image: ImageSpec,
    text: TextSpec | None,
    family: str,
) -> tuple[Half, Half | None]:
    """Download the graphs with their weights, and extract the encoders."""
    shapes = input_shapes(image.size_px, 1 if text is None else text.context_length)
    sides = tuple(zip(graphs, ("image", "text"), strict=False))
    outputs = {
        side: {n.format(side): pool for n, pool in _ALIASES.get(family, {}).items()}
        for _, side in sides
    }
    wanted = dict.fromkeys(graphs)
    for graph, side in sides:
        names = [f"{side}_embeds", *outputs[side]]
        wanted.update(dict.fromkeys(_weights(repo, graph, names)))
    with repo.real_files(wanted) as folder:
        try:
            images, *rest = (
                cut_out(folder / graph, f"{side}_embeds", shapes, aliases=outputs[side])
                for graph, side in sides
            )
        except RuntimeError as error:  # OpenVINO raises nothing else
            raise _unusable(repo, reason_of(error)) from error
    texts = rest[0] if rest else None
    if not images.inputs or (texts is not None and not texts.inputs):
        raise _unusable(repo, "a graph has no input of a known name")
    if texts is not None and images.dim != texts.dim:
        raise _unusable(
            repo, f"image vectors have {images.dim} numbers, but text vectors {texts.dim}"
        )
    return images, texts


def _weights(repo: HubRepo, side: str, outputs: Sequence[str]) -> list[str]:
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
        place = "cache, and HF_HUB_OFFLINE is set" if repo.is_offline else "repository"
        raise _unusable(repo, f"{side} needs {missing[0]!r}, which is not in the {place}")
    return weights


def _no_encoders(repo: HubRepo) -> ModelInvalidError:
    return ModelInvalidError(
        f"{repo.repo_id} has no encoders as ONNX (onnx/vision_model.onnx and onnx/text_model.onnx; "
        "or onnx/model.onnx with both, or of an image-only model) or OpenVINO IR, with config.json "
        "and tokenizer.json. Use `datumaro-embed export-model` for a torch checkpoint.",
        repo=repo.repo_id,
    )


def _unusable(repo: HubRepo, reason: str) -> ModelInvalidError:
    return ModelInvalidError(
        f"The encoders of {repo.repo_id} cannot be used: {reason}. "
        "Try another repository, or `datumaro-embed export-model`.",
        repo=repo.repo_id,
        reason=reason,
    )
