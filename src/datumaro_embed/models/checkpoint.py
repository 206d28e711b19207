"""Read a checkpoint's configuration files like transformers and OpenCLIP.

Up to three files of a checkpoint describe the preprocessing of images: ``processor_config.json``
and ``preprocessor_config.json`` of transformers, and ``open_clip_config.json`` of OpenCLIP. If two
disagree, that is an error: their loaders would prepare different pixels, and nothing shows which
ones the model was trained with. Anything unusable is a ModelInvalidError (see `unusable`).
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ModelInvalidError
from .manifest import MAX_TOKENS, RESAMPLE_FILTERS, ImageSpec, checked, read_object

# Families of image and text encoders, with the tokens of a text. These are transformers' defaults
# for max_position_embeddings: config.json only holds values that differ from the defaults.
FAMILIES = {"clip": 77, "siglip": 64, "metaclip_2": 77, "chinese_clip": 52, "altclip": 77}
FAMILIES |= {"jina_clip": 77}
IMAGE_FAMILIES = ("dinov2", "dinov2_with_registers", "dinov3_vit")  # without texts
# Families whose text encoder was a language model, with a longer table of positions: a text is cut
# at the length that their authors use with images.
_OWN_CONTEXT = {"chinese_clip", "altclip", "jina_clip"}
_IMAGE_PX = 224
# Defaults for projection_dim. The other families have no projection.
_PROJECTION_DIM = {"clip": 512, "metaclip_2": 512, "chinese_clip": 512, "altclip": 768}

OPEN_CLIP_CONFIG = "open_clip_config.json"

_CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
_CLIP_STD = [0.26862954, 0.26130258, 0.27577711]

# Defaults of transformers' image processors for missing keys. A null is not replaced by a default:
# it switches a step off, or leaves a step without a value.
_ALWAYS = {
    "do_resize": True,
    "resample": RESAMPLE_FILTERS.index("bicubic"),  # transformers uses Pillow's numbers
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
}
_CLIP = {"image_mean": _CLIP_MEAN, "image_std": _CLIP_STD, "do_center_crop": True}
_SIGLIP = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
_DINOV3 = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
_SHORTEST = {"size": {"shortest_edge": 224}, "crop_size": 224}
_SQUARE = {"size": {"height": 224, "width": 224}}
_BILINEAR = {"resample": RESAMPLE_FILTERS.index("bilinear")}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "CLIPImageProcessor": {**_ALWAYS, **_CLIP, **_SHORTEST},
    "ChineseCLIPImageProcessor": {**_ALWAYS, **_CLIP, **_SHORTEST},
    "SiglipImageProcessor": {**_ALWAYS, **_SIGLIP, **_SQUARE},
    "BitImageProcessor": {**_ALWAYS, **_CLIP, **_SHORTEST},
    "DINOv3ViTImageProcessor": {**_ALWAYS, **_DINOV3, **_SQUARE, **_BILINEAR},
}
_PROCESSORS = {"clip": "CLIPImageProcessor", "siglip": "SiglipImageProcessor"}
_PROCESSORS |= {"dinov2": "BitImageProcessor", "dinov2_with_registers": "BitImageProcessor"}
_PROCESSORS |= {"dinov3_vit": "DINOv3ViTImageProcessor", "metaclip_2": "CLIPImageProcessor"}
_PROCESSORS |= {"chinese_clip": "ChineseCLIPImageProcessor", "altclip": "CLIPImageProcessor"}
_PROCESSORS |= {"jina_clip": "JinaCLIPImageProcessor"}

# Defaults of OpenCLIP's PreprocessCfg.
_OPEN_CLIP_DEFAULTS = {
    "size": 224,
    "mean": _CLIP_MEAN,
    "std": _CLIP_STD,
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
_SAME = 1e-3  # tolerance for mean and std, which some files round


def family_of(config: Mapping[str, Any]) -> str:
    """Return the ``model_type`` of a ``config.json``, one of `FAMILIES` or `IMAGE_FAMILIES`."""
    family = config.get("model_type")
    if family == "siglip2":
        raise unusable("it is a NaFlex model, whose images have no fixed size")
    known = (*FAMILIES, *IMAGE_FAMILIES)
    if not isinstance(family, str) or family not in known:
        found = reprlib.repr(family)
        raise unusable(f"its family (model_type) is {found}, not one of {', '.join(known)}")
    return family


def check_image_size(config: Mapping[str, Any], spec: ImageSpec, trained_px: int = 0) -> None:
    """Check that images are prepared at the size of the encoder's training.

    `trained_px`: that size; 0: as in `config`.
    """
    trained_px = trained_px or _tower(config, "vision").get("image_size", _IMAGE_PX)
    if trained_px != spec.size_px:
        raise unusable(f"it prepares images of {spec.size_px} px for an encoder of {trained_px} px")


def check_dim(config: Mapping[str, Any], family: str, dim: int) -> None:
    """Check that vectors are in the space that images and texts share.

    Before the projection, each CLIP encoder has its own width, and its vectors cannot be compared
    with others. SigLIP and jina-clip have no projection of that name.
    """
    wanted = config.get("projection_dim") or _PROJECTION_DIM.get(family)
    if family in _PROJECTION_DIM and dim != wanted:
        raise unusable(f"its vectors have {dim} numbers, but its projection_dim is {wanted}")


def context_length(config: Mapping[str, Any], family: str) -> int:
    """Return the number of tokens that the text encoder takes."""
    if family in _OWN_CONTEXT:
        return FAMILIES[family]
    stated = _tower(config, "text").get("max_position_embeddings")
    return _whole("max_position_embeddings", stated or FAMILIES[family], 1, MAX_TOKENS)


def token_id(config: Mapping[str, Any], name: str) -> Any:
    """Return ``pad_token_id`` or ``eos_token_id`` of the text encoder's configuration."""
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
    """Return a section of a configuration; empty if it is missing or null."""
    value = config.get(key)
    if value is not None and not isinstance(value, Mapping):
        raise unusable(f"{key} is {reprlib.repr(value)}, not a JSON object")
    return value or {}


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty if the file does not exist."""
    try:
        return read_object(path)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise unusable(f"{path.name}: {error}") from error


def read_images(checkpoint: Path, family: str) -> tuple[dict[str, Any], ImageSpec]:
    """Return the content of the first file that transformers would read, and its `ImageSpec`."""
    name, settings = next(iter(_image_settings(checkpoint).items()), (OPEN_CLIP_CONFIG, {}))
    if name == OPEN_CLIP_CONFIG:
        raise unusable("the checkpoint has no preprocessor_config.json")
    spec = image_spec(settings, family)
    check_agreement(checkpoint, family, name, spec)
    return settings, spec


def check_agreement(checkpoint: Path, family: str, name: str, spec: ImageSpec) -> None:
    """Check that no other file of the checkpoint disagrees with `spec`, read from file `name`."""
    for other, settings in _image_settings(checkpoint).items():
        theirs = asdict(image_spec(settings, family))
        differences = []
        for key, mine in asdict(spec).items():
            other_one = theirs[key]
            is_same = mine == other_one
            if isinstance(mine, float | tuple):
                is_same = np.allclose(mine, other_one, rtol=0, atol=_SAME)
            if not is_same:
                differences.append(f"{key} is {mine!r} in one and {other_one!r} in the other")
        if differences:
            raise unusable(
                f"{name} and {other} disagree: {'; '.join(differences)}",
                "Ask the authors which file is right, and use a local copy of the checkpoint "
                "without the other one",
            )


def image_spec(config: Mapping[str, Any], family: str) -> ImageSpec:
    """Read an image processor's settings into an `ImageSpec`.

    Parameters
    ----------
    config : mapping
        Content of ``preprocessor_config.json``, in the old form (``size: 224``) or the new one
        (``size: {"shortest_edge": 224}``). Missing keys have transformers' defaults.
    family : str
        The family whose image processor is used if `config` names none.
    """
    stated = config.get("image_processor_type") or config.get("feature_extractor_type")
    name = str(stated or _PROCESSORS[family])
    kind = name.removesuffix("Fast").removesuffix("Pil")
    kind = kind.replace("FeatureExtractor", "ImageProcessor")
    if kind == "JinaCLIPImageProcessor":  # has the settings of OpenCLIP, and does as OpenCLIP
        kind, config = "CLIPImageProcessor", open_clip_settings({**_OPEN_CLIP_DEFAULTS, **config})
    if kind not in _DEFAULTS:
        raise unusable(f"its images are prepared by {name}, not {' or '.join(_DEFAULTS)}")
    full = {**_DEFAULTS[kind], **config}
    if full.get("do_pad") or not full["do_resize"]:
        raise unusable("its image processor pads, or does not resize")
    crops = bool(full.get("do_center_crop"))
    for key in ("size", *(["crop_size"] if crops else [])):
        if full.get(key) is None:
            raise unusable(f"its configuration has no {key!r}")
    resize, resize_px = _resize_rule(full["size"])
    size_px = _square(full["crop_size"]) if crops else resize_px
    if resize == "shortest_side" and not crops:
        raise unusable("its image processor keeps the aspect ratio and does not crop")
    if resize == "stretch" and size_px != resize_px:
        raise unusable("its image processor stretches to one size and crops to another")
    normalizes = full["do_normalize"]
    facts = {
        "size_px": size_px,
        "resize": resize,
        "resize_px": resize_px,
        "resample": RESAMPLE_FILTERS[_whole("resample", full["resample"], 0, 5)],
        "scale": full["rescale_factor"] if full["do_rescale"] else 1.0,
        "mean": full["image_mean"] if normalizes else (0.0, 0.0, 0.0),
        "std": full["image_std"] if normalizes else (1.0, 1.0, 1.0),
    }
    try:
        return checked(ImageSpec, facts)
    except ValueError as error:
        raise unusable(f"in its image processor, {error}") from error


def open_clip_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Convert OpenCLIP's preprocessing to a ``preprocessor_config.json``.

    `config`: ``size`` (a number, or height and width), ``mean``, ``std``, ``interpolation`` and
    ``resize_mode``.
    """
    mode, interpolation = config["resize_mode"], config["interpolation"]
    if mode not in ("shortest", "squash") or interpolation not in ("bicubic", "bilinear"):
        raise unusable(f"its images are resized by {mode!r} and {interpolation!r}")
    side = _square(config["size"])
    square = {"height": side, "width": side}
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": side} if mode == "shortest" else square,
        "resample": RESAMPLE_FILTERS.index(interpolation),
        "do_center_crop": mode == "shortest",
        "crop_size": square,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": config["mean"],
        "image_std": config["std"],
    }


def unusable(
    reason: str, advice: str = "Check that it is a complete CLIP or SigLIP checkpoint"
) -> ModelInvalidError:
    """Return the error for a checkpoint that cannot be used, with the reason and the next step."""
    return ModelInvalidError(
        f"This checkpoint cannot become a model directory: {reason}. {advice}.", reason=reason
    )


def _image_settings(checkpoint: Path) -> dict[str, dict[str, Any]]:
    """Yield the settings that transformers reads, in its order (nested first), then OpenCLIP's."""
    found = {}
    if nested := part(read_json(checkpoint / "processor_config.json"), "image_processor"):
        found["processor_config.json"] = dict(nested)
    if (checkpoint / "preprocessor_config.json").is_file():
        found["preprocessor_config.json"] = read_json(checkpoint / "preprocessor_config.json")
    if (checkpoint / OPEN_CLIP_CONFIG).is_file():
        config = read_json(checkpoint / OPEN_CLIP_CONFIG)
        stated = part(config, "preprocess_cfg")
        full = {key: stated.get(key) or value for key, value in _OPEN_CLIP_DEFAULTS.items()}
        tower = part(part(config, "model_cfg"), "vision_cfg")  # OpenCLIP takes the size from here
        full["size"] = tower.get("image_size") or _OPEN_CLIP_DEFAULTS["size"]
        found[OPEN_CLIP_CONFIG] = open_clip_settings(full)
    return found


def _resize_rule(size: Any) -> tuple[str, Any]:
    """Return the resize rule and the size in pixels, unchecked; `ImageSpec` checks them."""
    if isinstance(size, Mapping):
        given = {key: value for key, value in size.items() if value is not None}
        if given.keys() == {"shortest_edge"}:
            return "shortest_side", given["shortest_edge"]
    elif isinstance(size, int):
        return "shortest_side", size
    return "stretch", _square(size)


def _square(size: Any) -> Any:
    """Return the side of a square, unchecked; `ImageSpec` checks it."""
    sides = [size, size] if isinstance(size, int) else size
    if isinstance(size, Mapping):
        sides = [size.get("height"), size.get("width")]
    if not isinstance(sides, list | tuple) or len(sides) != 2 or sides[0] != sides[1]:
        raise unusable(f"its images are not square: {reprlib.repr(size)}")
    return sides[0]


def _tower(config: Mapping[str, Any], side: str) -> Mapping[str, Any]:
    """Return the configuration of one encoder.

    Old files of CLIP and its relatives also have ``text_config_dict``, which transformers then uses
    instead.
    """
    old = f"{side}_config_dict"
    has_old = config.get("model_type") in _PROJECTION_DIM and config.get(old) is not None
    return part(config, old if has_old else f"{side}_config")


def _whole(name: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        found = reprlib.repr(value)
        raise unusable(f"{name} is {found}, not a whole number from {low} to {high}")
    return value
