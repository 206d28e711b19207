"""`datumaro-embed pull`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..models import CATALOGUE
from .output import say

__all__ = ["add_parser"]


def add_parser(commands: Any) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "pull",
        help="download a model, without torch",
        description="Download a model that a hub repository holds as ONNX or OpenVINO IR.",
        epilog=f"Names: {', '.join(CATALOGUE)}.",
    )
    parser.add_argument(
        "name", metavar="NAME", help="a name from below, or the id of a hub repository, OWNER/NAME"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="model directory to make (default: where --model finds NAME)",
    )
    parser.add_argument("--revision", help="branch, tag or commit")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "fp16"))
    parser.add_argument("--overwrite", action="store_true", help="replace DIR")
    parser.set_defaults(command=_pull)


def _pull(name: str, output: Path | None, **options: Any) -> int:
    from ..models.pull import pull_model

    say([pull_model(name, output, **options)])
    return 0
