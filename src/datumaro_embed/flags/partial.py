"""The flag with which a command reads an unfinished store on purpose."""

from __future__ import annotations

import argparse

__all__ = ["add_partial_argument"]


def add_partial_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--partial``."""
    parser.add_argument(
        "--partial",
        action="store_true",
        help="read the rows that an unfinished run has committed so far (otherwise exit status 3)",
    )
