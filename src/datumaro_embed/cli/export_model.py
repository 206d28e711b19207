"""`datumaro-embed export-model`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "export-model",
        help="make a model directory from a Hugging Face checkpoint",
        description="Convert a CLIP checkpoint to OpenVINO. Needs the `export` extra.",
    )
    parser.add_argument("source", metavar="SRC", help="checkpoint directory or Hugging Face id")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--revision", help="of a Hugging Face id")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "fp16"))
    parser.set_defaults(command=_export_model)


def _export_model(source: str, output: Path, revision: str | None, precision: str) -> int:
    from ..models.export import export_model

    print(export_model(source, output, revision=revision, precision=precision))
    return 0
