"""Versions of the packages that a run uses, for the provenance."""

from __future__ import annotations

import platform
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = (
    "datumaro",
    "datumaro-embed",
    "h5py",
    "numba",
    "numpy",
    "opencv-python-headless",
    "openvino",
    "pillow",
    "tokenizers",
)


@cache
def installed_versions() -> dict[str, str]:
    """Return package name → version, including Python; missing packages are left out.

    A process runs what it has imported, whatever is installed later.
    """
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
