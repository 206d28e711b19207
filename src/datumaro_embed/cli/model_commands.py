"""`datumaro-embed pull` and `export-model`."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..flags import add_output_argument
from ..models import CATALOGUE
from .console import say


def _describe_pull(parser: ArgumentParser) -> Callable[..., int]:
    parser.description = "Download a model that a hub repository provides as ONNX or OpenVINO IR."
    parser.epilog = f"Names: {', '.join(CATALOGUE)}."
    add = parser.add_argument
    add("name", metavar="NAME", help="a name from the list below, or a hub repository, OWNER/NAME")
    add_output_argument(
        parser,
        "DIR",
        required=False,
        help="model directory to create (default: the one that `--model NAME` looks in)",
    )
    add("--revision", help="branch, tag or commit")
    add(
        "--precision",
        default="fp32",
        choices=("fp32", "fp16"),
        help="precision of the weights (default: %(default)s)",
    )
    add("--overwrite", action="store_true", help="replace DIR")
    return _pull


def _pull(name: str, output: Path | None, **options: Any) -> int:
    from ..models.pull import pull_model

    return say([pull_model(name, output, **options)])


def _describe_export_model(parser: ArgumentParser) -> Callable[..., int]:
    parser.description = (
        "Convert a CLIP, SigLIP or OpenCLIP checkpoint to OpenVINO (requires the `export` extra), "
        "or make an INT8 model from an existing one (requires the `quantise` extra)."
    )
    add = parser.add_argument
    add(
        "source",
        metavar="SRC",
        help="checkpoint directory or Hugging Face id; for int8 also a model directory or name",
    )
    add_output_argument(parser, "DIR", help="model directory to create")
    add("--revision", help="revision of a Hugging Face id")
    add(
        "--precision",
        default="fp32",
        choices=("fp32", "fp16", "int8"),
        help="precision of the weights (default: %(default)s)",
    )
    add("--overwrite", action="store_true", help="replace DIR")
    add = parser.add_argument_group("with --precision int8").add_argument
    add("--calibrate", metavar="PATH[:FORMAT]", help="dataset to calibrate on (required)")
    add(
        "--calibration-items",
        type=int,
        default=300,
        metavar="N",
        help="number of images to calibrate on (default: %(default)s)",
    )
    add(
        "--min-recall",
        type=float,
        default=0.95,
        metavar="R",
        help="minimum share of the ten nearest neighbors that the INT8 model must keep "
        "(default: %(default)s)",
    )
    add("--force", action="store_true", help="write the model even if it keeps a smaller share")
    return _export_model


def _export_model(source: str, output: Path, precision: str, **options: Any) -> int:
    from ..exporting import export_model
    from ..quantising import export_int8

    if precision == "int8":
        say(export_int8(source, output, **options).lines())
    else:
        kept = {name: options[name] for name in ("revision", "overwrite")}
        export_model(source, output, precision=precision, **kept)
    return say([output])


COMMANDS = {
    "pull": ("download a model, without torch", _describe_pull),
    "export-model": ("make a model from a checkpoint, or an INT8 model", _describe_export_model),
}
