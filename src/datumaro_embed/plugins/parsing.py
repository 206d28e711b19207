"""The help of a transform, written as plain text that `datum` and Python's `help` both show."""

from __future__ import annotations

import argparse
import inspect
from typing import Any

__all__ = ["plain_help"]


def plain_help(plugin: type) -> dict[str, Any]:
    """Arguments for `CliPlugin.build_cmdline_parser` that print the docstring as it is written.

    Datumaro's own formatter joins lines and breaks them at ``|n`` and ``|s``, which then stand in
    the docstring for every other reader.
    """
    return {
        "description": inspect.getdoc(plugin),
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }
