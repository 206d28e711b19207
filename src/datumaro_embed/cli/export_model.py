"""`datumaro-embed export-model`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .output import say

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "export-model",
        help="make a model directory from a checkpoint, or an INT8 one from a model",
        description="Convert a CLIP, SigLIP or OpenCLIP checkpoint to OpenVINO (needs the `export` "
        "extra), or make an INT8 model from one (needs the `quantise` extra).",
    )
    parser.add_argument(
        "source",
        metavar="SRC",
        help="checkpoint directory or Hugging Face id; for int8 also a model directory or name",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--revision", help="of a Hugging Face id")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "fp16", "int8"))
    parser.add_argument("--overwrite", action="store_true", help="replace DIR")
    int8 = parser.add_argument_group("with --precision int8")
    int8.add_argument(
        "--calibrate", metavar="PATH[:FORMAT]", help="dataset to measure activations on (required)"
    )
    int8.add_argument(
        "--calibration-items", type=int, default=300, metavar="N", help="(default: %(default)s)"
    )
    int8.add_argument(
        "--min-recall",
        type=float,
        default=0.95,
        metavar="R",
        help="refuse a model that keeps fewer of ten nearest neighbours (default: %(default)s)",
    )
    int8.add_argument("--force", action="store_true", help="write it all the same")
    parser.set_defaults(command=_export_model)


def _export_model(
    source: str,
    output: Path,
    precision: str,
    revision: str | None,
    overwrite: bool,
    **int8: Any,
) -> int:
    from ..exporting import export_model
    from ..quantising import export_int8

    options: dict[str, Any] = {"revision": revision, "overwrite": overwrite}
    if precision == "int8":
        say(export_int8(source, output, **options, **int8).lines())
    else:
        export_model(source, output, precision=precision, **options)
    say([output])
    return 0
