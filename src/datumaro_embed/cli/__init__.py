"""`datumaro-embed`: argument parsing, without other logic.

Each function with the decorator `commands.command` is a command, in the order in which ``--help``
lists them. It imports the heavy modules itself and returns the exit status.
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
from ..logs import flags_in_warnings, plain_warnings
from . import everyday_commands, model_commands, operator_commands
from .console import tell

__all__ = ["GROUPS", "build_parser", "main"]

GROUPS = {
    "everyday commands": everyday_commands.COMMANDS,
    "operator tools": operator_commands.COMMANDS,
    "models": model_commands.COMMANDS,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0 for success, 1 failure, 130 interrupted, 143 terminated.

    If the arguments cannot be parsed, argparse ends the process with status 2.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # its encoding may lack some characters
        sys.stdout.reconfigure(errors="backslashreplace")
    words = sys.argv[1:] if argv is None else argv
    arguments = vars(build_parser(*words[:1]).parse_args(words))
    command: Callable[..., int] = arguments.pop("command")
    try:
        with terminable(), plain_warnings(), flags_in_warnings():
            return command(**arguments)
    except DatumaroEmbedError as error:
        tell(f"datumaro-embed: {error.with_flags()}")
        return int(getattr(error, "exit_status", 1))
    except Terminated:
        tell("datumaro-embed: terminated")
        return 143
    except KeyboardInterrupt:
        tell("datumaro-embed: interrupted")
        return 130
    except BrokenPipeError:  # the reader has stopped, as in `datumaro-embed info … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of all commands, or of one; its help lists them by group."""
    listing = "".join(
        f"\n\n{title}:\n" + "\n".join(f"  {name:<14}{line}" for name, (line, *_) in group.items())
        for title, group in GROUPS.items()
    )
    parser = argparse.ArgumentParser(
        prog="datumaro-embed",
        usage="%(prog)s [-h] [--version] COMMAND ...",
        description=f"CLIP embeddings of Datumaro datasets, in HDF5.{listing}",
        epilog="`datumaro-embed COMMAND --help` describes one command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(
        prog=parser.prog, metavar="COMMAND", required=True, help=argparse.SUPPRESS
    )
    for group in GROUPS.values():
        for name, (_, description, epilog, arguments, run) in group.items():
            command = commands.add_parser(name, description=description, epilog=epilog)
            if only in (None, name):
                command.set_defaults(command=run)
                for add in arguments:
                    add(command)
    return parser
