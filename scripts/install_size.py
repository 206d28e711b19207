"""Fail where this environment has torch in it, or more than 1 GB of packages.

python -m venv fresh && fresh/bin/pip install . && fresh/bin/python scripts/install_size.py
"""

from __future__ import annotations

import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

LIMIT_MB = 1000
_OF_THE_ENVIRONMENT = {"pip", "setuptools", "wheel"}


def size_mb(folder: Path) -> float:
    """Size of all files below a folder, 10⁶ bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def main() -> int:
    """Measure, print, judge."""
    root = Path(sysconfig.get_path("purelib"))
    sizes = {
        path.name: size_mb(path)
        for path in root.iterdir()
        if path.is_dir() and path.name not in _OF_THE_ENVIRONMENT
    }
    total = sum(sizes.values())
    largest = sorted(sizes, key=lambda name: -sizes[name])[:6]
    print(f"installed: {total:.0f} MB (limit {LIMIT_MB} MB); largest:")
    for name in largest:
        print(f"  {sizes[name]:6.0f} MB  {name}")
    unwanted = [name for name in ("torch", "transformers") if find_spec(name)]
    if unwanted:
        print(f"not wanted in a runtime install: {', '.join(unwanted)}")
    return int(total > LIMIT_MB or bool(unwanted))


if __name__ == "__main__":
    sys.exit(main())
