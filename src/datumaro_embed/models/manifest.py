"""``model.json``: the content of a model directory, and the fingerprint that identifies it."""

from __future__ import annotations

import hashlib
import json
import re
import reprlib
from base64 import b64decode
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from ..errors import ModelInvalidError
from ..files import FileSystem, publish

MANIFEST_NAME = "model.json"
FORMAT, FORMAT_VERSION = "datumaro-embed-model", 1
IMAGE_FILES = ("image_encoder.bin", "image_encoder.xml", "preprocessor_config.json")
TEXT_FILES = ("text_encoder.bin", "text_encoder.xml", "tokenizer.json")
MODEL_FILES = (*IMAGE_FILES, *TEXT_FILES)
RESAMPLE_FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
TEXT_INPUTS = ("input_ids", "attention_mask")
MAX_TOKENS = 1 << 14
_FAMILIES = ("clip", "siglip", "open_clip", "metaclip_2", "chinese_clip", "altclip", "jina_clip")
_MAX_BYTES = 1 << 24

# Limits are several times those of any published model. Above them, libraries abort or use up
# memory.
_Side = Annotated[int, Meta(ge=1, le=4096)]
_TokenId = Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]
_Pixel = Annotated[float, Meta(ge=-1e4, le=1e4)]  # whichever unit pixels are in
_Positive = Annotated[float, Meta(ge=1e-6, le=1e4)]
_Share = Annotated[float, Meta(ge=0, le=1)]
_Logit = Annotated[float, Meta(ge=-1e6, le=1e6)]

_T = TypeVar("_T")
_WORDS = {"int": "a whole number", "float": "a number", "str": "a string"}
_WORDS |= {"bool": "true or false", "object": "a JSON object", "array": "a list"}


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
        Length to which the shortest side is resized, at least `size_px`; then the center is
        cropped.
    resample : str
        Pillow's filter: ``"bicubic"``, ``"bilinear"``, ``"lanczos"``, …
    scale : float
        Factor for uint8 values (1/255), applied first.
    mean, std : tuple of float
        Mean and standard deviation of R, G, B, after scaling.
    """

    size_px: _Side
    resize: str
    resize_px: _Side
    resample: str
    scale: _Positive
    mean: tuple[_Pixel, _Pixel, _Pixel]
    std: tuple[_Positive, _Positive, _Positive]

    def __post_init__(self) -> None:
        _one_of("resize", self.resize, ("shortest_side", "stretch"))
        _one_of("resample", self.resample, RESAMPLE_FILTERS)
        if self.size_px > self.resize_px:
            raise ValueError(f"size_px is {self.size_px}, not at most resize_px ({self.resize_px})")

    def network_input(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Convert the pixels of one image to the input of the stored graph.

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
        Tokens; shorter texts are padded, longer ones truncated before the end token.
    pad_id, eos_id : int
        Token ids.
    lower_case : bool
        Lower-case the text first (false if ``tokenizer.json`` does it).
    inputs : tuple of str
        Inputs of the text encoder: ``"input_ids"``, and ``"attention_mask"`` if it has one.
    """

    context_length: Annotated[int, Meta(ge=1, le=MAX_TOKENS)]
    pad_id: _TokenId
    eos_id: _TokenId
    lower_case: bool
    inputs: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.inputs not in (TEXT_INPUTS, TEXT_INPUTS[:1], TEXT_INPUTS[::-1]):
            found = reprlib.repr(self.inputs)
            raise ValueError(f"inputs is {found}, not input_ids with or without attention_mask")


@dataclass(frozen=True, slots=True)
class Golden:
    """Golden vectors: the encoders' vectors of one input each, in f32 (see making.py).

    Attributes
    ----------
    image_vector : str
        Unit vector of `making.golden_pixels`: base64 of `dim` little-endian float16 numbers.
    text, text_vector : str
        A text and its vector; both empty in a model without a text encoder.
    """

    image_vector: str
    text: str = ""
    text_vector: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A model's own threshold for duplicates, and what it was measured on (`auditing.calibrate`).

    Attributes
    ----------
    threshold : float
        Minimum cosine of a pair of near-duplicates, above 0 and at most 1.
    store : str
        Name of the store that it was calibrated on, without its folder.
    n_images : int
        Number of images in that store.
    copies : dict of str to float
        Kind of alteration → share of the copies so altered that reach the threshold.
    different : float
        Share of its images whose nearest different image reaches the threshold.
    """

    threshold: Annotated[float, Meta(gt=0, le=1)]
    store: str
    n_images: Annotated[int, Meta(ge=1)]
    copies: dict[str, _Share]
    different: _Share


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelManifest:
    """The content of ``model.json``.

    Attributes
    ----------
    name, source, revision, licence : str
        Name for users; source of its weights (a hub id or a directory's name); the source's
        revision; license of the weights.
    family : str
        A family of `checkpoint.FAMILIES`, ``"open_clip"``, or ``"image"`` for any other image
        encoder.
    dim : int
        Length of an embedding.
    precision : str
        Precision of the stored weights: ``"fp32"``, ``"fp16"`` or ``"int8"``.
    text : TextSpec or None
        None if the model has no text encoder.
    logit_scale, logit_bias : float or None
        The model was trained with the logit similarity × scale + bias, in a softmax over texts or
        (``"siglip"``) in a sigmoid for each text. None if the source does not have them.
    prompt_template : str
        Text in which ``{}`` is replaced by a label's name.
    files : dict of str to str
        File name → sha256 in hex, for every file in the directory except ``model.json``.
    one_by_one : bool
        Compute one row at a time, because the graphs let the rows of a batch change each other's
        vectors. ONNX files of dynamic INT8 do: their scales are those of the whole batch.
    fidelity : dict, optional
        For an INT8 model, how closely it matches its full model (see `quantising`).
    duplicates : Calibration, optional
        Its threshold for duplicates. Like `fidelity`, it is not part of the fingerprint.
    """

    name: str
    source: str
    revision: str
    licence: str
    family: str
    dim: Annotated[int, Meta(ge=1, le=1 << 16)]
    precision: str
    image: ImageSpec
    text: TextSpec | None = None
    logit_scale: _Logit | None
    logit_bias: _Logit | None
    prompt_template: str
    files: dict[str, str]
    golden: Golden
    one_by_one: bool = False
    fidelity: dict[str, Any] | None = None
    duplicates: Calibration | None = None

    def __post_init__(self) -> None:
        _one_of("family", self.family, (*_FAMILIES, "image"))
        _one_of("precision", self.precision, ("fp32", "fp16", "int8"))
        if "{}" not in self.prompt_template:
            raise ValueError("prompt_template has no {}, the place of a label's name")
        for name in self.files:
            if not re.fullmatch(r"[\w.-]+", name) or name in {".", ".."}:
                raise ValueError(f"files lists {reprlib.repr(name)}, which is not a file name")
        for side in ("image", "text"):
            try:
                n_bytes = len(b64decode(getattr(self.golden, f"{side}_vector"), validate=True))
            except ValueError:
                n_bytes = -1
            if getattr(self, side) is not None and n_bytes != 2 * self.dim:
                raise ValueError(
                    f"golden.{side}_vector is not {self.dim} numbers of float16 in base64"
                )

    @property
    def fingerprint(self) -> str:
        """64 hex digits: sha256 of the files' sha256 and the preprocessing in ``model.json``."""
        content = {
            "files": sorted(self.files.items()),
            "image": asdict(self.image),
            "text": None if self.text is None else asdict(self.text),
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``model.json``."""
        body = asdict(self)
        if self.text is None:
            del body["text"], body["golden"]["text"], body["golden"]["text_vector"]
        header = {"format": FORMAT, "format_version": FORMAT_VERSION}
        return {**header, "fingerprint": self.fingerprint, **body}


def checked(kind: type[_T], body: Any) -> _T:
    """Read JSON values into a dataclass; unknown keys are ignored.

    Raises `ValueError`, whose one sentence names the field and says what is wrong with its value.
    """
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        # Its message is such as "Expected `int` >= 1 - at `$.dim`".
        problem, _, place = str(error).partition(" - at ")
        field, bracket, _ = place.rpartition("$")[2].strip("`.").partition("[")
        if isinstance(error.__cause__, ValueError):  # from __post_init__, and names its field
            raise ValueError(f"{field}.{problem}" if field else problem) from error
        if problem.startswith("Object missing"):
            raise ValueError(f"{field or 'it'} has no {problem.split('`')[1]!r}") from error
        value: Any = body
        for name in field.split(".") if field else ():
            value = value[name]
        wanted = problem.removeprefix("Expected ").partition(", got")[0].replace(" | null", "")
        wanted = re.sub("`([a-z]+)`", lambda found: _WORDS.get(found[1], found[1]), wanted)
        if not problem.startswith("Expected"):  # a number that does not fit a float
            wanted = "a value in range"
        link = "with a value that is not" if bracket else "not"
        told = f"{field or 'it'} is {reprlib.repr(value)}, {link} {wanted}"
        raise ValueError(told) from error


def load_manifest(model_dir: Path, *, verify_hashes: bool = True) -> ModelManifest:
    """Read ``model.json`` and check that the directory is complete and unchanged.

    Raises `ModelInvalidError`, which names the file that is missing, damaged or in an unknown
    format.

    `verify_hashes`: hash every file (about 1 s per 2 GB); otherwise only check that they exist.
    """
    path = model_dir / MANIFEST_NAME
    try:
        body = read_object(path)
        if (body.get("format"), body.get("format_version")) != (FORMAT, FORMAT_VERSION):
            found = (reprlib.repr(body.get(key)) for key in ("format", "format_version"))
            found_format = " version ".join(found)
            raise ValueError(f"it is {found_format}, not {FORMAT!r} version {FORMAT_VERSION}")
        manifest = checked(ModelManifest, body)
    except FileNotFoundError as error:
        raise invalid_file(path, "the file is missing") from error
    except ValueError as error:
        raise invalid_file(path, str(error)) from error
    needed = IMAGE_FILES if manifest.text is None else MODEL_FILES
    for name in sorted({*needed, *manifest.files}):
        if name not in manifest.files:
            raise invalid_file(path, f"it does not list {name}")
        if not (model_dir / name).is_file():
            raise invalid_file(model_dir / name, "the file is missing")
        if verify_hashes and sha256_file(model_dir / name) != manifest.files[name]:
            raise invalid_file(model_dir / name, "its sha256 is not the one in model.json")
    if body.get("fingerprint") != manifest.fingerprint:
        raise invalid_file(path, "its fingerprint is not that of the files and settings it lists")
    return manifest


def write_manifest(model_dir: Path, manifest: ModelManifest) -> None:
    """Write ``model.json`` (sorted keys, so equal manifests are equal bytes)."""
    (model_dir / MANIFEST_NAME).write_bytes(_encoded(manifest))


def save_calibration(model_dir: Path, calibration: Calibration) -> None:
    """Replace ``duplicates`` in ``model.json``; readers see the old file or the new one.

    Raises `ModelInvalidError`, and `StoreWriteError` if the directory is read-only.
    """
    manifest = load_manifest(model_dir, verify_hashes=False)
    data = _encoded(replace(manifest, duplicates=calibration))
    publish(model_dir / MANIFEST_NAME, [data], len(data), FileSystem())


def _encoded(manifest: ModelManifest) -> bytes:
    content = manifest.to_json()
    if not manifest.one_by_one:  # of nearly all models
        del content["one_by_one"]
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
    return f"{text}\n".encode("utf-8", "replace")  # a name of a file may not be UTF-8


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hex; memory stays at 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def read_object(path: Path) -> dict[str, Any]:
    """Read a file that holds a JSON object.

    Raises `FileNotFoundError`, and `ValueError` if it cannot be read, is too large, or holds
    something else.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it is larger than {_MAX_BYTES >> 20} MiB")
        body = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(body, ensure_ascii=False).encode()  # fails for a lone surrogate
    except FileNotFoundError:
        raise
    except (OSError, RecursionError) as error:  # RecursionError: nested too deeply
        raise ValueError(str(error)) from error
    if not isinstance(body, dict):
        raise ValueError("it is not a JSON object")
    return body


def invalid_file(path: Path, reason: str) -> ModelInvalidError:
    """Return the error for a file of a model directory that cannot be used."""
    return ModelInvalidError(
        f"Model file {path} cannot be used: {reason}. "
        "Recreate the model directory with `datumaro-embed export-model` or `pull`.",
        path=path,
        reason=reason,
    )


def _one_of(name: str, value: str, choices: Collection[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {reprlib.repr(value)}, not one of {', '.join(choices)}")
