"""Versions of the packages that a run uses, for the provenance."""

from __future__ import annotations

import platform
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


def installed_versions() -> dict[str, str]:
    """Return package name → version, including Python; missing packages are left out."""
    packages = {package: _version(package) for package in _PACKAGES}
    there = {package: found for package, found in packages.items() if found is not None}
    return {"python": platform.python_version(), **there}


@cache
def _version(package: str) -> str | None:
    """Return what is installed; a process runs what it has imported, whatever comes later."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
