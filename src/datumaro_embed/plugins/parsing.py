"""What the transforms share on the command line: plain help, and what else `datum` was told."""

from __future__ import annotations

import argparse
import inspect
import os
import sys
from pathlib import Path
from typing import Any

from datumaro.cli.__main__ import make_parser

from datumaro_embed_bridge import runs_our_transform

from ..errors import OutputFolderError

__all__ = ["datum_folders", "plain_help", "refuse_used_output"]


def plain_help(plugin: type) -> dict[str, Any]:
    """Arguments for `CliPlugin.build_cmdline_parser` that print the docstring as it is written.

    Datumaro's own formatter joins lines and breaks them at ``|n`` and ``|s``, which then stand in
    the docstring for every other reader.
    """
    return {
        "description": inspect.getdoc(plugin),
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }


def datum_folders() -> tuple[Path, Path] | None:
    """Return the dataset that `datum transform` reads and the folder that it saves to.

    Datumaro does not tell a transform; its own parser reads the command line once more. None in a
    process that is not `datum transform -t clip_*`.
    """
    if not runs_our_transform(sys.argv):
        return None
    known = make_parser().parse_args(sys.argv[1:])
    source = Path(known.target.partition(":")[0])
    return source, Path(known.dst_dir or source)


def refuse_used_output() -> None:
    """Refuse to save a dataset that lost items over another one, or over the one that is read.

    Datumaro leaves the annotations of a subset that became empty, and images that nothing names,
    where they are: what was dropped would come back. For some formats it removes all other files.

    Raises
    ------
    OutputFolderError
    """
    folders = datum_folders()
    if folders is None:
        return
    source, out = (Path(os.path.realpath(folder)) for folder in folders)
    used = os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir()))
    if used or out.is_relative_to(source if source.is_dir() else source.parent):
        what = "is not empty" if used else f"lies in the dataset '{folders[0]}'"
        raise OutputFolderError(
            f"The output folder '{folders[1]}' {what}. Items that this transform leaves out or "
            "moves could stay there, even with --overwrite, so nothing was written. Choose a new "
            "folder outside the dataset (-o OUT).",
            path=str(folders[1]),
        )
