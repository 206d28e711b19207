"""What a Hugging Face checkpoint's ``config.json`` says: read as transformers reads it."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ModelInvalidError
from .manifest import ImageSpec
from .values import mapping, whole

__all__ = [
    "FAMILIES",
    "check_dim",
    "check_image_size",
    "context_length",
    "family_of",
    "licence_of",
    "need",
    "part",
    "read_json",
    "token_id",
    "unusable",
]

# What transformers' configuration classes give where config.json, which holds only what differs
# from them, has no max_position_embeddings.
FAMILIES = {"clip": 77, "siglip": 64}
_IMAGE_PX = 224
_PROJECTION_DIM = 512


def family_of(config: Mapping[str, Any]) -> str:
    """Return the ``model_type`` of a ``config.json``.

    Raises
    ------
    ModelInvalidError
        It is none of `FAMILIES`.
    """
    family = config.get("model_type")
    if family == "siglip2":
        raise unusable("it is a NaFlex model, whose images have no fixed size")
    if not isinstance(family, str) or family not in FAMILIES:
        found = reprlib.repr(family)
        raise unusable(f"its family (model_type) is {found}, not {' or '.join(FAMILIES)}")
    return family


def check_image_size(config: Mapping[str, Any], spec: ImageSpec) -> None:
    """Check that images are prepared at the size that the encoder was trained at.

    Raises
    ------
    ModelInvalidError
    """
    trained_px = _tower(config, "vision").get("image_size", _IMAGE_PX)
    if trained_px != spec.size_px:
        raise unusable(f"it prepares images of {spec.size_px} px for an encoder of {trained_px} px")


def check_dim(config: Mapping[str, Any], dim: int) -> None:
    """Check that vectors are those of the space that images and texts share.

    Before its projection an encoder of CLIP has a width of its own, and its vectors compare with
    nothing. SigLIP has no projection.

    Raises
    ------
    ModelInvalidError
    """
    wanted = config.get("projection_dim") or _PROJECTION_DIM
    if family_of(config) == "clip" and dim != wanted:
        raise unusable(f"its vectors have {dim} numbers, not the {wanted} of its projection_dim")


def context_length(config: Mapping[str, Any]) -> int:
    """Return how many tokens the text encoder takes.

    Raises
    ------
    ModelInvalidError
        The configuration says something that is no length.
    """
    stated = _tower(config, "text").get("max_position_embeddings")
    try:
        return whole("max_position_embeddings", stated or FAMILIES[family_of(config)], 1, 1 << 14)
    except ValueError as error:
        raise unusable(str(error)) from error


def token_id(config: Mapping[str, Any], name: str) -> Any:
    """Return what the text encoder's configuration says of ``pad_token_id`` or ``eos_token_id``."""
    return _tower(config, "text").get(name)


def licence_of(checkpoint: Path) -> str:
    """Return the ``license:`` of the model card's front matter, or ``"unknown"``."""
    try:
        lines = (checkpoint / "README.md").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return "unknown"
    for line in lines[1:] if lines[:1] == ["---"] else ():
        if line.strip() == "---":
            break
        if line.startswith("license:"):
            return line.partition(":")[2].strip().strip("\"'") or "unknown"
    return "unknown"


def part(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return a section of a configuration; an empty one where it is missing or null.

    Raises
    ------
    ModelInvalidError
        It is something else than a JSON object.
    """
    value = config.get(key)
    try:
        return {} if value is None else mapping(key, value)
    except ValueError as error:
        raise unusable(str(error)) from error


def need(config: Mapping[str, Any], key: str) -> Any:
    """Return a value that must be there.

    Raises
    ------
    ModelInvalidError
    """
    value = config.get(key)
    if value is None:
        raise unusable(f"its configuration has no {key!r}")
    return value


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; an empty one where there is no file.

    Raises
    ------
    ModelInvalidError
        The file is not a JSON object.
    """
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:  # the last: nested too deep
        raise unusable(f"{path.name}: {error}") from error
    if not isinstance(body, dict):
        raise unusable(f"{path.name} is not a JSON object")
    return body


def unusable(
    reason: str, advice: str = "Check that it is a CLIP or SigLIP checkpoint and complete"
) -> ModelInvalidError:
    """Return the error that says why a checkpoint cannot be used, and what to do."""
    return ModelInvalidError(
        f"This checkpoint cannot become a model directory: {reason}. {advice}.", reason=reason
    )


def _tower(config: Mapping[str, Any], side: str) -> Mapping[str, Any]:
    """Return the configuration of one encoder.

    Old files of CLIP have ``text_config_dict`` too; where it is, transformers takes it instead.
    """
    old = f"{side}_config_dict"
    has_old = config.get("model_type") == "clip" and config.get(old) is not None
    return part(config, old if has_old else f"{side}_config")
