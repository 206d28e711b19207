"""What a Hugging Face checkpoint's own files say about preprocessing: read, never assumed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ModelInvalidError
from .manifest import ImageSpec, TextSpec

__all__ = [
    "FAMILIES",
    "check_image_size",
    "context_length",
    "family_of",
    "image_spec",
    "licence_of",
    "read_json",
    "read_preprocessor_config",
    "text_spec",
]

# What transformers' configuration classes give where config.json, which holds only what differs
# from them, has no max_position_embeddings. (Their image_size is 224 in both.)
FAMILIES = {"clip": 77, "siglip": 64}

# transformers' PILImageResampling, which is Pillow's own numbering.
_RESAMPLE = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")


def read_preprocessor_config(checkpoint: Path) -> dict[str, Any]:
    """Read the image processor's settings, from whichever file this checkpoint keeps them in.

    Raises
    ------
    ModelInvalidError
        Neither ``preprocessor_config.json`` nor ``processor_config.json`` has them.
    """
    body = read_json(checkpoint / "preprocessor_config.json")
    if not body:  # transformers 5 nests it in the processor's file
        body = read_json(checkpoint / "processor_config.json").get("image_processor") or {}
    if not body:
        raise _unusable("the checkpoint has no preprocessor_config.json")
    return dict(body)


def family_of(config: Mapping[str, Any]) -> str:
    """Return the ``model_type`` of a ``config.json``.

    Raises
    ------
    ModelInvalidError
        It is none of `FAMILIES`.
    """
    family = str(config.get("model_type"))
    if family == "siglip2":
        raise _unusable("it is a NaFlex model, whose images have no fixed size")
    if family not in FAMILIES:
        raise _unusable(f"its family is {family!r}, not {' or '.join(FAMILIES)}")
    return family


def image_spec(config: Mapping[str, Any]) -> ImageSpec:
    """Read an image processor's settings into an `ImageSpec`.

    Parameters
    ----------
    config : mapping
        Of ``preprocessor_config.json``, in the old form (``size: 224``) or the new
        (``size: {"shortest_edge": 224}``).

    Raises
    ------
    ModelInvalidError
        A setting is missing, or asks for something that is not done here (padding, a rectangle).
    """
    if config.get("do_pad") or not config.get("do_resize", True):
        raise _unusable("its image processor pads, or does not resize")
    resize, resize_px = _resize_rule(_need(config, "size"))
    crops = bool(config.get("do_center_crop"))
    size_px = _square(_need(config, "crop_size")) if crops else resize_px
    if resize == "shortest_side" and not crops:
        raise _unusable("its image processor keeps the aspect ratio and does not crop")
    if resize == "stretch" and size_px != resize_px:
        raise _unusable("its image processor stretches to one size and crops to another")
    normalizes = config.get("do_normalize", True)
    try:
        return ImageSpec(
            size_px=size_px,
            resize=resize,
            resize_px=resize_px,
            resample=_RESAMPLE[int(_need(config, "resample"))],
            scale=float(config.get("rescale_factor") or 1 / 255) if _rescales(config) else 1.0,
            mean=_rgb(_need(config, "image_mean") if normalizes else [0, 0, 0]),
            std=_rgb(_need(config, "image_std") if normalizes else [1, 1, 1]),
        )
    except (IndexError, TypeError, ValueError) as error:
        raise _unusable(f"preprocessor_config.json: {error}") from error


def check_image_size(config: Mapping[str, Any], spec: ImageSpec) -> None:
    """Check that images are prepared at the size that the encoder was trained at.

    Raises
    ------
    ModelInvalidError
    """
    trained_px = config.get("vision_config", {}).get("image_size", 224)
    if trained_px != spec.size_px:
        raise _unusable(
            f"it prepares images of {spec.size_px} px for an encoder of {trained_px} px"
        )


def text_spec(
    checkpoint: Path, config: Mapping[str, Any], inputs: Sequence[str], tokenizer: Mapping[str, Any]
) -> TextSpec:
    """Read a text encoder's context, padding and case rules.

    Parameters
    ----------
    checkpoint : Path
        For ``tokenizer_config.json`` and ``special_tokens_map.json``.
    config : mapping
        The model's configuration with its defaults filled in.
    inputs : sequence of str
        Names of the exported text encoder's inputs.
    tokenizer : mapping
        Content of ``tokenizer.json``.

    Raises
    ------
    ModelInvalidError
        The context length or a special token cannot be found.
    """
    text = config.get("text_config", config)
    settings = {
        **read_json(checkpoint / "special_tokens_map.json"),
        **read_json(checkpoint / "tokenizer_config.json"),
    }
    if settings.get("padding_side", "right") != "right":
        raise _unusable("its tokenizer pads on the left")
    ids = {t["content"]: t["id"] for t in tokenizer.get("added_tokens", ())}
    lower = bool(settings.get("do_lower_case")) and "Lowercase" not in json.dumps(
        tokenizer.get("normalizer")
    )
    return TextSpec(
        context_length=context_length(config),
        pad_id=_token_id("pad_token", settings, ids, text),
        eos_id=_token_id("eos_token", settings, ids, text),
        lower_case=lower,
        inputs=tuple(inputs),
    )


def context_length(config: Mapping[str, Any]) -> int:
    """Return how many tokens the text encoder takes.

    Raises
    ------
    ModelInvalidError
        The configuration does not say.
    """
    text = config.get("text_config", config)
    default = FAMILIES.get(str(config.get("model_type")))
    return int(
        text.get("max_position_embeddings") or default or _need(text, "max_position_embeddings")
    )


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


def _resize_rule(size: Any) -> tuple[str, int]:
    if isinstance(size, Mapping) and "shortest_edge" in size:
        return "shortest_side", int(size["shortest_edge"])
    if isinstance(size, int):
        return "shortest_side", size
    return "stretch", _square(size)


def _square(size: Any) -> int:
    if isinstance(size, Mapping) and size.get("height") == size.get("width") is not None:
        return int(size["height"])
    if isinstance(size, int):
        return size
    raise _unusable(f"its images are not square: {size}")


def _rescales(config: Mapping[str, Any]) -> bool:
    return bool(config.get("do_rescale", True))


def _rgb(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(v) for v in values)
    return red, green, blue


def _token_id(
    name: str, settings: Mapping[str, Any], ids: Mapping[str, int], text: Mapping[str, Any]
) -> int:
    token = settings.get(name)
    content = token.get("content") if isinstance(token, Mapping) else token
    found = ids.get(str(content), text.get(f"{name}_id"))
    if not isinstance(found, int):
        raise _unusable(f"it does not say what its {name} is")
    return found


def _need(config: Mapping[str, Any], key: str) -> Any:
    value = config.get(key)
    if value is None:
        raise _unusable(f"its configuration has no {key!r}")
    return value


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; an empty one where there is no file.

    Raises
    ------
    ModelInvalidError
        The file is not JSON.
    """
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _unusable(f"{path.name}: {error}") from error
    return body if isinstance(body, dict) else {}


def _unusable(reason: str) -> ModelInvalidError:
    return ModelInvalidError(
        f"This checkpoint cannot become a model directory: {reason}. "
        "Check that it is a CLIP or SigLIP checkpoint and complete.",
        reason=reason,
    )
