"""What the explorer runs in a process of its own: `python -m datumaro_embed.page.worker NAME JSON`.

An audit, a map or an export takes gigabytes for a while, and processors for minutes; the page must
not wait for them, nor keep their memory. Every line on stdout is a JSON object: how far it is, then
``result`` or ``error``.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..auditing import audit
from ..errors import DatumaroEmbedError
from ..findings import apply_to_path
from ..processes import WAITING
from ..store import open_store
from .maps import laid_out, umap

_NICENESS = 10  # the page goes first


def make_findings(store: str, media_root: str | None, out: str) -> int:
    """Audit a store, write the findings to a new file and return their number."""
    found = audit(store, media_root=media_root, notify=_tell)
    found.write(Path(out))
    return len(found)


def carry_out(
    findings: str, dataset: str, out: str, form: str | None, dry_run: bool
) -> dict[str, Any]:
    """Apply a findings file to a dataset; return the plan, a line each, and what was verified."""
    _tell("applying", 0, 0)
    done = apply_to_path(dataset, Path(findings), Path(out), form=form, dry_run=dry_run)
    return {"plan": [*done.planned], "verified": done.verified}


def lay_out(store: str, of: str, out: str) -> str:
    """Write the UMAP of a table's vectors, (n, 2) float32 in [-1, 1], in row order."""
    import numpy as np

    _tell("UMAP", 0, 0)
    with open_store(store) as opened:
        _, points = laid_out(opened.table(of), umap)
    np.save(out, points)
    return out


def _tell(note: str, done: int, total: int) -> None:
    print(json.dumps({"note": note, "done": done, "total": total}), flush=True)


def _end_with_parent() -> None:
    """Wait until the explorer is gone, however it went."""
    sys.stdin.read()
    os._exit(1)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "make_findings": make_findings,
    "carry_out": carry_out,
    "lay_out": lay_out,
}


def main(name: str, arguments: str) -> None:
    """Call one function, and print what it returns."""
    threading.Thread(target=_end_with_parent, name=WAITING, daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    try:
        answer = {"result": FUNCTIONS[name](**json.loads(arguments))}
    except DatumaroEmbedError as error:
        answer = {"error": error.with_flags()}  # the page shows the command
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
