"""Find a model's directory by its name."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from ..errors import ModelInvalidError, ModelNotFoundError
from .catalogue import CATALOGUE, nearest
from .manifest import MANIFEST_NAME

_VARIABLE = "DATUMARO_EMBED_MODELS"
_PACKAGE = Path(__file__).resolve().parents[1]
# An editable install runs from the source tree, which has the packaged models beside src/.
_BESIDE = [_PACKAGE.parents[1] / "models"] if _PACKAGE.parent.name == "src" else []
_PACKAGED = [_PACKAGE / "_models", *_BESIDE]


def resolve_model(name_or_dir: str | Path) -> Path:
    """Return a directory with a ``model.json``; nothing else is checked.

    Raises `ModelNotFoundError` if there is no such model, and `ModelInvalidError` if the path
    exists but has no ``model.json``.

    `name_or_dir`: a model directory, or a name to find in the folders of `$DATUMARO_EMBED_MODELS`,
    in the user's cache and among the packaged models (``demo``), in that order.
    """
    text = os.fspath(name_or_dir)
    path = Path(os.path.expanduser(text))
    if (path / MANIFEST_NAME).is_file():
        return path
    is_name = text not in {"", ".", ".."} and not set(text) & {"/", "\\", "\0"}
    if isinstance(name_or_dir, str) and is_name:
        for folder in _folders():
            if (folder / text / MANIFEST_NAME).is_file():
                return folder / text
    if text and os.path.lexists(path):
        raise ModelInvalidError(
            f"{text} is not a model directory: it has no {MANIFEST_NAME}. "
            "Get one with `datumaro-embed pull` or `export-model`.",
            path=path,
        )
    here = available_models()
    found = ", ".join(here) or "none"
    if entry := CATALOGUE.get(text):
        how = f"pull {text}" if entry.repo_id else f"export-model {text} -o {text}"
        way = f"Get it with `datumaro-embed {how}`, and run the command again."
    else:
        near = nearest(text, [*here, *CATALOGUE])
        way = (f"The nearest name is {near}. " if near else "") + (
            "Download a model with `datumaro-embed pull NAME`, or make one with `datumaro-embed "
            f"export-model CHECKPOINT -o DIR`. Then pass its directory, or its name if it is in "
            f"${_VARIABLE} or {user_model_dir()}."
        )
    raise ModelNotFoundError(
        f"There is no model {text!r} here (found: {found}). {way} "
        "Or try `--model demo`, a small packaged model.",
        name=text,
        available=found,
    )


def available_models() -> dict[str, Path]:
    """Return all models on this machine that a name finds: name → directory, sorted by name."""
    paths = [path.parent for folder in _folders() for path in folder.glob(f"*/{MANIFEST_NAME}")]
    found = {path.name: path for path in reversed(paths)}  # the first folder takes precedence
    return dict(sorted(found.items()))


def is_packaged(name: str) -> bool:
    """Tell whether a model of this name comes with the package."""
    return any((folder / name / MANIFEST_NAME).is_file() for folder in _PACKAGED)


def user_model_dir() -> Path:
    """Return the folder of the user's own models (it may not exist yet)."""
    return user_cache_dir() / "models"


def user_cache_dir() -> Path:
    """Return this package's folder in the user's cache (it may not exist yet)."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "datumaro-embed"


def _folders() -> Iterator[Path]:
    listed = os.environ.get(_VARIABLE, "")
    yield from (Path(part).expanduser() for part in listed.split(os.pathsep) if part)
    yield user_model_dir()
    yield from _PACKAGED
