"""Make a model directory from ONNX or OpenVINO IR files of your own."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tokenizers import Tokenizer

from ..errors import ModelInvalidError, UsageError
from ..files import link_or_copy, scratch
from ..models.catalogue import CatalogueEntry
from ..models.graph import Half, cut_out, input_shapes, openvino_core, reason_of
from ..models.making import Encoders, check_options, new_model_dir, write_model
from ..models.manifest import MAX_TOKENS, RESAMPLE_FILTERS, ImageSpec, TextSpec, checked
from ..models.onnx_files import read_onnx
from ..tally import counted
from .pull import prove

_UNKNOWN = "\U0001f408 zyqx 猫 ½"  # has words that most vocabularies lack
_SHOWN = 8
_SPANS = (0.1, 256)  # highest minus lowest number that the encoder may see


def import_model(
    images: str | Path,
    out_dir: str | Path,
    *,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
    scale: float = 1 / 255,
    resize: str = "crop",
    resize_px: int | None = None,
    resample: str = "bicubic",
    output_name: str = "",
    pool: str = "",
    features: str = "",
    text: str | Path | None = None,
    tokenizer: str | Path | None = None,
    context: int = 77,
    precision: str = "fp32",
    name: str | None = None,
    licence: str = "unknown",
    prompt_template: str = "a photo of a {}",
    overwrite: bool = False,
) -> Path:
    """Write the model directory of an image encoder, whole or not at all, and return its path.

    Raises `UsageError`, and `ModelInvalidError` if a graph or the tokenizer cannot be used, or if
    the model fails its check (see proof.py): no two vectors may be equal.

    Parameters
    ----------
    images : str or Path
        Image encoder, ``.onnx`` or ``.xml``, with one input of shape (batch, 3, size, size).
    size : int
        Side of the square that it sees, pixels.
    mean, std : three floats
        Mean and standard deviation of R, G, B, after multiplying 0 … 255 by `scale`.
    resize : {"crop", "stretch"}
        Resize the shortest side and crop the center, or stretch to the square.
    resize_px : int, optional
        With ``"crop"``: length of the shortest side; by default `size`.
    resample : str
        Pillow's filter.
    output_name : str
        Output of the image encoder, if there are several.
    pool : {"", "cls", "mean"}
        How an output of several vectors (tokens, or a map of features) becomes one: the first
        token, or the mean.
    features : {"", "first", "last"}
        For the mean: whether the output is (batch, dim, …) or (batch, …, dim).
    text, tokenizer : str or Path, optional
        Text encoder of the same vectors, and its ``tokenizer.json``.
    context : int
        Number of tokens to which texts are padded.
    precision, name, licence, prompt_template, overwrite
        As in `pull_model` and `export_model`.
    """
    check_options(precision, prompt_template)
    if (text is None) != (tokenizer is None):
        raise UsageError("A text encoder needs its tokenizer. Give ``text`` and ``tokenizer``.")
    if resize != "crop" and resize_px is not None:
        raise UsageError("``resize_px`` is for ``resize`` crop only. Leave one of them out.")
    if not 1 <= context <= MAX_TOKENS:
        raise UsageError(f"``context`` is {context}. Give 1 to {MAX_TOKENS} tokens.")
    if features and pool != "mean":
        raise UsageError("``features`` is for ``pool`` mean only. Leave it out.")
    facts = {
        "size_px": size,
        "resize": "shortest_side" if resize == "crop" else resize,
        "resize_px": size if resize_px is None else resize_px,
        "resample": resample,
        "scale": scale,
        "mean": tuple(mean),
        "std": tuple(std),
    }
    try:
        image = checked(ImageSpec, facts)
    except ValueError as error:
        raise UsageError(f"These settings of the images are impossible: {error}.") from error
    _check_levels(image)
    target = Path(out_dir)
    tokens = input_shapes(size, context)
    pixels = {"pixel_values": tokens.pop("pixel_values")}
    with new_model_dir(target, replace=overwrite) as fresh:
        half = _half(Path(images), "image_embeds", pixels, output_name, pool, features)
        texts, spec = None, None
        if text is not None and tokenizer is not None:
            texts = _half(Path(text), "text_embeds", tokens)
            if texts.dim != half.dim:
                raise _unusable(text, f"its vectors have {texts.dim} numbers, not {half.dim}")
            spec = _text_spec(Path(tokenizer), fresh / "tokenizer.json", context, texts)
        made = Encoders(
            family="image" if spec is None else "open_clip",
            images=half,
            texts=texts,
            preprocessor=_settings(image),
            image=image,
            text=spec,
            logit_scale=None,
            logit_bias=None,
        )
        write_model(
            fresh,
            made,
            precision=precision,
            name=name or target.name,
            source=Path(images).name,
            revision="",
            licence=licence,
            prompt_template=prompt_template,
        )
        prove(fresh, target.name, CatalogueEntry(knows_cats=False))
    return target


def _check_levels(image: ImageSpec) -> None:
    """Refuse a mean or standard deviation that is meant for pixels of another scale."""
    top = 255 * image.scale
    lowest, highest = _SPANS
    if all(
        0 <= mean <= top * (1 + 1e-6) and lowest <= top / std <= highest
        for mean, std in zip(image.mean, image.std, strict=True)
    ):
        return
    raise UsageError(
        f"``scale`` makes pixels of 0 to {top:g}, which does not fit a ``mean`` of {image.mean} "
        f"and a ``std`` of {image.std}. Give mean and standard deviation of the scaled pixels, or "
        "``scale`` 1 if they are of 0 to 255."
    )


def _half(
    path: Path,
    own_name: str,
    shapes: dict[str, tuple[int, ...]],
    output: str = "",
    pool: str = "",
    features: str = "",
) -> Half:
    if path.suffix not in {".onnx", ".xml"} or not path.is_file():
        raise UsageError(f"{path} is not an ONNX file or the .xml of an OpenVINO IR. Give one.")
    try:
        external: set[str] = set()
        if path.suffix == ".onnx":
            named, external = read_onnx(path)
            if gone := [name for name in sorted(external) if not (path.parent / name).is_file()]:
                raise ValueError(f"its weights are in {gone[0]!r}, which is not beside it")
        elif b"<net" in path.read_bytes():
            named = [port.any_name for port in openvino_core().read_model(path).outputs]
        else:
            raise ValueError("it is not an OpenVINO IR")
        chosen = output or (own_name if own_name in named or len(named) != 1 else named[0])
        if chosen not in named:
            more = ", …" if len(named) > _SHOWN else ""
            raise RuntimeError(
                f"it has no output {chosen!r}, but {counted(len(named), 'outputs')}: "
                f"{', '.join(named[:_SHOWN])}{more}; choose one with ``output_name``"
            )
        with _real_files(path, external) as real:
            half = cut_out(real, chosen, shapes, pool=pool, features=features)
    except (RuntimeError, ValueError) as error:
        raise _unusable(path, reason_of(error)) from error
    if not half.inputs:
        raise _unusable(path, "it has no input of pixels (batch, 3, height, width) or of tokens")
    half.graph.output(0).tensor.set_names({own_name})
    return half


@contextmanager
def _real_files(path: Path, names: Collection[str]) -> Iterator[Path]:
    """Yield a graph whose weights, the files `names`, are in its folder.

    OpenVINO refuses links out of it.
    """
    inside = [
        (path.parent / name).resolve().is_relative_to(path.parent.resolve()) for name in names
    ]
    if all(inside) or any(".." in Path(name).parts for name in names):
        yield path
        return
    with scratch() as folder:
        for name in (path.name, *names):
            link_or_copy(path.parent / name, folder / name)
        yield folder / path.name


def _text_spec(source: Path, target: Path, context: int, texts: Half) -> TextSpec:
    """Copy a tokenizer, and read from it how texts are padded and end."""
    try:
        tokenizer = Tokenizer.from_file(str(source))
    except Exception as error:  # the library raises bare Exception
        raise _unusable(source, f"it is not a tokenizer: {error}") from error
    padding = tokenizer.padding
    if padding is None or padding["direction"] != "right":
        raise _unusable(source, "it does not say how it pads texts on the right (`padding`)")
    if tokenizer.id_to_token(padding["pad_id"]) is None:
        raise _unusable(source, f"it pads with token {padding['pad_id']}, which it does not have")
    tokenizer.no_padding()
    try:
        known, _ = tokenizer.encode_batch(["a photo of a cat", _UNKNOWN])
    except Exception as error:  # the library raises bare Exception
        raise _unusable(source, f"it does not take every text: {error}") from error
    if not known.ids:
        raise _unusable(source, "it makes no tokens of 'a photo of a cat'")
    tokenizer.save(str(target))
    return TextSpec(
        context, padding["pad_id"], known.ids[-1], lower_case=False, inputs=texts.inputs
    )


def _settings(image: ImageSpec) -> dict[str, object]:
    """Return the ``preprocessor_config.json`` of an `ImageSpec`."""
    square = {"height": image.size_px, "width": image.size_px}
    crops = image.resize == "shortest_side"
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": image.resize_px} if crops else square,
        "resample": RESAMPLE_FILTERS.index(image.resample),
        "do_center_crop": crops,
        "crop_size": square,
        "do_rescale": True,
        "rescale_factor": image.scale,
        "do_normalize": True,
        "image_mean": list(image.mean),
        "image_std": list(image.std),
    }


def _unusable(path: str | Path, reason: str) -> ModelInvalidError:
    return ModelInvalidError(
        f"Cannot import {path}: {reason}. `datumaro-embed import-model --help` lists the settings.",
        path=path,
        reason=reason,
    )
