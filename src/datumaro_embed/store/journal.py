"""A store directory: its manifests, its lock, its segments, and what lies there unnamed.

    X/  lock  manifest.json  next.json  segments/0-000001.h5 …

``manifest.json`` is a finished store, ``next.json`` the run that will replace it; what they do not
name is not there. Each is one canonical JSON object that carries its own SHA-256, replaced by
atomic rename.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import re
import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from ..encoding import MAX_JSON_BYTES, decode_json, encode_json
from ..errors import (
    StoreCorruptError,
    StoreError,
    StoreForeignError,
    StoreNotFoundError,
    StoreReplacedError,
    StoreUnfinishedError,
)
from ..escaping import printable
from ..files import (
    TEMPORARY_PREFIX,
    TEMPORARY_SUFFIX,
    FileSystem,
    Identity,
    StoreLock,
    identity_at,
    make_parents,
    open_regular,
    publish,
    read_errors,
    write_errors,
)
from ..paths import refuse_empty
from ..place import LOCK_NAME, SEGMENT_FOLDER, WORK_SUFFIX, manifest_files
from ..records import Categories, ItemKey
from ..tally import counted, progress
from ..vectors import MAX_DIM, VectorKind
from .codec import Array, Part, corrupt, head_arrays
from .hdf5 import Hdf5Part, file_image, replaced
from .rows import StoredRows
from .schema import array_specs, child_tables
from .table import EmbeddingStore

MANIFEST_FORMAT, MANIFEST_VERSION = "datumaro-embed-manifest", 2
_log = logging.getLogger("datumaro_embed")
_TRIES = 20
_MAX_MAPPED = 32
MAX_PASSED_BYTES = 16 * 2**20  # of the files that stay mapped where each is read in turn
_BLOCK_BYTES = 4 * 2**20
MAX_ORPHANS, _MAX_NAMED = 2, 5
_OWN_NAME = re.compile(r"0-([0-9]{6,12})\.h5")
TEMPORARY_NAME = re.compile(
    rf"{re.escape(TEMPORARY_PREFIX)}[0-9a-f]{{16}}{re.escape(TEMPORARY_SUFFIX)}"
)

# Manifests -------------------------------------------------------------------------------------

Identities = dict[Path, Identity | None]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Digest = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Text = Annotated[str, Meta(max_length=4096)]


class Segment(Struct, frozen=True, forbid_unknown_fields=True):
    """One file of committed rows, ``0-NUMBER.h5``, the number above all that are in the folder.

    `children` has each table whose rows belong to items, and how many the file has; `sha256` is of
    the whole file; `first` and `last` are the (subset, id) of its rows, both empty where it has
    none.
    """

    name: Annotated[str, Meta(pattern=r"\A0-[0-9]{6,12}\.h5\Z")]
    n_rows: Count
    children: tuple[tuple[str, Count], ...]
    n_bytes: Count
    sha256: Digest
    first: tuple[str, str] = ("", "")
    last: tuple[str, str] = ("", "")


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """What is committed; `uuid` is new for each run, and every segment has vectors of one `kind`.

    `segments` are in ascending key order. Those in `spare` are of an earlier state of the dataset:
    vectors to re-use, no rows of the store. `head` is a file without items that holds labels and
    provenance, present once the run is complete; until then `n_expected` is the expected number
    of rows, 0 if unknown.

    `purpose` tells what the run makes where it does not embed: ``"merge"``, ``"repair"``,
    ``"compact"`` or ``"import"``. Its rows are copies, so that whoever comes next may drop an
    unfinished one. A `restarted` run takes nothing over from the finished store, and runs that go
    on with it do not either.
    """

    uuid: Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    model: Text
    run_fingerprint: Text
    dtype: Annotated[str, Meta(pattern=r"\Afloat(16|32)\Z")]
    dim: Annotated[int, Meta(ge=1, le=MAX_DIM)]
    vector_settings: Text = ""
    segments: tuple[Segment, ...] = ()
    spare: tuple[Segment, ...] = ()
    head: Segment | None = None
    purpose: Text = ""
    restarted: bool = False
    n_expected: Count = 0

    def __post_init__(self) -> None:
        if len({frozenset(dict(segment.children)) for segment in self.segments}) > 1:
            raise ValueError("the segments do not all have the same tables")
        names = [segment.name for segment in self.files]
        if len(names) != len(set(names)):
            raise ValueError("a segment is named twice")
        for before, after in pairwise(self.segments):
            if not before.last < after.first:
                raise ValueError(f"{after.name} does not come after {before.name}")

    @property
    def kind(self) -> VectorKind:
        """What kind of vectors the segments hold."""
        return VectorKind(
            *(self.dim, self.dtype, self.run_fingerprint, self.vector_settings, self.model)
        )

    @property
    def n_rows(self) -> int:
        """Rows of all segments."""
        return sum(segment.n_rows for segment in self.segments)

    @property
    def files(self) -> tuple[Segment, ...]:
        """Every file that the manifest names."""
        return (*self.segments, *self.spare, *([self.head] if self.head else []))


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest; nothing that it names is opened.

    Raises `FileNotFoundError`; `StoreForeignError`: of another format or version, or no regular
    file; `StoreReadError`; `StoreCorruptError`.
    """
    with open_regular(path) as stream, read_errors(path):
        raw = stream.read(min(os.fstat(stream.fileno()).st_size, MAX_JSON_BYTES) + 1)
    try:
        found = decode_json(raw)
        format_, version = found.pop("format", None), found.pop("format_version", None)
        if (format_, version) != (MANIFEST_FORMAT, MANIFEST_VERSION):
            raise StoreForeignError(
                f"'{path}' is not a manifest of format {MANIFEST_VERSION} "
                f"(it has {format_!r}, {version!r}). "
                "Embed the dataset again, update datumaro-embed, or check the path.",
                path=str(path),
            )
        found.pop("sha256", None)  # `_encode` makes it again
        manifest = msgspec.convert(found, Manifest)
        if raw != _encode(manifest):
            raise ValueError("its checksum differs from its content")
    except (ValueError, TypeError, KeyError) as error:
        raise corrupt(str(path), "manifest", error) from error
    return manifest


def _encode(manifest: Manifest) -> bytes:
    content: dict[str, Any] = {
        "format": MANIFEST_FORMAT,
        "format_version": MANIFEST_VERSION,
        **msgspec.to_builtins(manifest),
    }
    digest = hashlib.sha256(encode_json(content)).hexdigest()
    return encode_json({**content, "sha256": digest}) + b"\n"


# Reading ---------------------------------------------------------------------------------------


def segment_is_sound(directory: Path, segment: Segment) -> bool:
    """Compare a file's SHA-256 with the manifest's; a file that is missing is not sound.

    Raises `StoreReadError`: the system cannot read it now, so nobody knows whether it is sound.
    """
    digest = hashlib.sha256()
    path = directory / SEGMENT_FOLDER / segment.name
    if path.is_symlink():
        return False
    try:
        with open_regular(path) as stream, read_errors(path):
            while block := stream.read(_BLOCK_BYTES):
                digest.update(block)
    except (FileNotFoundError, NotADirectoryError, StoreForeignError):
        return False
    return digest.hexdigest() == segment.sha256


class SegmentFolder:
    """The segments of a store directory; safe in several threads.

    Where `seen` has the manifests and their identities, a file of another state of the directory is
    refused. At most 32 files stay mapped, of `max_mapped_bytes` together: little for who goes
    through them in order, as what is mapped and was read counts as the process's memory.
    """

    def __init__(
        self,
        directory: Path,
        kind: VectorKind,
        *,
        seen: Identities | None = None,
        max_mapped_bytes: float = math.inf,
    ) -> None:
        self.directory, self.kind = directory, kind
        self._seen, self._max_mapped_bytes = seen, max_mapped_bytes
        self._mapped: OrderedDict[Hdf5Part, None] = OrderedDict()
        self._n_mapped_bytes = 0
        self.lock = threading.Lock()

    def store(
        self,
        segments: Iterable[Segment],
        *,
        path: str = "",
        uuid: str = "",
        trusted: bool = False,
        **facts: Any,
    ) -> EmbeddingStore:
        """Make a store of segments whose SHA-256 was compared if they are `trusted`.

        `facts` are further ones for `EmbeddingStore`.
        """
        parts = [SegmentPart(segment, self, trusted=trusted) for segment in segments]
        path = path or str(self.directory)
        return EmbeddingStore(parts, path=path, kind=self.kind, uuid=uuid, **facts)

    def keep_mapped(self, file: Hdf5Part) -> None:
        """Unmap those that were used least recently, where too many are mapped with this one."""
        if file not in self._mapped:
            self._n_mapped_bytes += file.n_bytes
        self._mapped[file] = None
        self._mapped.move_to_end(file)
        while len(self._mapped) > 1 and (
            len(self._mapped) > _MAX_MAPPED or self._n_mapped_bytes > self._max_mapped_bytes
        ):
            unused, _ = self._mapped.popitem(last=False)
            self._n_mapped_bytes -= unused.n_bytes
            unused.close()

    def open(self, segment: Segment) -> Hdf5Part:
        """Open a file, and compare it with what the manifest says of it.

        Raises `StoreCorruptError`: it is missing, a link, or another file than the one that was
        committed; `StoreForeignError`; `StoreReplacedError`: another store has taken the
        directory's place.
        """
        where, place = str(self.directory), f"{SEGMENT_FOLDER}/{segment.name}"
        path = self.directory / place
        try:
            if path.is_symlink():
                raise corrupt(where, place, "is a symbolic link")
            part = Hdf5Part(path)
            tables = (table for table in child_tables() if part.has(f"items/{table}_offsets"))
            children = tuple((table, part.n_rows(table)) for table in tables)
            found = (part.n_rows("items"), children, part.n_bytes)
            said = (segment.n_rows, segment.children, segment.n_bytes)
            if found != said or not part.kind.fits(self.kind):
                raise corrupt(where, place, "is not the file that the manifest names")
            ends = ItemKey(*segment.first), ItemKey(*segment.last)
            if segment.n_rows and ends != (part.key(0), part.key(segment.n_rows - 1)):
                raise corrupt(where, place, "does not hold the items that the manifest lists")
            return part
        except StoreNotFoundError as error:
            raise corrupt(where, place, "is missing") from error
        finally:
            if self._seen is not None and self._seen != _identities(self.directory):
                named: set[str] = set()
                with suppress(StoreForeignError, FileNotFoundError):  # gone, or renamed just now
                    for path in manifest_files(self.directory):
                        named |= {other.sha256 for other in read_manifest(path).files}
                if segment.sha256 not in named:
                    raise replaced(self.directory)


class SegmentPart(Part):
    """A segment, opened when an array of it is asked for."""

    def __init__(self, segment: Segment, folder: SegmentFolder, *, trusted: bool) -> None:
        super().__init__(str(folder.directory / SEGMENT_FOLDER / segment.name))
        self._segment, self._folder, self.kind = segment, folder, folder.kind
        self._sizes = {"items": segment.n_rows, **dict(segment.children)}
        self.is_trusted = trusted
        self._file: Hdf5Part | None = None

    @property
    def file(self) -> Hdf5Part:
        with self._folder.lock:
            if self._file is None:
                self._file = self._folder.open(self._segment)
            self._folder.keep_mapped(self._file)
            return self._file

    @property
    def first_key(self) -> ItemKey:
        return ItemKey(*self._segment.first)

    def array(self, path: str) -> Array | None:
        return self.file.array(path)

    def has(self, path: str) -> bool:
        spec = array_specs()[path]
        table = spec.cuts if spec.column.kind == "rows" else spec.table
        return table in self._sizes if table in child_tables() else self.file.has(path)

    def n_rows(self, table: str) -> int:
        return self._sizes.get(table, 0)

    def problem(self) -> str:
        self.is_trusted = segment_is_sound(self._folder.directory, self._segment)
        name = f"{SEGMENT_FOLDER}/{self._segment.name}"
        return "" if self.is_trusted else f"{name}: its SHA-256 differs from the manifest"

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _identities(directory: Path) -> Identities:
    return {path: identity_at(path) for path in manifest_files(directory)}


def open_store(path: str | os.PathLike[str], *, partial: bool = False) -> EmbeddingStore:
    """Open a store for reading: an ``.h5`` file, or a store directory.

    The store is a context manager; arrays taken from it outlive it. Of an unfinished run the rows
    committed so far are read if `partial`; otherwise it is refused. Some 5 ms, whatever the size: a
    file's columns are memory-mapped, a directory's segments opened when a row of theirs is read.

    Raises `StoreNotFoundError`; `StoreForeignError`: no embedding store, or one of another major
    version; `StoreCorruptError`: damaged, or made to harm, with `path` and `place`;
    `StoreUnfinishedError`; `StoreReadError`: the operating system cannot read it now;
    `StoreReplacedError`: it changed again and again while it was being opened.
    """
    refuse_empty(path)
    name = os.fspath(path)
    work = Path(f"{name}{WORK_SUFFIX}")  # where the run works that will publish the file
    for _ in range(_TRIES):  # as a run may change what is there meanwhile
        try:
            if os.path.isdir(name):
                return _open_directory(Path(name), partial=partial)
            try:
                return EmbeddingStore.of(Hdf5Part(name))
            except StoreNotFoundError as error:
                if not manifest_files(work):
                    if os.path.lexists(name):
                        raise replaced(name) from error
                    raise
            try:
                return _open_directory(work, partial=partial)
            except StoreForeignError as error:
                if manifest_files(work):
                    raise
                raise replaced(work) from error
        except StoreReplacedError as error:
            changed = error
    raise changed


def _open_directory(directory: Path, *, partial: bool) -> EmbeddingStore:
    """Open what the manifests say now."""
    seen = _identities(directory)
    if not seen:
        raise StoreForeignError(
            f"'{directory}' is a folder without a manifest, so it is not a store. Name an .h5 "
            "file, or a store directory.",
            path=str(directory),
        )
    try:
        manifest = read_manifest(next(iter(seen)))
    except FileNotFoundError as error:
        raise replaced(directory) from error
    folder = SegmentFolder(directory, manifest.kind, seen=seen)
    if manifest.head is not None:
        head = folder.open(manifest.head)
        return folder.store(manifest.segments, uuid=manifest.uuid, head=head)
    n_rows, n_expected = manifest.n_rows, manifest.n_expected
    if not partial:
        raise StoreUnfinishedError(
            f"'{directory}' is unfinished: {progress(n_rows, n_expected)} committed. Run "
            "the `embed` command that writes it again to finish it, or use ``partial`` to read "
            "the rows committed so far.",
            path=str(directory),
            n_rows=n_rows,
            n_expected=n_expected,
        )
    # Of what is committed now: an index of it is stale after the next commit.
    digest = hashlib.blake2b(manifest.uuid.encode(), digest_size=16)
    digest.update("".join(s.sha256 for s in manifest.segments).encode())
    uuid = digest.hexdigest()
    return folder.store(manifest.segments, uuid=uuid, complete=False, n_expected=n_expected)


@contextmanager
def using_store(store: EmbeddingStore | str | os.PathLike[str]) -> Iterator[EmbeddingStore]:
    """Open the store at a path, and close it; an open store is given as it is and stays open."""
    if isinstance(store, EmbeddingStore):
        yield store
        return
    with open_store(store) as opened:
        yield opened


# Writing ---------------------------------------------------------------------------------------


class Journal:
    """A run's hold on a store directory, from construction to `leave`.

    The directory is made where it is missing. Messages call it `store`, which is another path where
    the directory is only worked in. `restart` drops damaged manifests. `finished` and `unfinished`
    are the manifests that it has.

    Raises `StoreLockedError`, `StoreWriteError`; `StoreCorruptError`, `StoreForeignError`: a
    manifest that is damaged, or of another format.
    """

    def __init__(
        self, path: Path, files: FileSystem, *, store: Path, restart: bool = False
    ) -> None:
        self.path, self.files, self._folder = path, files, path / SEGMENT_FOLDER
        self._made: list[Path] = []
        self._named_others: list[str] = []
        self._store, self._is_work = store, store != path
        with write_errors(path):
            make_parents(path, files, self._made)
        try:
            self._lock = StoreLock(path / LOCK_NAME, store)
        except BaseException:  # the lock file may be that of another process
            with suppress(OSError):
                for made in reversed(self._made):
                    files.remove_directory(made)
            raise
        try:
            self._read(restart=restart)
        except BaseException:
            self._remove_if_empty()
            self._lock.release()
            raise
        named = (s.name for m in (self.finished, self.unfinished) if m for s in m.files)
        names = {*named, *(path.name for path in self._folder.glob("*.h5"))}
        numbers = [int(m[1]) for name in names if (m := _OWN_NAME.fullmatch(name))]
        self._next_number = 1 + max(numbers, default=0)

    def _read(self, *, restart: bool) -> None:
        """Read the manifests; refuse what no run may work in."""
        if self._folder.is_symlink():  # which leads to a folder of somebody else
            raise StoreForeignError(
                f"'{self._folder}' is a symbolic link, but a store needs a real folder for its "
                "segments. Remove the link, or choose another path.",
                path=str(self._folder),
            )
        with write_errors(self.path):
            for made in self._made:
                self.files.fsync_directory(made.parent)
        found: dict[str, Manifest] = {}
        for path in manifest_files(self.path):
            try:
                found[path.name] = read_manifest(path)
            except (StoreCorruptError, StoreForeignError):
                if not restart:
                    raise
                self.files.unlink(path)
        self.finished, self.unfinished = found.get("manifest.json"), found.get("next.json")
        # A crash leaves two segments without a manifest at most, or any number of them once the
        # file is published; of more than that somebody has lost the manifest.
        if restart or (self._is_work and self._store.exists()):
            return
        n_orphans = sum(map(_is_own, self._folder.glob("*.h5")))
        if n_orphans > MAX_ORPHANS and not manifest_files(self.path):
            raise StoreCorruptError(
                f"'{self.path}' has {counted(n_orphans, 'segments')} but no manifest. "
                "Save their rows with `datumaro-embed repair`, or discard them with ``restart``.",
                path=str(self.path),
                place=SEGMENT_FOLDER,
            )

    def commit_file(self, rows: StoredRows, head: Mapping[str, Array] | None = None) -> Segment:
        """Write one file into the folder of segments; it counts once a manifest names it.

        `head` has what `codec.head_arrays` gives, where the store's is to be in this file. Raises
        `StoreWriteError`.
        """
        name = f"0-{self._next_number:06d}.h5"
        self._next_number += 1
        head = head_arrays(Categories(), None, {}, rows.dim) if head is None else head
        size_bytes, blocks = file_image(rows, head, uuid.uuid4().hex)
        digest = publish(self._folder / name, blocks, size_bytes, self.files, work=self.path)
        ends = [("", "")] * 2
        if rows.n_rows:
            ends = [(k.subset, k.id) for k in (rows.key(0), rows.key(rows.n_rows - 1))]
        children = tuple((t, rows.count(t)) for t in child_tables() if rows.has_table(t))
        return Segment(name, rows.n_rows, children, size_bytes, digest, *ends)

    def save(self, manifest: Manifest) -> None:
        """Commit the state of the run under way; raises `StoreWriteError`."""
        data = _encode(manifest)
        publish(self.path / "next.json", [data], len(data), self.files, work=self.path)
        self.unfinished = manifest

    def finish(self) -> None:
        """Make the run under way the store: one rename; then remove what it does not name.

        Raises `StoreWriteError`.
        """
        finished = self.path / "manifest.json"
        with write_errors(finished):
            self.files.replace(self.path / "next.json", finished)
            self.files.fsync_directory(self.path)
        self.finished, self.unfinished = self.unfinished, None
        with suppress(OSError):
            self.clean()

    def forget_unfinished(self) -> None:
        """Drop the run under way and its segments; raises `StoreWriteError`."""
        path = self.path / "next.json"
        with write_errors(path):
            if path.exists():
                self.files.unlink(path)
                self.files.fsync_directory(self.path)
            self.unfinished = None
            self.clean()

    def clean(self) -> None:
        """Remove temporaries of dead processes and own segments that no manifest names.

        Files of any other name belong to somebody else: they stay, and are named once.
        """
        named = {s.name for m in (self.finished, self.unfinished) if m for s in m.files}
        for folder in (self.path, self._folder):
            for path in folder.glob(f"{TEMPORARY_PREFIX}*{TEMPORARY_SUFFIX}"):
                if TEMPORARY_NAME.fullmatch(path.name):
                    self.files.unlink(path)
        others = []
        for path in sorted(self._folder.glob("*.h5")):
            if path.name in named:
                continue
            if _is_own(path):
                self.files.unlink(path)
            else:
                others.append(path.name)
        if others and others != self._named_others:
            self._named_others = others
            n_more = len(others) - _MAX_NAMED
            _log.warning(
                "'%s' contains files that do not belong to the store; they are left alone: %s%s",
                self._folder,
                printable(", ".join(others[:_MAX_NAMED])),
                f" and {n_more} more" if n_more > 0 else "",
            )

    def leave(self) -> None:
        """Release the lock; where nothing was ever committed, nothing is left behind."""
        with suppress(OSError, StoreError):
            if not manifest_files(self.path):
                self.clean()
                self._remove_if_empty()
        self._lock.release()

    def _remove_if_empty(self) -> None:
        """Remove the directory if it holds a lock at most, and parents that were made for it."""
        with suppress(OSError):
            if self._folder.is_dir():
                self.files.remove_directory(self._folder)
            if {entry.name for entry in self.path.iterdir()} <= {LOCK_NAME}:
                with suppress(FileNotFoundError):
                    self.files.unlink(self.path / LOCK_NAME)
                if self._is_work or self.path in self._made:
                    self.files.remove_directory(self.path)
                for parent in reversed(self._made[:-1]):
                    self.files.remove_directory(parent)


def _is_own(path: Path) -> bool:
    """Tell whether a run made a file: by its name, and it is no link."""
    return _OWN_NAME.fullmatch(path.name) is not None and not path.is_symlink()
