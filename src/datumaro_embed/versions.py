"""Versions of the packages that a run uses, for the provenance."""

from __future__ import annotations

import platform
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


def installed_versions() -> dict[str, str]:
    """Return package name → version, including Python; missing packages are left out."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
