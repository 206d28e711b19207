"""The folders that the examples read and write."""

from __future__ import annotations

import argparse
from pathlib import Path

SAMPLE = Path(__file__).parents[1] / "sample_data"


def folder() -> Path:
    """Return the folder given by --folder, and create it if it does not exist."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=Path("example_output"))
    chosen: Path = parser.parse_args().folder
    chosen.mkdir(parents=True, exist_ok=True)
    return chosen
