"""The crash laboratory: what a disk may hold after a process died or the power failed.

`Recorder` is a file system that notes every call and carries it out. `Disk` replays the notes on a
model of a disk, and gives the states that may be found afterwards:

- after a **kill**: everything that was called, the last write perhaps in part;
- after a **power loss**: what was fsynced; any part of the bytes that were not; and any choice of
  the directory entries (new names, renames, removals) whose directory was not fsynced since, in
  any combination, which is how file systems may reorder them.

The model promises less than most file systems do: fsync of a file does not keep its name, nothing
is kept in order, and bytes that were not synced may be zeros or missing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from datumaro_embed.encoding import decode_json
from datumaro_embed.files import FileSystem


@dataclass(frozen=True)
class Call:
    """One call: its name, paths, the number of its file, and the bytes written."""

    name: str
    path: str = ""
    target: str = ""
    file: int = -1
    data: bytes = b""


class Recorder(FileSystem):
    """Carries every call out and notes it, with paths relative to `root`; fsync is only noted."""

    def __init__(self, root: Path) -> None:
        self.calls: list[Call] = []
        self._root = root
        self._files: dict[int, int] = {}
        self._n_files = 0

    def _name(self, path: Path) -> str:
        return os.path.relpath(path, self._root)

    def make_directory(self, directory: Path) -> None:
        super().make_directory(directory)
        self.calls.append(Call("mkdir", self._name(directory)))

    def create(self, path: Path) -> int:
        descriptor = super().create(path)
        self._n_files += 1
        self._files[descriptor] = self._n_files
        self.calls.append(Call("create", self._name(path), file=self._n_files))
        return descriptor

    def write(self, descriptor: int, data: memoryview) -> int:
        # In several writes, so that there are boundaries inside of a file.
        written = super().write(descriptor, data[: max(len(data) // 2, 8192)])
        self.calls.append(Call("write", file=self._files[descriptor], data=bytes(data[:written])))
        return written

    def fsync(self, descriptor: int) -> None:
        self.calls.append(Call("fsync", file=self._files[descriptor]))

    def replace(self, source: Path, target: Path) -> None:
        super().replace(source, target)
        self.calls.append(Call("rename", self._name(source), self._name(target)))

    def fsync_directory(self, directory: Path) -> None:
        self.calls.append(Call("fsync_directory", self._name(directory)))

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self.calls.append(Call("unlink", self._name(path)))

    def remove_directory(self, directory: Path) -> None:
        super().remove_directory(directory)
        self.calls.append(Call("rmdir", self._name(directory)))


class NoFsync(Recorder):
    """Wrong on purpose: never syncs a file."""

    def fsync(self, descriptor: int) -> None:
        pass


class NoDirectoryFsync(Recorder):
    """Wrong on purpose: never syncs a directory."""

    def fsync_directory(self, directory: Path) -> None:
        pass


class NoRename(Recorder):
    """Wrong on purpose: writes into the file itself where a rename should replace it."""

    def replace(self, source: Path, target: Path) -> None:
        data = source.read_bytes()
        if target.exists():
            super().unlink(target)
        descriptor = self.create(target)
        view = memoryview(data)
        while view:
            view = view[self.write(descriptor, view) :]
        self.fsync(descriptor)
        self.close(descriptor)
        super().unlink(source)


@dataclass
class _File:
    data: bytearray = field(default_factory=bytearray)
    synced: int = 0
    """Bytes from the start that are on the device."""


class Disk:
    """Replays calls; `state` is a mapping of relative path to bytes, None for a directory.

    Parameters
    ----------
    initial : mapping
        What was there, safely, before the first call.
    """

    def __init__(self, initial: dict[str, bytes | None]) -> None:
        self._files: dict[int, _File] = {}
        self._entries: dict[str, int | None] = {}
        for number, (path, data) in enumerate(initial.items(), start=1):
            self._entries[path] = None if data is None else -number
            if data is not None:
                self._files[-number] = _File(bytearray(data), len(data))
        self._durable = dict(self._entries)
        self._pending: list[Call] = []
        self.promised: bytes | None = None
        """The manifest or sealed file that was last committed, by the rules of the store."""
        self.promised_path = ""
        self._renamed: list[str] = []

    def apply(self, call: Call) -> None:
        """Carry out one call."""
        if call.name == "write":
            self._files[call.file].data += call.data
        elif call.name == "fsync":
            file = self._files[call.file]
            file.synced = len(file.data)
        elif call.name == "fsync_directory":
            self._sync_directory(call.path)
        else:
            if call.name == "create":
                self._files[call.file] = _File()
            if call.name == "rename":
                call = Call(
                    "rename", call.path, call.target, self._entries.get(call.path, -1) or -1
                )
                self._renamed.append(call.target)
            _change(self._entries, call)
            self._pending.append(call)

    def _sync_directory(self, directory: str) -> None:
        rest = []
        for call in self._pending:
            if os.path.dirname(call.target or call.path) in (directory, _same(directory)):
                _change(self._durable, call)
            else:
                rest.append(call)
        self._pending = rest
        for path in self._renamed:
            if os.path.dirname(path) in (directory, _same(directory)) and _commits(path):
                self.promised_path, self.promised = path, bytes(self._content(path))
        self._renamed = []

    def _content(self, path: str) -> bytes:
        number = self._entries.get(path)
        return b"" if number is None else bytes(self._files[number].data)

    def killed(self) -> dict[str, bytes | None]:
        """The state after a kill."""
        return {
            path: None if number is None else bytes(self._files[number].data)
            for path, number in self._entries.items()
        }

    def torn(self, call: Call, part: float) -> dict[str, bytes | None]:
        """The state after a kill within a write."""
        state = self.killed()
        for path, number in self._entries.items():
            if number == call.file:
                state[path] = (
                    bytes(self._files[number].data) + call.data[: int(len(call.data) * part)]
                )
        return state

    def power_loss(self, rng: np.random.Generator) -> dict[str, bytes | None]:
        """Draw one state after a power loss."""
        entries = dict(self._durable)
        share = rng.choice([0.0, 0.5, 1.0])
        for call in self._pending:
            if rng.random() < share:
                _change(entries, call)
        return {
            path: None if number is None else self._damaged(number, rng)
            for path, number in entries.items()
            if _has_parents(path, entries)
        }

    def _damaged(self, number: int, rng: np.random.Generator) -> bytes:
        file = self._files[number]
        safe, loose = bytes(file.data[: file.synced]), bytes(file.data[file.synced :])
        kind = rng.integers(5)
        if kind == 0:
            return safe
        if kind == 1:
            return safe + bytes(len(loose))
        if kind == 2:
            return safe + loose[: int(rng.integers(len(loose) + 1))]
        if kind == 3:
            blocks = [loose[i : i + 512] for i in range(0, len(loose), 512)]
            kept = [block if rng.random() < 0.5 else bytes(len(block)) for block in blocks]
            return safe + b"".join(kept)
        return safe + loose


def _same(directory: str) -> str:
    return "" if directory == "." else directory


def _commits(path: str) -> bool:
    name = os.path.basename(path)
    return name.endswith(".json") or (name.endswith(".h5") and "segments" not in path)


def _change(entries: dict[str, int | None], call: Call) -> None:
    """One change of names."""
    if call.name == "mkdir":
        entries[call.path] = None
    elif call.name == "create":
        entries[call.path] = call.file
    elif call.name == "rename":
        entries.pop(call.path, None)
        entries[call.target] = call.file
    else:
        entries.pop(call.path, None)


def _has_parents(path: str, entries: dict[str, Any]) -> bool:
    parent = os.path.dirname(path)
    return not parent or (parent in entries and _has_parents(parent, entries))


def read_state(root: Path) -> dict[str, bytes | None]:
    """What is in a folder, as `Disk` takes it."""
    return {
        str(path.relative_to(root)): None if path.is_dir() else path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.name != "lock"
    }


def fingerprint(state: dict[str, bytes | None]) -> str:
    """Equal for equal states, whatever random name a temporary file has."""
    digest = hashlib.sha256()
    for path, data in sorted(state.items()):
        name = ".tmp" if path.endswith(".tmp") else path
        digest.update(repr((name, data)).encode())
    return digest.hexdigest()


def write_state(root: Path, state: dict[str, bytes | None]) -> None:
    """Put a state into an empty folder."""
    root.mkdir(parents=True)
    for path, data in sorted(state.items()):
        if data is None:
            (root / path).mkdir(parents=True, exist_ok=True)
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)


def n_promised(disk: Disk, n_rows: int) -> int:
    """Rows that may not be lost any more: of the last commit."""
    if disk.promised is None:
        return 0
    if disk.promised_path.endswith(".h5"):
        return n_rows
    shards: list[dict[str, int]] = decode_json(disk.promised)["segments"]
    return sum(shard["n_rows"] for shard in shards)


def states_of(
    calls: list[Call], initial: dict[str, bytes | None], *, seed: int, n_losses: int
) -> Iterator[tuple[str, int, dict[str, bytes | None], Disk]]:
    """Every state: its kind, after how many calls, what is on the disk, and the disk itself.

    Parameters
    ----------
    n_losses : int
        Power losses drawn after each call.
    """
    rng = np.random.default_rng(seed)
    disk = Disk(initial)
    for number, call in enumerate([*calls, None]):
        yield "kill", number, disk.killed(), disk
        for _ in range(n_losses):
            yield "power loss", number, disk.power_loss(rng), disk
        if call is None:
            return
        if call.name == "write":
            for part in (0.1, 0.9):
                yield "torn write", number, disk.torn(call, part), disk
        disk.apply(call)
