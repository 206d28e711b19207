"""``model.json``: what a model directory holds, and the fingerprint that is its identity."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ModelInvalidError
from .values import choice, mapping, numbers, real, text, whole

__all__ = [
    "MANIFEST_NAME",
    "MODEL_FILES",
    "Golden",
    "ImageSpec",
    "ModelManifest",
    "TextSpec",
    "invalid_file",
    "load_manifest",
    "sha256_file",
    "write_manifest",
]

MANIFEST_NAME = "model.json"
FORMAT = "datumaro-embed-model"
FORMAT_VERSION = 1
MODEL_FILES = (
    "image_encoder.bin",
    "image_encoder.xml",
    "preprocessor_config.json",
    "text_encoder.bin",
    "text_encoder.xml",
    "tokenizer.json",
)
RESAMPLE_FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
RESIZE_RULES = ("shortest_side", "stretch")
TEXT_INPUTS = ("input_ids", "attention_mask")
FAMILIES = ("clip", "siglip", "open_clip")
PRECISIONS = ("fp32", "fp16", "int8")

# Several times what any published model has. Beyond them a library aborts or takes all memory.
_MAX_BYTES = 1 << 24
_MAX_SIDE_PX = 4096
_MAX_TOKENS = 1 << 14
_MAX_TOKEN_ID = (1 << 31) - 1
_MAX_DIM = 1 << 16
_MAX_PIXEL = 1e4  # of a scale, mean or deviation, whichever unit pixels are in
_MIN_STD = 1e-6
_MAX_LOGIT = 1e6


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """How an upright RGB image becomes the image encoder's input.

    Attributes
    ----------
    size_px : int
        Side of the square that the encoder sees, pixels.
    resize : str
        ``"shortest_side"`` (keep the aspect ratio) or ``"stretch"`` (to the square).
    resize_px : int
        What the shortest side is resized to, at least `size_px`; the centre is then cut out.
    resample : str
        Pillow's filter: ``"bicubic"``, ``"bilinear"``, ``"lanczos"``, …
    scale : float
        A uint8 value is multiplied by this first (1/255).
    mean, std : tuple of float
        Of R, G, B, after scaling.
    """

    size_px: int
    resize: str
    resize_px: int
    resample: str
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        choice("resize", self.resize, RESIZE_RULES)
        choice("resample", self.resample, RESAMPLE_FILTERS)
        whole("resize_px", self.resize_px, 1, _MAX_SIDE_PX)
        whole("size_px", self.size_px, 1, self.resize_px)  # what is cut out of the resized image
        real("scale", self.scale, _MIN_STD, _MAX_PIXEL)
        mean = numbers("mean", self.mean, -_MAX_PIXEL, _MAX_PIXEL)
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "std", numbers("std", self.std, _MIN_STD, _MAX_PIXEL))

    def network_input(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return what the bare graph takes for the pixels of one image.

        Returns
        -------
        array of shape (1, 3, size_px, size_px), float32
        """
        scaled = (pixels.astype(np.float32) * np.float32(self.scale) - self.mean) / self.std
        return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class TextSpec:
    """How a text becomes the text encoder's input.

    Attributes
    ----------
    context_length : int
        Tokens; shorter texts are padded to it, longer ones cut, keeping the end token.
    pad_id, eos_id : int
        Token ids.
    lower_case : bool
        Lower-case the text first (false where ``tokenizer.json`` does it itself).
    inputs : tuple of str
        Of the text encoder: ``"input_ids"`` and, where it has one, ``"attention_mask"``.
    """

    context_length: int
    pad_id: int
    eos_id: int
    lower_case: bool
    inputs: tuple[str, ...]

    def __post_init__(self) -> None:
        whole("context_length", self.context_length, 1, _MAX_TOKENS)
        whole("pad_id", self.pad_id, 0, _MAX_TOKEN_ID)
        whole("eos_id", self.eos_id, 0, _MAX_TOKEN_ID)
        if not isinstance(self.lower_case, bool):
            raise ValueError(f"lower_case is {self.lower_case!r}, not true or false")
        inputs = tuple(self.inputs) if isinstance(self.inputs, list | tuple) else ()
        if inputs not in (TEXT_INPUTS, TEXT_INPUTS[:1], TEXT_INPUTS[::-1]):
            raise ValueError(f"inputs must be {' and '.join(TEXT_INPUTS)}, or the first alone")
        object.__setattr__(self, "inputs", inputs)


@dataclass(frozen=True, slots=True)
class Golden:
    """What both encoders give for one input each, in f32 (see golden.py).

    Attributes
    ----------
    text : str
        The text encoder's input; the image encoder's is `golden.golden_pixels`.
    image_vector, text_vector : str
        Unit vectors: base64 of `dim` little-endian float16 numbers.
    """

    text: str
    image_vector: str
    text_vector: str

    @classmethod
    def from_json(cls, body: Mapping[str, Any], dim: int) -> Golden:
        """Read what `dataclasses.asdict` gave.

        Raises
        ------
        KeyError, ValueError
        """
        found = cls(**{name: text(name, body[name]) for name in cls.__slots__})
        for vector in (found.image_vector, found.text_vector):
            if len(base64.b64decode(vector, validate=True)) != 2 * dim:
                raise ValueError(f"a golden vector is not {dim} numbers of float16 in base64")
        return found


@dataclass(frozen=True, slots=True)
class ModelManifest:
    """The content of ``model.json``.

    Attributes
    ----------
    name, source, revision, licence : str
        What users call it; where its weights came from (a hub id or a directory's name), at which
        revision; the licence of the weights.
    family : str
        ``"clip"``, ``"siglip"`` or ``"open_clip"``.
    dim : int
        Length of an embedding.
    precision : str
        Of the stored weights: ``"fp32"``, ``"fp16"`` or ``"int8"``.
    image, text : ImageSpec, TextSpec
    logit_scale, logit_bias : float or None
        similarity × scale + bias is the logit that the model was trained with: of a softmax over
        texts, or (``"siglip"``) of a sigmoid for each. None where the source does not say.
    prompt_template : str
        A label's name goes where ``{}`` stands.
    files : mapping of str to str
        File name → sha256 in hex, of everything in the directory but ``model.json``.
    golden : Golden
    fidelity : mapping, optional
        Of an INT8 model: how near it is to the model it was made from (see `quantising`).
    """

    name: str
    source: str
    revision: str
    licence: str
    family: str
    dim: int
    precision: str
    image: ImageSpec
    text: TextSpec
    logit_scale: float | None
    logit_bias: float | None
    prompt_template: str
    files: Mapping[str, str]
    golden: Golden
    fidelity: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in ("name", "source", "revision", "licence", "prompt_template"):
            text(name, getattr(self, name))
        choice("family", self.family, FAMILIES)
        choice("precision", self.precision, PRECISIONS)
        whole("dim", self.dim, 1, _MAX_DIM)
        for name in ("logit_scale", "logit_bias"):
            if getattr(self, name) is not None:
                real(name, getattr(self, name), -_MAX_LOGIT, _MAX_LOGIT)
        for name, sha256 in mapping("files", self.files).items():
            if not re.fullmatch(r"[\w.-]+", name) or name in {".", ".."}:
                raise ValueError(f"it lists {reprlib.repr(name)}, which is not a file name")
            text(f"the sha256 of {name}", sha256)
        if self.fidelity is not None:
            mapping("fidelity", self.fidelity)
        if "{}" not in self.prompt_template:
            raise ValueError("prompt_template holds no {}, where a label's name goes")

    @property
    def fingerprint(self) -> str:
        """64 hex digits: sha256 over the files' sha256 and the preprocessing in ``model.json``."""
        content = {
            "files": sorted(self.files.items()),
            "image": asdict(self.image),
            "text": asdict(self.text),
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return what ``model.json`` holds."""
        body = {name: getattr(self, name) for name in self.__slots__}
        body.update(image=asdict(self.image), text=asdict(self.text), files=dict(self.files))
        body["golden"] = asdict(self.golden)
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "fingerprint": self.fingerprint,
            **body,
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> ModelManifest:
        """Read what `to_json` wrote; unknown keys are ignored.

        Raises
        ------
        KeyError, ValueError
            A key is missing, or a value cannot be what its name says.
        """
        fields = {name: body[name] for name in cls.__slots__ if name != "fidelity"}
        for kind, name in ((ImageSpec, "image"), (TextSpec, "text")):
            part = mapping(name, body[name])
            fields[name] = kind(**{k: part[k] for k in kind.__slots__})
        dim = whole("dim", body["dim"], 1, _MAX_DIM)
        fields["golden"] = Golden.from_json(mapping("golden", body["golden"]), dim)
        return cls(**fields, fidelity=body.get("fidelity"))


def load_manifest(model_dir: Path, *, verify_hashes: bool = True) -> ModelManifest:
    """Read ``model.json`` and check that the directory is complete and unchanged.

    Parameters
    ----------
    model_dir : Path
    verify_hashes : bool
        Hash every file (about 1 s per 2 GB); without it only their presence is checked.

    Raises
    ------
    ModelInvalidError
        Naming the file that is missing, damaged, or of a format not known here.
    """
    path = model_dir / MANIFEST_NAME
    body = _read_json(path)
    if body.get("format") != FORMAT or body.get("format_version") != FORMAT_VERSION:
        found = " version ".join(reprlib.repr(body.get(k)) for k in ("format", "format_version"))
        raise invalid_file(path, f"it is {found}, not {FORMAT!r} version {FORMAT_VERSION}")
    try:
        manifest = ModelManifest.from_json(body)
    except KeyError as error:
        raise invalid_file(path, f"it has no {error}") from error
    except ValueError as error:
        raise invalid_file(path, str(error)) from error
    for name in sorted({*MODEL_FILES, *manifest.files}):
        _check_file(model_dir, name, manifest.files.get(name), verify_hashes)
    if body.get("fingerprint") != manifest.fingerprint:
        raise invalid_file(path, "its fingerprint is not that of the files and settings it lists")
    return manifest


def write_manifest(model_dir: Path, manifest: ModelManifest) -> None:
    """Write ``model.json`` (sorted keys, so equal manifests are equal bytes)."""
    text = json.dumps(manifest.to_json(), indent=2, sort_keys=True, ensure_ascii=False)
    (model_dir / MANIFEST_NAME).write_text(text + "\n", encoding="utf-8")


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hex; memory stays at 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _check_file(model_dir: Path, name: str, sha256: str | None, verify_hashes: bool) -> None:
    path = model_dir / name
    if sha256 is None:
        raise invalid_file(model_dir / MANIFEST_NAME, f"it does not list {name}")
    if not path.is_file():
        raise invalid_file(path, "the file is missing")
    if verify_hashes and sha256_file(path) != sha256:
        raise invalid_file(path, "its sha256 is not the one in model.json")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise invalid_file(path, f"it is larger than {_MAX_BYTES >> 20} MiB")
        body = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise invalid_file(path, "the file is missing") from error
    except (OSError, ValueError, RecursionError) as error:  # the last: nested too deep
        raise invalid_file(path, str(error)) from error
    if not isinstance(body, dict):
        raise invalid_file(path, "it is not a JSON object")
    return body


def invalid_file(path: Path, reason: str) -> ModelInvalidError:
    """Return the error that says why a file of a model directory is refused."""
    return ModelInvalidError(
        f"Model file {path} cannot be used: {reason}. "
        "Make the model directory again with `datumaro-embed export-model` or `pull`.",
        path=path,
        reason=reason,
    )
