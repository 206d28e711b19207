"""Changes to model directories that several test modules make."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from datumaro_embed.models import ModelManifest, sha256_file
from datumaro_embed.models.manifest import checked


def largest_constant(path: Path) -> slice:
    """Return where the largest table of numbers lies in the weights of an IR."""
    found = [data.attrib for data in ElementTree.parse(path).iter("data")]
    found = [attributes for attributes in found if "offset" in attributes]
    data = max(found, key=lambda attributes: int(attributes["size"]))
    return slice(int(data["offset"]), int(data["offset"]) + int(data["size"]))


def other_weights(path: Path) -> None:
    """Write other numbers over the largest table of a ``.bin``, in place."""
    data = np.fromfile(path, np.uint8)
    table = data[largest_constant(path.with_suffix(".xml"))]
    table[:] = np.roll(table, len(table) // 8 * 4)
    with path.open("r+b") as file:
        file.write(data.tobytes())


def sign(model: Path, **changes: Any) -> None:
    """Make model.json agree with the files as they are, and change some of it."""
    body = json.loads((model / "model.json").read_text(encoding="utf-8"))
    body["files"] = {name: sha256_file(model / name) for name in body["files"]}
    body.update(changes)
    with suppress(ValueError):  # it has no fingerprint
        body["fingerprint"] = checked(ModelManifest, body).fingerprint
    (model / "model.json").write_text(json.dumps(body), encoding="utf-8")
