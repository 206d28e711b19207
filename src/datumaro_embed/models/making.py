"""Write a model directory of two encoders, with golden vectors in its ``model.json``.

Golden vectors are the encoders' vectors of a generated image and a text. They are computed from the
files in f32 on the CPU, without any code that embeds later: neither its graph transformations nor
its use of OpenVINO.
"""

from __future__ import annotations

import base64
import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import MissingExtraError, ModelInvalidError, StoreExistsError, UsageError
from ..files import check_output, new_path
from ..vectors import unit_rows
from .graph import Half, compile_f32, n_known_tokens, openvino_core, run_f32, save_graph
from .manifest import (
    IMAGE_FILES,
    MANIFEST_NAME,
    MODEL_FILES,
    Golden,
    ImageSpec,
    ModelManifest,
    TextSpec,
    sha256_file,
    write_manifest,
)
from .tokenizers import TextTokenizer, highest_token

NOTICES = ("NOTICE*", "LICENSE*", "LICENCE*")  # patterns of files that go with the weights
PRECISIONS = ("fp32", "fp16")
_TEXT = "a photo of a cat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoders:
    """The encoders of a checkpoint and their facts for ``model.json``.

    Attributes
    ----------
    texts : Half or None
        None for an image-only model.
    preprocessor : mapping
        Content of ``preprocessor_config.json``.

    See `ModelManifest` for the other attributes.
    """

    family: str
    images: Half
    texts: Half | None
    preprocessor: Mapping[str, Any]
    image: ImageSpec
    text: TextSpec | None
    logit_scale: float | None
    logit_bias: float | None


def check_options(precision: str, prompt_template: str) -> None:
    """Check the user's choices for a model directory."""
    if precision not in PRECISIONS or "{}" not in prompt_template:
        raise UsageError(
            f"``precision`` is {precision!r} and must be one of {', '.join(PRECISIONS)}; the "
            f"prompt template is {prompt_template!r} and must contain {{}}. Change the wrong one."
        )


def need_extra(doing: str, extra: str, *packages: str) -> None:
    """Raise MissingExtraError, with the pip command, unless the packages are installed."""
    for package in packages:
        try:
            found = importlib.util.find_spec(package)
        except ModuleNotFoundError:  # the parent `a` of a package `a.b` is missing
            found = None
        if found is None:
            raise MissingExtraError(
                f"{doing} needs {package.partition('.')[0]}, which is not installed. "
                f"Run: pip install 'datumaro-embed[{extra}]'",
                name=package,
            )


@contextmanager
def new_model_dir(out_dir: Path, *, replace: bool) -> Iterator[Path]:
    """Yield an empty folder that becomes `out_dir` when the block succeeds (see `new_path`).

    Raises the errors of `check_model_dir`, before the block and after it, and `ModelInvalidError`
    without the folder's name, which is gone then.
    """
    check_model_dir(out_dir, replace=replace)
    with new_path(out_dir, directory=True, replace=replace, remedy="--overwrite") as fresh:
        try:
            yield fresh
        except ModelInvalidError as error:
            if str(fresh) not in str(error):
                raise
            told = str(error).replace(f"{fresh}/", "").replace(str(fresh), "made here")
            raise ModelInvalidError(
                f"'{out_dir}' was not made: {told.partition('. ')[0]}. Check the settings that "
                "were given, and the files that the model is made of.",
                path=out_dir,
            ) from error
        check_model_dir(out_dir, replace=replace)


def check_model_dir(out_dir: Path, *, replace: bool) -> None:
    """Refuse an output that exists; with `replace`, a directory with files that no model has.

    Raises `StoreExistsError`, `OutputFolderError`.
    """
    if not (replace and out_dir.is_dir()):
        check_output(out_dir, remedy="--overwrite")
        return
    own = {MANIFEST_NAME, *MODEL_FILES}
    names = sorted(path.name for path in out_dir.iterdir() if path.name not in own)
    if others := [name for name in names if not any(fnmatch(name, kind) for kind in NOTICES)]:
        raise StoreExistsError(
            f"'{out_dir}' has files that do not belong to a model ({', '.join(others[:3])}"
            f"{', …' if len(others) > 3 else ''}), and --overwrite would remove them. Choose "
            "another path, or remove them yourself.",
            path=str(out_dir),
        )


def write_model(folder: Path, made: Encoders, *, precision: str, **facts: Any) -> None:
    """Write a model directory; for texts, its ``tokenizer.json`` must already exist.

    Raises `ModelInvalidError` if the tokenizer has ids that the text encoder does not know.

    `facts`: `name`, `source`, `revision`, `licence` and `prompt_template` of the `ModelManifest`.
    """
    if made.texts is not None:
        n_known = n_known_tokens(made.texts.graph)
        highest = highest_token(folder / "tokenizer.json")
        if n_known is not None and highest >= n_known:
            raise ModelInvalidError(
                f"The tokenizer of {facts['source']} is another model's: it has token ids up to "
                f"{highest}, but the text encoder only those up to {n_known - 1}. Use the "
                "tokenizer that the text encoder was trained with.",
                source=facts["source"],
            )
    for half, name in ((made.images, "image_encoder.xml"), (made.texts, "text_encoder.xml")):
        if half is not None:
            save_graph(half.graph, folder / name, compress_to_fp16=precision == "fp16")
    preprocessor = json.dumps(made.preprocessor, indent=2, sort_keys=True) + "\n"
    (folder / "preprocessor_config.json").write_text(preprocessor, encoding="utf-8")

    # Does an encoder let the rows of a batch change each other's vectors? Six inferences tell.
    drawn = golden_pixels(made.image.size_px)
    pictures = (drawn, drawn // 4 + 96)  # the second has a quarter of the contrast
    pixels = np.concatenate([made.image.network_input(one) for one in pictures])
    one_by_one = _mixes(folder / "image_encoder.xml", {"pixel_values": pixels})
    if made.text is not None and not one_by_one:
        tokens = _tokens(folder, made.text, (_TEXT, "two dogs, and a red car"))
        one_by_one = _mixes(folder / "text_encoder.xml", tokens)

    files = IMAGE_FILES if made.text is None else MODEL_FILES
    manifest = ModelManifest(
        **facts,
        family=made.family,
        dim=made.images.dim,
        precision=precision,
        image=made.image,
        text=made.text,
        logit_scale=made.logit_scale,
        logit_bias=made.logit_bias,
        files={file: sha256_file(folder / file) for file in files},
        golden=make_golden(folder, made.image, made.text),
        one_by_one=one_by_one,
    )
    write_manifest(folder, manifest)


def golden_pixels(size_px: int) -> npt.NDArray[np.uint8]:
    """Return the generated image: pixel (y, x) of channel c is ((x XOR y) · (c + 1)) mod 256.

    Returns
    -------
    array of shape (size_px, size_px, 3), uint8
    """
    y, x, channel = np.ogrid[:size_px, :size_px, :3]
    drawn: npt.NDArray[np.uint8] = (((x ^ y) * (channel + 1)) % 256).astype(np.uint8)
    return drawn


def golden_vector(encoded: str) -> npt.NDArray[np.float32]:
    """Return a vector of `Golden` as a unit array of shape (dim,)."""
    vector: npt.NDArray[np.float32] = unit_rows(
        np.frombuffer(base64.b64decode(encoded), "<f2")[None]
    )[0]
    return vector


def make_golden(model_dir: Path, image: ImageSpec, text: TextSpec | None) -> Golden:
    """Compute the golden vectors of a model directory's files: about 2 s for ViT-B/32.

    Raises OpenVINO's `RuntimeError`.
    """
    pixels = image.network_input(golden_pixels(image.size_px))
    image_vector = _run(model_dir / "image_encoder.xml", {"pixel_values": pixels})
    if text is None:
        return Golden(image_vector)
    tokens = _tokens(model_dir, text, [_TEXT])
    return Golden(image_vector, _TEXT, _run(model_dir / "text_encoder.xml", tokens))


def _mixes(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> bool:
    """Compare the vectors of a batch with those of its rows among zeros, which have equal bits."""
    compiled = compile_f32(_fixed(path, arrays))
    together = compiled(dict(arrays))[0].copy()
    for i, row in enumerate(together):
        alone = {name: np.zeros_like(rows) for name, rows in arrays.items()}
        for name, rows in arrays.items():
            alone[name][i] = rows[i]
        if not np.array_equal(compiled(alone)[0][i], row):
            return True
    return False


def _tokens(
    model_dir: Path, text: TextSpec, texts: Sequence[str]
) -> dict[str, npt.NDArray[np.int64]]:
    ids, mask = TextTokenizer(model_dir / "tokenizer.json", text)(texts)
    tokens = {"input_ids": ids, "attention_mask": mask}
    return {name: tokens[name] for name in text.inputs}


def _run(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    rows = unit_rows(run_f32(_fixed(path, arrays), arrays))
    return base64.b64encode(rows[0].astype("<f2").tobytes()).decode("ascii")


def _fixed(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> Any:
    """Read a graph for inputs of exactly these shapes."""
    model = openvino_core().read_model(path)
    model.reshape({name: list(array.shape) for name, array in arrays.items()})
    return model
