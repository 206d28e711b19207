"""`datumaro-embed`: argument parsing; one module for each command, no logic in any.

A command's module has ``add_parser(commands)``, which describes its arguments and sets ``command``
to the function that runs it and returns the exit status. Heavy imports stay inside that function.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence

from .. import __version__
from ..errors import DatumaroEmbedError
from ..interrupts import Terminated, terminable
from . import (
    compact,
    convert,
    duplicates,
    embed,
    export_model,
    import_,
    index,
    info,
    merge,
    pull,
    repair,
    report,
    search,
    verify,
)
from .output import tell

__all__ = ["main"]

_COMMANDS = (
    *(embed, info, verify, search, index, duplicates),
    *(merge, repair, compact),
    *(report, convert, import_, pull, export_model),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0 for success, 1 failure, 130 interrupted, 143 terminated.

    Arguments that cannot be parsed end the process with 2, as argparse does.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal or pipe that cannot show every sign
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = vars(build_parser().parse_args(argv))
    command: Callable[..., int] = arguments.pop("command")
    try:
        with terminable():
            return command(**arguments)
    except DatumaroEmbedError as error:
        tell(f"datumaro-embed: {error}")
        return int(getattr(error, "exit_status", 1))
    except Terminated:
        tell("datumaro-embed: terminated")
        return 143
    except KeyboardInterrupt:
        tell("datumaro-embed: interrupted")
        return 130
    except BrokenPipeError:  # `datumaro-embed info … | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="datumaro-embed", description="CLIP embeddings of Datumaro datasets, in HDF5."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in _COMMANDS:
        module.add_parser(commands)
    return parser
