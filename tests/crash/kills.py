"""Kill a command at each of its system calls that changes files, and run it again.

    python tests/crash/kills.py FOLDER [--how kill torn EIO …] [--commands NAME[@N] …]

Every command runs in a forked process under ptrace, so that the calls of C++ libraries (Arrow,
Faiss, USearch) are counted too. At call N the process is killed before the call, or killed after
half of a write, or the call fails (once, or with `+` from then on). With `@N` that is done at every
Nth call only. What readers see at the output must then be what was there before or all of what
comes after; the same command must succeed (or say that its whole output exists) and leave what an
uninterrupted run leaves. Prints one line a command.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import gc
import hashlib
import itertools
import os
import shutil
import signal
import struct
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image

sys.path.insert(0, str(Path(__file__).parents[1]))  # when it runs as a program
from crash.runs import QuickFiles, embed, rows, source
from datumaro_embed import cli, exports, imports, maintenance, page, retrieval  # noqa: F401
from datumaro_embed.adapter import SourceDataset
from datumaro_embed.errors import StoreNotFoundError, StoreUnfinishedError
from datumaro_embed.findings import Finding, Findings
from datumaro_embed.store import open_store
from support import picture, write_pictures

COMMANDS: dict[str, tuple[str, str]] = {
    "merge": ("merge a.h5 b.h5 -o out.h5", "out.h5"),
    "merge to a directory": ("merge a.h5 b.h5 -o out/", "out"),
    "repair": ("repair bad -o out.h5", "out.h5"),
    "repair to a directory": ("repair bad -o out/", "out"),
    "compact": ("compact dir", "dir"),
    "index": ("index a.h5", "a.h5.usearch"),
    "index again": ("index b.h5 --rebuild", "b.h5.usearch"),
    "index of a directory": ("index dir", "dir.usearch"),
    "convert to parquet": ("convert a.h5 --to parquet -o out.parquet", "out.parquet"),
    "convert to npy": ("convert a.h5 --to npy -o out", "out"),
    "convert to csv": ("convert a.h5 --to csv --vectors -o out.csv", "out.csv"),
    "convert to faiss": ("convert a.h5 --to faiss -o out", "out"),
    "convert to coco": ("convert a.h5 --to coco -o out.json", "out.json"),
    "import of parquet": ("import a.parquet -o out.h5", "out.h5"),
    "import of npy": ("import a.npy.d -o out.h5", "out.h5"),
    "report": ("report a.h5 -o out.html", "out.html"),
    "search --save-to": ("search pictures.h5 --item train/1 --save-to out -k 3", "out"),
    "search into a folder": ("search pictures.h5 --item train/1 --save-to empty -k 3", "empty"),
    "merge and replace": ("merge a.h5 b.h5 -o old.h5 --replace", "old.h5"),
    "audit": ("audit pictures.h5 -o out.csv", "out.csv"),
    "compare": ("compare a.h5 b.h5 -o out.csv", "out.csv"),
    "select": ("select a.h5 -k 3 -o out.csv", "out.csv"),
    "apply": ("apply findings.csv data:coco -o out", "out"),
    "duplicates --csv": ("duplicates a.h5 --threshold 0.1 --csv out.csv", "out.csv"),
}

# x86-64: calls whose first argument is a descriptor, and those that name a path
OF_FILES = {1, 18, 20, 73, 74, 75, 77, 285, 296, 326}
OF_PATHS = {76, 82, 83, 84, 85, 86, 87, 88, 258, 263, 264, 265, 266, 316}
WRITES, OPEN, OPENAT = {1, 18}, 2, 257
RAX, RDX, ORIG_RAX = 10 * 8, 12 * 8, 15 * 8
TRACEME, POKEUSER, SYSCALL, SETOPTIONS, SYSCALL_INFO = 0, 6, 24, 0x4200, 0x420E
OPTIONS = 0x100000 | 1 | 2 | 4 | 8  # EXITKILL, SYSGOOD, FORK, VFORK, CLONE
ALL_THREADS = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def start(root: Path, line: str, *, traced: bool) -> int:
    """Fork a process that runs a command in `root`; what it prints goes to ``root.log``."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        os.chdir(root)
        log = os.open(f"{root}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if traced:
            libc.ptrace(TRACEME, 0, None, None)
            os.kill(os.getpid(), signal.SIGSTOP)
        code = cli.main(line.split())
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(code)


def changes_files(thread: int, number: int, arguments: Sequence[int], root: Path) -> bool:
    """Tell whether a call creates, writes, renames, removes, locks or syncs a file."""
    if number in OF_FILES:
        try:
            return os.readlink(f"/proc/{thread}/fd/{arguments[0]}").startswith(f"{root}/")
        except OSError:
            return False
    if number in (OPEN, OPENAT):
        return bool(arguments[1 if number == OPEN else 2] & os.O_CREAT)
    return number in OF_PATHS


class Interruption:
    """One run of a command, interrupted at its call number `at`.

    Attributes
    ----------
    n_calls : int
    exit_code : int or None
        None where the process was killed.
    """

    def __init__(self, root: Path, line: str, at: int, how: str) -> None:
        self.n_calls = 0
        self._root, self._at, self._how, self._lasting = root, at, how.strip("+"), "+" in how
        self._halved, self._failing = False, set[int]()
        self._child = start(root, line, traced=True)
        os.waitpid(self._child, 0)
        libc.ptrace(SETOPTIONS, self._child, None, OPTIONS)
        self.exit_code = self._watch()

    def _watch(self) -> int | None:
        thread, passed = self._child, 0
        while True:
            libc.ptrace(SYSCALL, thread, None, passed)
            thread, status = os.waitpid(-1, ALL_THREADS)
            passed = 0
            if os.WIFSTOPPED(status) and os.WSTOPSIG(status) == signal.SIGTRAP | 0x80:
                self._stopped(thread)
            elif os.WIFSTOPPED(status):
                sent = os.WSTOPSIG(status)
                passed = 0 if sent in (signal.SIGTRAP, signal.SIGSTOP) else sent
            elif thread == self._child:
                return os.WEXITSTATUS(status) if os.WIFEXITED(status) else None

    def _stopped(self, thread: int) -> None:
        buffer = ctypes.create_string_buffer(96)
        libc.ptrace(SYSCALL_INFO, thread, 96, ctypes.addressof(buffer))
        number, *arguments = struct.unpack_from("<7Q", buffer.raw, 24)
        if buffer.raw[0] != 1:
            self._ends(thread)
        elif changes_files(thread, number, arguments, self._root):
            self.n_calls += 1
            if self.n_calls == self._at or (self._lasting and self.n_calls > self._at):
                self._begins(thread, number, arguments)

    def _begins(self, thread: int, number: int, arguments: Sequence[int]) -> None:
        if self._how == "torn" and number in WRITES:
            self._halved = True
            libc.ptrace(POKEUSER, thread, RDX, max(1, arguments[2] // 2))
        elif self._how in ("kill", "torn"):
            os.kill(self._child, signal.SIGKILL)
        else:
            self._failing.add(thread)
            libc.ptrace(POKEUSER, thread, ORIG_RAX, 2**64 - 1)

    def _ends(self, thread: int) -> None:
        if self._halved:
            os.kill(self._child, signal.SIGKILL)
        elif thread in self._failing:
            self._failing.remove(thread)
            libc.ptrace(POKEUSER, thread, RAX, 2**64 - getattr(errno, self._how))


def finish(root: Path, line: str) -> int:
    """Run a command to its end; give its exit code."""
    _, status = os.waitpid(start(root, line, traced=False), 0)
    return os.waitstatus_to_exitcode(status)


def names(root: Path) -> set[str]:
    """Give every path; of the segments of a store only how many there are."""
    found = {str(path.relative_to(root)) for path in root.rglob("*")}
    segments = {name for name in found if "segments/" in name}
    folders = {os.path.dirname(name) for name in segments}
    return found - segments | {
        f"{folder}: {sum(name.startswith(folder) for name in segments)}" for folder in folders
    }


def look(output: Path) -> object:
    """Give what a reader finds: rows of a store, bytes of a file or folder, or nothing."""
    is_directory = (output / "lock").exists()
    if is_directory and not any(output.glob("*.json")):
        return None  # a run that has committed nothing yet
    if is_directory or output.suffix == ".h5":
        try:
            with open_store(output) as store:
                assert store.verify() == []
                return rows(store)
        except (StoreNotFoundError, StoreUnfinishedError):
            return None
    if output.is_dir():
        files = (path for path in output.rglob("*") if path.is_file())
        return {str(path.relative_to(output)): path.read_bytes() for path in files} or None
    return output.read_bytes() if output.exists() else None


class Trial:
    """A command, what an uninterrupted run gives and leaves, and what interrupted ones give."""

    def __init__(self, before: Path, folder: Path, name: str) -> None:
        self._before, self._folder = before, folder
        self._line, self._output = COMMANDS[name]
        whole = folder / "whole"
        shutil.copytree(before, whole)
        self._old = look(whole / self._output)
        assert finish(whole, self._line) == 0, Path(f"{whole}.log").read_text()
        self._new, self._left = look(whole / self._output), names(whole)

    def problems(self, how: str, at: int) -> list[str] | None:
        """Interrupt it at a call and say what is wrong; None where it makes fewer calls."""
        root = self._folder / "at"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(self._before, root)
        run = Interruption(root, self._line, at, how)
        if run.n_calls < at:
            return None
        said = Path(f"{root}.log").read_text()
        found = self._found(root)
        code = finish(root, self._line)
        again = Path(f"{root}.log").read_text()
        wrong = {
            f"exit status {run.exit_code}: {said}": "Traceback" in said
            or run.exit_code not in (None, 0, 1),
            f"readers find a part, or nothing where something was: {found}": found
            not in (self._old, self._new),
            f"exit status 0 without the whole output: {said}": run.exit_code == 0
            and found != self._new,
            f"the next run ends with {code}: {again}": code not in (0, 1)
            or (code == 1 and "exists" not in again),
            f"the next run gives something else: {again}": self._found(root) != self._new,
            f"left: {sorted(names(root) ^ self._left)}: {again}": names(root) != self._left,
        }
        return [text[:500] for text, holds in wrong.items() if holds]

    def _found(self, root: Path) -> object:
        try:
            return look(root / self._output)
        except Exception as error:
            return error


def make_stores(root: Path) -> Path:
    """Write what the commands work on."""
    root.mkdir(parents=True)
    embed(root / "a.h5", source(range(9)), QuickFiles())
    embed(root / "b.h5", source(range(9, 15)), QuickFiles())
    embed(root / "old.h5", source(range(2)), QuickFiles())
    (root / "empty").mkdir()
    (root / "pictures").mkdir()
    items = []
    for number in range(3):
        path = root / "pictures" / f"{number}.png"
        picture(number).save(path)
        items.append(DatasetItem(str(number), subset="train", media=Image.from_file(str(path))))
    pictures = SourceDataset(Dataset.from_iterable(items), root=root / "pictures")
    embed(root / "pictures.h5", pictures, QuickFiles())
    write_pictures(root / "data", 3, (48, 40))
    sha = hashlib.sha256((root / "data/images/train/00001.png").read_bytes()).hexdigest()
    row = Finding(subset="train", id="00001", action="drop", content_sha256=sha)
    Findings([row]).to_csv(root / "findings.csv")
    for name in ("dir", "bad"):
        embed(root / name, source(range(12)), QuickFiles())
    segment = min((root / "bad" / "segments").iterdir())
    data = bytearray(segment.read_bytes())
    data[np.flatnonzero(np.frombuffer(data, np.uint8))[-1]] ^= 1
    segment.write_bytes(data)
    for line in (
        "index b.h5",
        "convert a.h5 --to parquet -o a.parquet",
        "convert a.h5 --to npy -o a.npy.d",
    ):
        assert finish(root, line) == 0, line
    return root


def main() -> int:
    """Run what the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--commands", nargs="+", metavar="NAME[@N]", default=list(COMMANDS))
    parser.add_argument("--how", nargs="+", default=["kill"])
    chosen = parser.parse_args()
    folder = chosen.folder.resolve()
    before = make_stores(folder / "before")
    gc.freeze()  # no collection in a fork copies what was imported
    n_problems = 0
    for command, how in itertools.product(chosen.commands, chosen.how):
        name, _, every = command.partition("@")
        with tempfile.TemporaryDirectory(dir=folder) as place:
            trial = Trial(before, Path(place), name)
            n_points = 0
            for at in itertools.count(int(every or 1), int(every or 1)):
                found = trial.problems(how, at)
                if found is None:
                    break
                n_points += 1
                n_problems += len(found)
                for problem in found:
                    print(f"{name}, {how} at {at}: {problem.strip()}", flush=True)
            print(f"{name}, {how}: {n_points} calls", flush=True)
    return 1 if n_problems else 0


if __name__ == "__main__":
    sys.exit(main())
