"""The manifest of a store directory: its list of shards. What it does not name is not there.

    X/  lock  manifest-0.json  next-0.json  shards/0-000001.h5 …

``manifest-WRITER.json`` is a finished store, ``next-WRITER.json`` the run that will replace it.
Both are one canonical JSON object that carries its own SHA-256, replaced by atomic rename.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import StoreForeignError
from ..records import ItemKey
from .encoding import decode_json, encode_json
from .files import FileSystem, open_regular, publish, read_errors
from .rows import corrupt
from .schema import EMBEDDING_DTYPES, MAX_ATTRIBUTE_BYTES, MAX_DIM, MAX_JSON_BYTES
from .settings import fits

__all__ = [
    "LOCK_NAME",
    "MANIFEST_FORMAT",
    "SHARD_FOLDER",
    "Manifest",
    "Part",
    "fit_together",
    "is_shard_name",
    "manifest_files",
    "manifest_path",
    "read_manifest",
    "shard_name",
    "write_manifest",
]

MANIFEST_FORMAT = "datumaro-embed-manifest"
MANIFEST_VERSION = 1
SHARD_FOLDER = "shards"
LOCK_NAME = "lock"
WRITER_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
_MANIFEST_NAME = re.compile(r"(manifest|next)-[A-Za-z0-9_]{1,64}\.json")
_PART_NAME = re.compile(r"[A-Za-z0-9_]{1,64}-[0-9]{6,12}\.h5")
_OPTIONAL = ("vector_settings", "purpose", "n_expected")
_HEX = {32: re.compile(r"[0-9a-f]{32}"), 64: re.compile(r"[0-9a-f]{64}")}


@dataclass(frozen=True, slots=True)
class Part:
    """One file in the folder of shards.

    Attributes
    ----------
    name : str
        ``WRITER-NUMBER.h5``, the number above all that are in the folder.
    n_rows, n_annotations, n_bytes : int
    sha256 : str
        64 hexadecimal digits, of the whole file.
    first, last : ItemKey
        Of its rows; both empty where it has none.
    """

    name: str
    n_rows: int
    n_annotations: int
    n_bytes: int
    sha256: str
    first: ItemKey = field(default=ItemKey("", ""))
    last: ItemKey = field(default=ItemKey("", ""))


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one writer has committed.

    Attributes
    ----------
    uuid : str
        32 hexadecimal digits, new for each run.
    model : str
        Name of the model, for messages.
    run_fingerprint, dtype, dim
        As in `StoreInfo`; every shard has the same.
    shards : tuple of Part
        In ascending key order.
    spare : tuple of Part
        Shards of an earlier state of the dataset: vectors to re-use, no rows of the store.
    head : Part or None
        A file without rows that holds categories and provenance; present once the run is complete.
    vector_settings : str
        How vectors are computed, see settings.py; empty where the writer did not say.
    purpose : str
        What the run makes where it does not embed: ``"merge"``, ``"repair"`` or ``"compact"``. Its
        rows are copies, so that whoever comes next may drop an unfinished one.
    n_expected : int
        Rows that the store will have; 0 where the writer did not say.
    """

    uuid: str
    model: str
    run_fingerprint: str
    dtype: str
    dim: int
    shards: tuple[Part, ...] = ()
    spare: tuple[Part, ...] = ()
    head: Part | None = None
    vector_settings: str = ""
    purpose: str = ""
    n_expected: int = 0

    @property
    def n_rows(self) -> int:
        """Rows of all shards."""
        return sum(part.n_rows for part in self.shards)

    @property
    def kind(self) -> str:
        """What the vectors are, in words."""
        settings = f", {self.vector_settings}" if self.vector_settings else ""
        return f"'{self.model}' ({self.dim} {self.dtype}{settings})"

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every file that the manifest names."""
        return (*self.shards, *self.spare, *([self.head] if self.head else []))


def fit_together(one: Manifest, other: Manifest) -> bool:
    """Tell whether the vectors of both may stand in one store."""
    facts = ((m.run_fingerprint, m.dtype, m.dim) for m in (one, other))
    return len(set(facts)) == 1 and fits(one.vector_settings, other.vector_settings)


def manifest_path(directory: Path, writer: str, *, complete: bool) -> Path:
    """Where the manifest of a writer is."""
    return directory / f"{'manifest' if complete else 'next'}-{writer}.json"


def manifest_files(directory: Path) -> list[Path]:
    """Return every manifest in a directory, by name; other files there are not looked at.

    Raises
    ------
    StoreReadError
        The directory cannot be listed.
    """
    try:
        with read_errors(directory):
            names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [directory / name for name in sorted(names) if _MANIFEST_NAME.fullmatch(name)]


def shard_name(writer: str, number: int) -> str:
    """Name of a shard's file."""
    return f"{writer}-{number:06d}.h5"


def is_shard_name(name: str, writer: str) -> bool:
    """Tell whether a writer may have given a file this name."""
    return name.startswith(f"{writer}-") and _PART_NAME.fullmatch(name) is not None


def write_manifest(path: Path, manifest: Manifest, files: FileSystem) -> None:
    """Replace a manifest in one step.

    Raises
    ------
    StoreWriteError
    """
    data = _encode(manifest)
    publish(path, [data], len(data), files)


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest; nothing that it names is opened.

    Raises
    ------
    FileNotFoundError
    StoreForeignError
        Of another format or version, or no regular file.
    StoreReadError
    StoreCorruptError
    """
    with open_regular(path) as stream, read_errors(path):
        raw = stream.read(min(os.fstat(stream.fileno()).st_size, MAX_JSON_BYTES) + 1)
    try:
        found = decode_json(raw)
        _check_format(path, found)
        manifest = _decode(found)
        if raw != _encode(manifest):
            raise ValueError("its checksum differs from its content")
    except (ValueError, TypeError, KeyError) as error:
        raise corrupt(str(path), "manifest", error) from error
    return manifest


def _encode(manifest: Manifest) -> bytes:
    content: dict[str, Any] = {
        **{name: getattr(manifest, name) for name in ("uuid", "model", "dtype", "dim")},
        "format": MANIFEST_FORMAT,
        "format_version": MANIFEST_VERSION,
        "run_fingerprint": manifest.run_fingerprint,
        "shards": [asdict(part) for part in manifest.shards],
        "spare": [asdict(part) for part in manifest.spare],
        "head": asdict(manifest.head) if manifest.head else None,
        **{name: value for name in _OPTIONAL if (value := getattr(manifest, name))},
    }
    digest = hashlib.sha256(encode_json(content)).hexdigest()
    return encode_json({**content, "sha256": digest}) + b"\n"


def _check_format(path: Path, found: Mapping[str, Any]) -> None:
    if found.get("format") != MANIFEST_FORMAT or found.get("format_version") != MANIFEST_VERSION:
        raise StoreForeignError(
            f"'{path}' is no manifest of format {MANIFEST_VERSION} "
            f"(it says {found.get('format')!r}, {found.get('format_version')!r}); "
            "update datumaro-embed, or check the path.",
            path=str(path),
        )


def _decode(found: Mapping[str, Any]) -> Manifest:
    """Take known fields of the right kind; the comparison of bytes refuses any other."""
    manifest = Manifest(
        uuid=_digits(found["uuid"], 32),
        model=_text(found["model"]),
        run_fingerprint=_text(found["run_fingerprint"]),
        dtype=_text(found["dtype"]),
        dim=_count(found["dim"]),
        shards=tuple(map(_part, found["shards"])),
        spare=tuple(map(_part, found["spare"])),
        head=None if found["head"] is None else _part(found["head"]),
        vector_settings=_text(found.get("vector_settings", "")),
        purpose=_text(found.get("purpose", "")),
        n_expected=_count(found.get("n_expected", 0)),
    )
    if manifest.dtype not in EMBEDDING_DTYPES or not 1 <= manifest.dim <= MAX_DIM:
        raise ValueError(f"vectors of {manifest.dim} {manifest.dtype} cannot be")
    names = [part.name for part in manifest.parts]
    if len(names) != len(set(names)):
        raise ValueError("a shard is named twice")
    for before, after in zip(manifest.shards, manifest.shards[1:], strict=False):
        if not before.last < after.first:
            raise ValueError(f"{after.name} does not come after {before.name}")
    return manifest


def _part(found: Mapping[str, Any]) -> Part:
    name = _text(found["name"])
    if not _PART_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a shard")
    return Part(
        name=name,
        n_rows=_count(found["n_rows"]),
        n_annotations=_count(found["n_annotations"]),
        n_bytes=_count(found["n_bytes"]),
        sha256=_digits(found["sha256"], 64),
        first=_key(found["first"]),
        last=_key(found["last"]),
    )


def _key(found: Mapping[str, Any]) -> ItemKey:
    return ItemKey(_string(found["subset"]), _string(found["id"]))


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.50} is no text")
    return value


def _text(value: object) -> str:
    if len(_string(value)) > MAX_ATTRIBUTE_BYTES:
        raise ValueError("a text is too long")
    return _string(value)


def _digits(value: object, length: int) -> str:
    if not _HEX[length].fullmatch(_string(value)):
        raise ValueError(f"{value!r:.50} is not {length} hexadecimal digits")
    return _string(value)


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ValueError(f"{value!r:.50} is no count")
    return value
