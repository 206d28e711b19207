"""OpenVINO's cache of compiled models, in the user's cache directory, each entry with its sha256.

OpenVINO does not check what it loads: a flipped bit in a cached model gives other vectors and no
error (measured with 2026.4 on CPU). So an entry is used only while its files are those that were
written, and it is published by one rename.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from ..files import workspace
from ..models import sha256_file, user_cache_dir

MAX_BYTES = 4 * 2**30
_SUMS = "sha256.json"


def cache_key(facts: Mapping[str, Any]) -> str:
    """Return the name of an entry: equal only where model, device, options and version are."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


@contextmanager
def cache_folder(key: str) -> Iterator[Path | None]:
    """Yield OpenVINO's ``CACHE_DIR`` for one compilation.

    Parameters
    ----------
    key : str
        Of `cache_key`.

    Yields
    ------
    Path or None
        A folder with the entry, an empty one that becomes the entry when the block succeeds, or
        None where the cache cannot be written.

    Notes
    -----
    Least recently used entries are removed beyond `MAX_BYTES`. Any number of processes may use the
    cache at the same time.
    """
    root = user_cache_dir() / "compiled"
    entry = root / key
    if _is_whole(entry):
        with suppress(OSError):
            os.utime(entry)
        yield entry
        return
    with ExitStack() as stack:
        try:
            root.mkdir(parents=True, exist_ok=True)
            fresh = stack.enter_context(workspace(entry)) / "new"
            fresh.mkdir()
        except OSError:
            yield None
            return
        yield fresh
        with suppress(OSError):  # a full disk must not end a run
            if sums := _sums(fresh):
                (fresh / _SUMS).write_text(json.dumps(sums), encoding="utf-8")
                shutil.rmtree(entry, ignore_errors=True)  # damaged, or another process' just now
                fresh.rename(entry)
            _prune(root)


def _is_whole(entry: Path) -> bool:
    try:
        sums = json.loads((entry / _SUMS).read_text(encoding="utf-8"))
        return bool(sums) and sums == _sums(entry)
    except (OSError, ValueError):
        return False


def _sums(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.iterdir() if path.name != _SUMS)
    return {path.name: sha256_file(path) for path in files}


def _prune(root: Path) -> None:
    entries = [path for path in root.iterdir() if not path.name.startswith(".")]
    entries.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    total = 0
    for entry in entries:
        total += sum(file.stat().st_size for file in entry.iterdir())
        if total > MAX_BYTES:
            shutil.rmtree(entry, ignore_errors=True)
