"""The traced encoders of a checkpoint, and their comparison with the checkpoint's library."""

from __future__ import annotations

import logging
import tempfile
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..encoders.preprocess import preprocess
from ..errors import ModelInvalidError
from ..models.graph import Half, cut_out
from ..models.making import Encoders
from ..models.tokenizers import TextTokenizer
from ..vectors import unit_rows

_LEAST_COSINE = 0.9999  # torch and OpenVINO differ in the seventh digit in f32
_TEXTS = (
    "",
    " ",
    "a photo of a cat",
    "A Photo of a CAT, two DOGS & one (red) Ball!",
    "Don't [stop] {now} <3 http://a.b/c?d=e#f_g state-of-the-art; 50% off: $5.00, 2026-11-23",
    "tab\tnew\nline  and   blanks ",
    "naïve CAFÉ Ærøskøbing straße ΑΣΣΟΣ İstanbul e\u0301",
    "猫の写真 사진 Фотография صورة תמונה ภาพ चित्र 🐈 👩‍👩‍👧 🇩🇰 ½ ² ™ … —",
    "“Quoted” ‘Single’ ＡＢＣ ﬁne Ⅳ",
    "A word that comes again " * 60,
    "x" * 500,
)
_SIZES = ((64, 64), (37, 91), (120, 33), (301, 200), (199, 333), (500, 77), (20, 21), (613, 640))
_LEVELS = 2  # tolerance of 255 levels: torchvision's and Pillow's filters round differently


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced(Encoders):
    """Both encoders of a checkpoint, and its library's functions that prepare their inputs.

    Attributes
    ----------
    reference_tokens : callable
        Texts → ``input_ids`` (and ``attention_mask``), of shape (n_texts, context_length).
    reference_pixels : callable
        An RGB image → the image encoder's input, of shape (3, size_px, size_px).
    """

    reference_tokens: Callable[[Sequence[str]], Mapping[str, Any]]
    reference_pixels: Callable[[Image.Image], Any]


def logits(model: Any) -> dict[str, float]:
    """Return `logit_scale` and `logit_bias` of a torch model."""
    bias = getattr(model, "logit_bias", None)
    return {
        "logit_scale": float(model.logit_scale.detach().exp().item()),
        "logit_bias": 0.0 if bias is None else float(bias.detach().item()),
    }


@contextmanager
def quiet() -> Iterator[None]:
    """Hide the tracers' warnings and progress bars, on which a user cannot act."""
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


@contextmanager
def refused(folder: Path, part: str = "") -> Iterator[None]:
    """Convert the various errors of torch's libraries for damaged files to `not_exportable`."""
    try:
        yield
    except ImportError:  # a missing extra
        raise
    except Exception as error:
        what = part or f"{type(error).__name__}: "
        raise not_exportable(folder.name, f"{what}{error}") from error


def trace_half(
    model: Any,
    run: Callable[..., Any],
    shapes: Mapping[str, Sequence[int]],
    output: str,
    source: str,
    *,
    vocab_size: int,
    pad_id: int,
) -> Half:
    """Trace one encoder of a torch model, and compare the graph with torch on two rows.

    Raises `ModelInvalidError` if the vectors differ.

    Parameters
    ----------
    model : torch.nn.Module
    run : callable
        The model and one tensor for each input → vectors.
    shapes : mapping of str to shape
        The inputs, in the order of `run`.
    output : str
        Name for the graph's output.
    source : str
        The checkpoint's name, for the error.
    vocab_size, pad_id : int
        Tokens are random numbers below the first; the second row ends with the other.
    """
    import openvino as ov
    import torch

    class Encoder(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, first: torch.Tensor, second: torch.Tensor | None = None) -> Any:
            return run(self.model, first, *(() if second is None else (second,)))

    arrays = example_inputs(shapes, vocab_size, pad_id=pad_id)
    example = tuple(torch.from_numpy(array) for array in arrays.values())
    with quiet(), torch.no_grad(), tempfile.TemporaryDirectory(prefix="datumaro-embed-") as scratch:
        expected = run(model, *example).numpy()
        graph = ov.convert_model(Encoder(), example_input=example)
        for port, name in zip(graph.inputs, shapes, strict=True):
            port.get_tensor().set_names({name})
        graph.output(0).get_tensor().set_names({output})
        graph.reshape({name: ov.PartialShape(list(shape)) for name, shape in shapes.items()})
        path = Path(scratch) / "half.xml"
        ov.save_model(graph, path, compress_to_fp16=False)
        del graph
        half = cut_out(path, output, shapes)
    check_half(half, arrays, expected, source)
    return half


def use_traceable_mask(model: Any) -> None:
    """Give a model of transformers another mask of attention while it is traced.

    During a trace, lengths are tensors, which transformers 5.5 takes for positions and fails.
    """
    import torch
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import sdpa_mask

    def mask(*, kv_length: Any, attention_mask: Any, mask_function: Any, **given: Any) -> Any:
        if not torch.jit.is_tracing():
            given |= {"attention_mask": attention_mask, "mask_function": mask_function}
            return sdpa_mask(kv_length=kv_length, **given)
        at, zero = torch.arange(kv_length), torch.tensor(0)
        allowed = mask_function(zero, zero, at[:, None], at[None, :])  # causal, or all
        return allowed & attention_mask[:, None, None, :].bool()

    AttentionInterface.register("traceable", sdpa_attention_forward)
    AttentionMaskInterface.register("traceable", mask)
    model.set_attn_implementation("traceable")


def example_inputs(
    shapes: Mapping[str, Sequence[int]], vocab_size: int, *, pad_id: int | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Return two rows for every input in `shapes`: noise or random tokens.

    With `pad_id`, the second row ends with padding.
    """
    rng = np.random.default_rng(0)
    found: dict[str, npt.NDArray[Any]] = {}
    for name, (_, *shape) in shapes.items():
        if name == "pixel_values":
            found[name] = rng.standard_normal((2, *shape)).astype(np.float32)
        elif name == "input_ids":
            found[name] = rng.integers(0, vocab_size, (2, *shape))
        else:
            found[name] = np.ones((2, *shape), np.int64)
    if pad_id is not None:
        padding = {"input_ids": pad_id, "attention_mask": 0}
        for name in padding.keys() & found.keys():
            found[name][1, -(-shapes[name][1] // 2) :] = padding[name]
    return found


def check_half(
    half: Half,
    arrays: Mapping[str, npt.NDArray[Any]],
    expected: npt.NDArray[np.float32],
    source: str,
) -> None:
    """Check that an encoder's graph gives the same vectors as torch.

    Raises `ModelInvalidError` if they differ: the trace is wrong, and searches would silently be
    wrong too.
    """
    found = unit_rows(half.run(arrays))
    cosine = float(np.einsum("ij,ij->i", found, unit_rows(expected)).min())
    if not cosine >= _LEAST_COSINE:
        raise not_exportable(
            source,
            f"its traced {'/'.join(half.inputs)} encoder gives other vectors than torch (cosine "
            f"{cosine:.4f}); try again, or try other versions of torch and optimum-intel",
        )


def check_preparation(traced: Traced, tokenizer: Path, source: str) -> None:
    """Check that tokens and pixels are the same as in the checkpoint's library.

    Raises `ModelInvalidError` if they differ: every vector would silently be wrong.
    """
    assert traced.text is not None
    ours = TextTokenizer(tokenizer, traced.text)(_TEXTS)
    theirs = traced.reference_tokens(_TEXTS)
    for name, found in zip(("input_ids", "attention_mask"), ours, strict=True):
        if name not in traced.text.inputs:
            continue
        expected = np.asarray(theirs[name])
        for text, mine, other in zip(_TEXTS, found, expected, strict=True):
            if not np.array_equal(mine, other):
                at = int(np.flatnonzero(mine != other)[0]) if mine.shape == other.shape else 0
                raise not_exportable(
                    source,
                    f"its tokenizer.json gives other {name} for {text[:60]!r} than its library's "
                    f"tokenizer: from token {at} on {mine[at : at + 6].tolist()}, "
                    f"not {other[at : at + 6].tolist()}",
                )
    rng = np.random.default_rng(0)
    for i, (width, height) in enumerate(_SIZES):  # smooth and noisy images
        shape = (height, width, 3) if i % 2 else (5, 7, 3)
        noise = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
        image = noise.resize((width, height), Image.Resampling.BICUBIC)
        off = _levels_apart(image, traced)
        if not off <= _LEVELS:
            raise not_exportable(
                source,
                f"an image of {image.width} x {image.height} px is prepared differently from its "
                f"library: values differ by up to {off:.0f} of 255",
            )


def not_exportable(source: str, reason: str) -> ModelInvalidError:
    """Return the one-line error for a checkpoint that cannot be exported."""
    reason = textwrap.shorten(reason, 600, placeholder=" …")
    return ModelInvalidError(
        f"Cannot export {source}: {reason}. Pass a checkpoint directory of CLIP, SigLIP or "
        "OpenCLIP (configuration, weights, tokenizer) or its hub id.",
        source=source,
        reason=reason,
    )


def _levels_apart(image: Image.Image, traced: Traced) -> float:
    """Return the largest difference of a pixel from the library's, in 8-bit levels.

    transformers crops the center at (side - size) // 2; torchvision, OpenAI and this package at
    round((side - size) / 2). So the library's crop may start one pixel earlier.
    """
    spec = traced.image
    theirs = np.asarray(traced.reference_pixels(image), np.float64).transpose(1, 2, 0)
    theirs = (theirs * np.array(spec.std) + np.array(spec.mean)) / spec.scale
    ours = preprocess(image, spec).astype(np.float64)
    if ours.shape != theirs.shape:
        return np.inf
    n = spec.size_px
    cuts = [int(spec.resize_px * side / min(image.size)) - n for side in reversed(image.size)]
    differs = [spec.resize == "shortest_side" and cut % 4 == 3 for cut in cuts]
    shifts = product(*(range(1 + differ) for differ in differs))
    return min(float(np.abs(ours[: n - y, : n - x] - theirs[y:, x:]).max()) for y, x in shifts)
