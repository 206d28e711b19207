"""From a model's name to its directory: path, environment, user cache, packaged models."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from ..errors import ModelInvalidError, ModelNotFoundError
from .manifest import MANIFEST_NAME

__all__ = ["available_models", "resolve_model", "user_cache_dir", "user_model_dir"]

_VARIABLE = "DATUMARO_EMBED_MODELS"


def resolve_model(name_or_dir: str | Path) -> Path:
    """Return a directory with a ``model.json``; nothing else is checked.

    Parameters
    ----------
    name_or_dir : str or Path
        A model directory, or a name that is looked for in the folders of `$DATUMARO_EMBED_MODELS`,
        in the user's cache and among the packaged models (``demo``), in that order.

    Raises
    ------
    ModelNotFoundError
        Nothing of that name; the message says how to get one.
    ModelInvalidError
        The path exists but holds no ``model.json``.
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
    if text and not is_name and path.exists():
        raise ModelInvalidError(
            f"{text} is not a model directory: it holds no {MANIFEST_NAME}. "
            "Make one with `datumaro-embed export-model CHECKPOINT -o DIR`.",
            path=path,
        )
    found = ", ".join(available_models()) or "none"
    raise ModelNotFoundError(
        f"There is no model {text!r} here (found: {found}). Download one with "
        "`datumaro-embed pull NAME`, or make one with `datumaro-embed export-model CHECKPOINT "
        f"-o DIR`, and pass its directory, or the name of one in ${_VARIABLE} or "
        f"{user_model_dir()}; or try `--model demo`, a small packaged model.",
        name=text,
        available=found,
    )


def available_models() -> dict[str, Path]:
    """Return every model that a name finds here: name → directory, sorted by name."""
    paths = [path.parent for folder in _folders() for path in folder.glob(f"*/{MANIFEST_NAME}")]
    return dict(sorted((path.name, path) for path in {p.name: p for p in reversed(paths)}.values()))


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
    package = Path(__file__).resolve().parents[1]
    yield package / "_models"
    # An editable install runs from the source tree, where the packaged models lie beside src/.
    if package.parent.name == "src":
        yield package.parents[1] / "models"
