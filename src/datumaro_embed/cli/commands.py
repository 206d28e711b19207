"""`command` makes a function a command of `datumaro-embed`; its arguments are the decorator's."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from functools import partial
from operator import methodcaller
from typing import Any, TypeVar

from ..paths import path_given

__all__ = ["MEDIA_ROOT", "STORE", "Commands", "argument", "command"]

_Run = TypeVar("_Run", bound=Callable[..., int])

_Adders = Sequence[Callable[[ArgumentParser], Any]]

Commands = dict[str, tuple[str, str, str | None, _Adders, Callable[..., int]]]
"""Name → line in ``--help``, description, epilog, what adds arguments, and the function to run."""

argument = partial(methodcaller, "add_argument")
"""Called like `ArgumentParser.add_argument`, but of no parser yet: an argument of `command`."""

STORE = argument("store", type=path_given, metavar="STORE", help="store file or folder")
MEDIA_ROOT = argument(
    "--media-root", type=path_given, metavar="DIR", help="folder of the images, if they have moved"
)


def command(
    commands: Commands,
    name: str,
    line: str,
    description: str,
    *arguments: Callable[[ArgumentParser], Any],
    epilog: str | None = None,
) -> Callable[[_Run], _Run]:
    """Add a function to `commands`; it gets its arguments by name and returns the exit status.

    It imports heavy modules when it is called, so that the parser is made quickly.

    Parameters
    ----------
    line : str
        For the list of all commands.
    description, epilog : str
        Before and after the arguments in ``--help``.
    *arguments : callables
        Each adds one argument or several to the command's parser: what `argument` returns, and
        functions of flags.py.
    """

    def register(run: _Run) -> _Run:
        commands[name] = line, description, epilog, arguments, run
        return run

    return register
