"""Make a model directory from a CLIP checkpoint: both encoders as OpenVINO IR, by optimum-intel.

The only module that imports torch, transformers and optimum, and only inside functions: they come
with the ``export`` extra and nothing else here needs them.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError, ModelInvalidError, UsageError
from .checkpoint import (
    image_spec,
    licence_of,
    read_preprocessor_config,
    text_spec,
)
from .manifest import (
    MODEL_FILES,
    ImageSpec,
    ModelManifest,
    sha256_file,
    write_manifest,
)
from .publish import publish_directory

__all__ = ["FAMILIES", "PRECISIONS", "export_model"]

FAMILIES = ("clip",)
PRECISIONS = ("fp32", "fp16")
_NEEDED = ("optimum.intel", "transformers", "torch")
_TASK = "zero-shot-image-classification"
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """A checkpoint directory on this machine, and what to call it in ``model.json``."""

    folder: Path
    source: str
    revision: str


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
    """Write the model directory of a CLIP checkpoint; published whole or not at all.

    Parameters
    ----------
    source : str or Path
        A local checkpoint directory in Hugging Face's layout, or a Hugging Face id.
    out_dir : str or Path
        The model directory to make.
    revision : str, optional
        Of a Hugging Face id: a branch, tag or commit.
    precision : {"fp32", "fp16"}
        Of the stored weights; ``"fp16"`` halves the size. Arithmetic is chosen when loading.
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
        The checkpoint is not there, incomplete, or not of a family known here.

    Notes
    -----
    Both encoders are cut out of one zero-shot model, so that projection and pooling are the
    checkpoint's own. About 5 s for a tiny model, 20 s and 3 GB of memory for ViT-B/32.
    """
    if precision not in PRECISIONS or "{}" not in prompt_template:
        raise UsageError(
            f"precision {precision!r} must be one of {PRECISIONS} and the prompt template "
            f"{prompt_template!r} must hold {{}}. Change the one that does not."
        )
    _check_extra()
    out_dir = Path(out_dir)
    with publish_directory(out_dir, overwrite=overwrite) as fresh:
        checkpoint = _fetch(source, revision)
        model, config = _load_torch(checkpoint.folder)
        preprocessor = read_preprocessor_config(checkpoint.folder)
        spec = image_spec(preprocessor)
        context = int(config["text_config"]["max_position_embeddings"])
        text_inputs, dim = _write_encoders(model, fresh, spec, context, precision == "fp16")
        tokenizer = _write_tokenizer(checkpoint.folder, fresh)
        _write_json(fresh / "preprocessor_config.json", preprocessor)
        manifest = ModelManifest(
            name=name or out_dir.name,
            source=source_name or checkpoint.source,
            revision=checkpoint.revision,
            licence=licence or licence_of(checkpoint.folder),
            family=str(config["model_type"]),
            dim=dim,
            precision=precision,
            image=spec,
            text=text_spec(checkpoint.folder, config, text_inputs, tokenizer),
            logit_scale=float(model.logit_scale.detach().exp().item()),
            logit_bias=float(getattr(model, "logit_bias", None) or 0.0),
            prompt_template=prompt_template,
            files={file: sha256_file(fresh / file) for file in MODEL_FILES},
        )
        write_manifest(fresh, manifest)
    return out_dir


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


def _fetch(source: str | Path, revision: str | None) -> _Checkpoint:
    """Return a local checkpoint: a directory as it is, a hub id by download (or from its cache)."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return _Checkpoint(folder, folder.resolve().name, revision or "")
    if not isinstance(source, str) or not _HUB_ID.fullmatch(source):
        raise _not_exportable(str(source), "no such directory, and not a Hugging Face id")
    from huggingface_hub import snapshot_download

    try:
        fetched = Path(
            snapshot_download(
                source,
                revision=revision,
                allow_patterns=["*.json", "*.txt", "*.model", "*.safetensors", "README.md"],
            )
        )
    except Exception as error:  # offline, no such id, gated: the hub client raises many kinds
        raise _not_exportable(source, f"{type(error).__name__}: {error}") from error
    return _Checkpoint(fetched, source, fetched.name)


def _load_torch(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Load the checkpoint in float32; return the model and its whole configuration."""
    import torch
    from transformers import AutoConfig, AutoModelForZeroShotImageClassification

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise _not_exportable(folder.name, f"config.json: {error}") from error
    if config.model_type not in FAMILIES:
        raise _not_exportable(folder.name, f"its family is {config.model_type!r}, not {FAMILIES}")
    try:
        with _quiet():
            model = AutoModelForZeroShotImageClassification.from_pretrained(
                folder, config=config, dtype=torch.float32, local_files_only=True
            )
    except Exception as error:  # damaged weights surface as many kinds of error
        raise _not_exportable(folder.name, f"{type(error).__name__}: {error}") from error
    return model.eval(), config.to_dict()


def _write_encoders(
    model: Any, out_dir: Path, spec: ImageSpec, context: int, compress: bool
) -> tuple[tuple[str, ...], int]:
    """Trace the model once and save both halves; return the text encoder's inputs and the dim."""
    import openvino as ov
    from optimum.exporters.openvino.convert import export_from_model
    from optimum.intel import OVConfig

    with tempfile.TemporaryDirectory(prefix="datumaro-embed-") as scratch:
        with _quiet():
            export_from_model(
                model, Path(scratch), task=_TASK, ov_config=OVConfig(dtype="fp32"), stateful=False
            )
        core = ov.Core()
        image = _cut(core, scratch, "image_embeds", ("pixel_values",))
        text = _cut(core, scratch, "text_embeds", ("input_ids", "attention_mask"))
        image.reshape({"pixel_values": [-1, 3, spec.size_px, spec.size_px]})
        text.reshape({port: [-1, context] for port in text.inputs})
        for half, file in ((image, "image_encoder.xml"), (text, "text_encoder.xml")):
            ov.save_model(half, out_dir / file, compress_to_fp16=compress)
        dim = image.output(0).partial_shape[1].get_length()
        names = tuple(sorted((p.any_name for p in text.inputs), reverse=True))
    return names, int(dim)


def _cut(core: Any, scratch: str, output: str, inputs: tuple[str, ...]) -> Any:
    """Return the part of the traced model between `inputs` and one output."""
    import openvino as ov

    whole = core.read_model(Path(scratch) / "openvino_model.xml")
    result = whole.output(output).node.input_value(0)
    half = ov.Model([result], _reaching(whole, result.node, inputs), output)
    half.output(0).tensor.set_names({output})
    return half


def _reaching(whole: Any, node: Any, inputs: tuple[str, ...]) -> list[Any]:
    """Return those of the parameters named `inputs` that `node` depends on."""
    seen: set[str] = set()
    stack = [node]
    while stack:
        current = stack.pop()
        if current.get_name() not in seen:
            seen.add(current.get_name())
            stack += [value.get_node() for value in current.input_values()]
    return [
        port.get_node()
        for port in whole.inputs
        if port.any_name in inputs and port.get_node().get_name() in seen
    ]


def _write_tokenizer(checkpoint: Path, out_dir: Path) -> dict[str, Any]:
    """Copy ``tokenizer.json``, or make it from an older checkpoint's vocabulary and merges."""
    target = out_dir / "tokenizer.json"
    if (checkpoint / "tokenizer.json").is_file():
        shutil.copyfile(checkpoint / "tokenizer.json", target)
    else:
        from transformers import AutoTokenizer

        try:
            AutoTokenizer.from_pretrained(checkpoint).backend_tokenizer.save(str(target))
        except Exception as error:  # no vocabulary at all: transformers raises many kinds
            raise _not_exportable(checkpoint.name, f"its tokenizer: {error}") from error
    body: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
    return body


def _write_json(path: Path, body: Any) -> None:
    path.write_text(json.dumps(body, indent=2, sort_keys=True) + "\n", encoding="utf-8")


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the tracer's warnings and loading bars, which say nothing that a user can act on."""
    from transformers.utils import logging as transformers_logging

    verbosity, disabled = transformers_logging.get_verbosity(), logging.root.manager.disable
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        transformers_logging.enable_progress_bar()
        transformers_logging.set_verbosity(verbosity)


def _not_exportable(source: str, reason: str) -> ModelInvalidError:
    return ModelInvalidError(
        f"Cannot export {source}: {reason}. Pass a CLIP checkpoint directory "
        "(config.json, model.safetensors, tokenizer, preprocessor_config.json) or its hub id.",
        source=source,
        reason=reason,
    )
