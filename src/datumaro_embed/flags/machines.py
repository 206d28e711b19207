"""The flags of `datumaro-embed embed` for work on many machines."""

from __future__ import annotations

import argparse

__all__ = ["add_machine_arguments"]


def add_machine_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--shard``, ``--ray`` and ``--shards``."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--shard",
        metavar="I/N",
        help="embed only share I of N, counted from 1, into the folder STORE.parts; "
        "`merge STORE.parts -o STORE` joins them. For Slurm and CI arrays: "
        "--shard $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT with --array=1-N",
    )
    where.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="embed on every node of a Ray cluster and join the parts (extra `ray`); without "
        "ADDRESS: $RAY_ADDRESS, a cluster on this machine, or a new one of this machine alone",
    )
    parser.add_argument(
        "--shards",
        type=int,
        metavar="N",
        help="with --ray, into how many parts the work is cut (default: 4 a node)",
    )
