"""``model.json``: what a model directory holds, and the fingerprint that is its identity."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ModelInvalidError

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
        object.__setattr__(self, "mean", tuple(float(v) for v in self.mean))
        object.__setattr__(self, "std", tuple(float(v) for v in self.std))
        if self.resize not in RESIZE_RULES or self.resample not in RESAMPLE_FILTERS:
            raise ValueError(f"unknown resize {self.resize!r} or resample {self.resample!r}")
        if not 0 < self.size_px <= self.resize_px:
            raise ValueError(f"a crop of {self.size_px} px out of {self.resize_px} px")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0 or self.scale <= 0:
            raise ValueError("mean and std must be three numbers each, std and scale above 0")

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
        object.__setattr__(self, "inputs", tuple(self.inputs))
        if self.context_length < 1 or "input_ids" not in self.inputs:
            raise ValueError("a text encoder needs input_ids and a context of at least one token")


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
        KeyError, TypeError, ValueError
        """
        found = cls(**{name: str(body[name]) for name in cls.__slots__})
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
    fidelity : mapping, optional
        Of an INT8 model: how near it is to the model it was made from (see `quantising`).
    golden : Golden, optional
        Every directory made here has it; one made by hand may do without.
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
    fidelity: Mapping[str, Any] | None = None
    golden: Golden | None = None

    @property
    def fingerprint(self) -> str:
        """64 hex digits: sha256 over the files' sha256 and the preprocessing in ``model.json``."""
        content = {
            "files": sorted(self.files.items()),
            "image": asdict(self.image),
            "text": asdict(self.text),
        }
        return hashlib.sha256(_canonical(content)).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return what ``model.json`` holds."""
        body = {name: getattr(self, name) for name in self.__slots__}
        body.update(image=asdict(self.image), text=asdict(self.text), files=dict(self.files))
        body["golden"] = asdict(self.golden) if self.golden else None
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
        KeyError, TypeError, ValueError
            A key is missing, or a value cannot be what its name says.
        """
        optional = {"fidelity", "golden"}
        fields = {name: body[name] for name in cls.__slots__ if name not in optional}
        fields["image"] = ImageSpec(**{k: body["image"][k] for k in ImageSpec.__slots__})
        fields["text"] = TextSpec(**{k: body["text"][k] for k in TextSpec.__slots__})
        fields["files"] = {str(k): str(v) for k, v in body["files"].items()}
        if "{}" not in fields["prompt_template"] or int(fields["dim"]) < 1:
            raise ValueError("prompt_template needs {} and dim must be at least 1")
        golden = body.get("golden")
        return cls(
            **fields,
            fidelity=body.get("fidelity"),
            golden=Golden.from_json(golden, fields["dim"]) if golden is not None else None,
        )


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
        found = f"{body.get('format')!r} version {body.get('format_version')!r}"
        raise invalid_file(path, f"it is {found}, not {FORMAT!r} version {FORMAT_VERSION}")
    try:
        manifest = ModelManifest.from_json(body)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise invalid_file(path, f"{type(error).__name__}: {error}") from error
    for name in sorted({*MODEL_FILES, *manifest.files}):
        _check_file(model_dir, name, manifest.files.get(name), verify_hashes)
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
    if Path(name).name != name:
        raise invalid_file(
            model_dir / MANIFEST_NAME, f"it lists {name!r}, which is not a file name"
        )
    if not path.is_file():
        raise invalid_file(path, "the file is missing")
    if verify_hashes and sha256_file(path) != sha256:
        raise invalid_file(path, "its sha256 is not the one in model.json")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise invalid_file(path, "the file is missing") from error
    except (OSError, ValueError) as error:
        raise invalid_file(path, str(error)) from error
    if not isinstance(body, dict):
        raise invalid_file(path, "it is not a JSON object")
    return body


def invalid_file(path: Path, reason: str) -> ModelInvalidError:
    """Return the error that says why a file of a model directory is refused."""
    return ModelInvalidError(
        f"Model file {path} cannot be used: {reason}. "
        "Make the model directory again with `datumaro-embed export-model`.",
        path=path,
        reason=reason,
    )


def _canonical(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
