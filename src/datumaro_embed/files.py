"""Everything that is written appears whole or not at all: the one publisher of the package.

`publish` puts a file in place, `new_path` what a library writes by itself (a file or a folder).
Every call of a store goes through `FileSystem`: a test hands in a subclass that records or fails
calls. What a killed process leaves is removed by the next one that writes to the same path.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import logging
import os
import secrets
import shutil
import stat
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from .errors import (
    DatumaroEmbedError,
    OutputFolderError,
    StoreExistsError,
    StoreForeignError,
    StoreLockedError,
    StoreReadError,
    StoreWriteError,
)
from .paths import refuse_empty

try:
    import fcntl
except ImportError:  # Windows: what a killed process leaves stays
    fcntl = None  # type: ignore[assignment]

_log = logging.getLogger("datumaro_embed")
_BLOCK_BYTES = 4 * 2**20
_BLOCKS_TO_HASH = 4
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux
TEMPORARY_PREFIX, TEMPORARY_SUFFIX = ".datumaro-embed-", ".tmp"
Buffer = bytes | bytearray | memoryview
Identity = tuple[int, int, int, int]


class FileSystem:
    """The operating system's calls, by name; every one raises `OSError`."""

    make_directory = staticmethod(os.mkdir)  # one, whose parent exists
    write = staticmethod(os.write)  # some of the bytes; tells how many
    fsync = staticmethod(os.fsync)  # returns when the file's bytes are on the device
    close = staticmethod(os.close)  # hears of errors that only now come up
    replace = staticmethod(os.replace)  # in one step; readers see the old file or the new one
    unlink = staticmethod(os.unlink)
    remove_directory = staticmethod(os.rmdir)  # an empty one

    def free_bytes(self, directory: Path) -> int:
        """Bytes that this user may still write."""
        return shutil.disk_usage(directory).free

    def create(self, path: Path) -> int:
        """Open a new file for writing; fails where one is there."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        return os.open(path, flags, 0o666)

    def exchange(self, one: Path, other: Path) -> bool:
        """Give each the name of the other in one step; false where the system cannot do that."""
        rename = (
            getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
            if sys.platform == "linux"
            else None
        )
        if rename is None:
            return False
        names = (os.fsencode(one), os.fsencode(other))
        if rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
            return True
        code = ctypes.get_errno()
        if code in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):  # as on network file systems
            return False
        raise OSError(code, os.strerror(code), str(one), None, str(other))

    def fsync_directory(self, directory: Path) -> None:
        """Return when the directory's entries are on the device; Windows has no such call."""
        if os.name == "nt":
            return
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def write_errors(path: Path, needs_bytes: int = 0, free_bytes: int | None = None) -> Iterator[None]:
    """Turn an `OSError` into a `StoreWriteError` that names path and cause."""
    try:
        yield
    except DatumaroEmbedError:  # some are an OSError too
        raise
    except OSError as error:
        raise StoreWriteError(
            _explain(error, path, needs_bytes, free_bytes),
            path=path,
            os_errno=error.errno,
            needs_bytes=needs_bytes,
            free_bytes=free_bytes,
        ) from error


@contextmanager
def read_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an `OSError` that is not about a missing file into a `StoreReadError`.

    Whoever reads a store must not take EIO, ESTALE, EMFILE or EACCES for damage.
    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, StoreReadError):
        raise
    except OSError as error:
        raise StoreReadError(
            f"Cannot read '{path}': {error.strerror or error}. The content may be intact. Check "
            "the device, the permissions and the limit of open files, and run the command again.",
            path=os.fspath(path),
            os_errno=error.errno,
        ) from error


def identity_of(found: os.stat_result) -> Identity:
    """Tell files apart: an inode's number is used again once its file is gone."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def identity_at(path: str | os.PathLike[str]) -> Identity | None:
    """Return the identity of what is at a path; None where nothing is.

    Raises `StoreReadError`.
    """
    try:
        with read_errors(path):
            return identity_of(os.stat(path))
    except (FileNotFoundError, NotADirectoryError):
        return None


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """Open a regular file for reading; a pipe or device is refused, not waited for.

    Raises `FileNotFoundError`: also for a path that no file can have; `StoreForeignError`: it is no
    regular file; `StoreReadError`.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with read_errors(path):
            descriptor = os.open(path, flags)
    except ValueError as error:  # a NUL or a lone surrogate
        raise FileNotFoundError(errno.ENOENT, "the path is not valid") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StoreForeignError(
            f"'{path}' is not a regular file. Name an .h5 file or a store directory.",
            path=os.fspath(path),
        )
    return os.fdopen(descriptor, "rb")


def is_being_written(stream: BinaryIO) -> bool:
    """Tell whether a program has locked a file to change it, as HDF5 does."""
    try:
        if fcntl is not None:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(stream, fcntl.LOCK_UN)
    except OSError as error:  # others: a file system without locks
        return error.errno == errno.EWOULDBLOCK
    return False


def _explain(error: OSError, path: Path, needs_bytes: int, free_bytes: int | None) -> str:
    """Say what is used up, with the numbers that are known and that explain it."""
    why = error.strerror or str(error)
    needs = f"; it needs {needs_bytes:,} bytes" if needs_bytes else ""
    if error.errno == errno.ENOSPC:
        there = next((parent for parent in (path, *path.parents) if parent.exists()), path)
        with suppress(OSError, AttributeError):  # Windows has no statvfs
            facts = os.statvfs(there)
            if facts.f_files > 0 and facts.f_favail == 0:  # btrfs counts none, and says 0 of 0
                return (
                    f"Cannot create '{path}' ({why}): its file system has no free inodes. "
                    "Remove some files, or choose another place."
                )
        if free_bytes is not None and free_bytes < needs_bytes:
            needs += f" and {free_bytes:,} are free"
        return f"Disk full ({why}) at '{path}'{needs}. Free some space, or choose another place."
    if error.errno == errno.EDQUOT:
        return (
            f"Cannot write '{path}' ({why}): your disk quota is used up{needs}. "
            "Remove some files, or choose another place."
        )
    if error.errno == errno.EFBIG:
        return (
            f"Cannot write '{path}' ({why}): the file is too large for the system{needs}. "
            "Raise the limit (`ulimit -f`), or choose another place."
        )
    return (
        f"Cannot write '{path}': {why}. "
        "Check the path and its permissions, or choose another place."
    )


def check_output(path: str | os.PathLike[str], *, remedy: str = "") -> None:
    """Refuse an output that would overwrite something, or whose folder does not exist.

    Every command checks this before it works. `remedy` is what replaces an existing output, for
    commands that can. What a process left that was killed once its output was there is removed.

    Raises
    ------
    UsageError, StoreExistsError, OutputFolderError
    """
    refuse_empty(path)
    path = Path(path)
    if os.path.lexists(path):
        remove_leftovers(path)
        way = f", or use {remedy} to replace it" if remedy else ""
        raise StoreExistsError(
            f"'{path}' already exists. Choose a path that does not exist{way}.", path=str(path)
        )
    if not path.absolute().parent.is_dir():
        raise OutputFolderError(
            f"The folder '{path.parent}' does not exist. Create it, or choose another path.",
            path=str(path),
        )


def check_writable(path: Path) -> None:
    """Refuse early a place where no file can be made; leaves nothing behind.

    Raises `StoreWriteError`: the nearest existing parent is not a directory, or is not writable.
    """
    with write_errors(path):
        parent = path.parent
        while not os.path.lexists(parent) and parent != parent.parent:
            parent = parent.parent
        if not parent.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"'{parent}' is not a directory")
        if not os.access(parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, f"no permission to write in '{parent}'")


def publish(
    path: Path,
    blocks: Iterable[Buffer],
    size_bytes: int,
    files: FileSystem,
    *,
    work: Path | None = None,
) -> str:
    """Put a whole file in place: readers see what was there before, or all of it; never a part.

    Free space is checked, then: temporary file, write, fsync, rename over the target, fsync of the
    directory. Missing parent directories are made, and removed on failure.

    Raises `StoreWriteError`: what was there before is untouched and nothing else is left, unless
    the failure was in the very last step, after which the new file is in place but may not survive
    a power loss.

    Parameters
    ----------
    blocks : iterable of buffers
        The bytes, end to end; only a few blocks are held at once.
    size_bytes : int
        Of all of them.
    work : Path, optional
        Directory of the temporary file, on the same file system, which the caller cleans up after
        dead processes; a `workspace` unless given.

    Returns
    -------
    str
        SHA-256 of the file, hexadecimal.
    """
    made: list[Path] = []
    try:
        with write_errors(path, size_bytes):
            make_parents(path.parent, files, made)
        free = checked_free_bytes(path, size_bytes, files)
        with nullcontext(work) if work else workspace(path) as folder:
            name = f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
            temporary = folder / name
            try:
                with write_errors(path, size_bytes, free):
                    digest = _write_file(temporary, blocks, files)
                    files.replace(temporary, path)
            except BaseException:
                with suppress(OSError):
                    files.unlink(temporary)
                raise
    except BaseException:
        with suppress(OSError):
            for directory in reversed(made):
                files.remove_directory(directory)
        raise
    with write_errors(path, size_bytes):
        for directory in dict.fromkeys([path.parent, *(d.parent for d in reversed(made))]):
            files.fsync_directory(directory)
    return digest


@contextmanager
def new_path(
    out: Path, *, directory: bool = False, replace: bool = False, remedy: str = ""
) -> Iterator[Path]:
    """Yield a path beside `out` to write to; it becomes `out` when the block succeeds.

    Raises `StoreExistsError`: something is at `out`, before or after the block;
    `OutputFolderError`; `StoreWriteError`: the operating system refused; nothing is left behind.

    Parameters
    ----------
    out : Path
        Its folder must exist.
    directory : bool
        An empty directory is made at the path yielded; otherwise the block makes a file there.
    replace : bool
        A directory may be at `out`, and is replaced: in one step, but where the file system cannot
        exchange two names (as on NFS), with an instant without either.
    remedy : str
        Flag or parameter that asks for it, for the error.
    """
    out = Path(os.path.abspath(out))
    _check_free(out, replace=replace, remedy=remedy)
    check_writable(out)
    files = FileSystem()
    with workspace(out) as folder:
        new = folder / "new"
        with write_errors(out):
            if directory:
                new.mkdir()
            yield new
            for path in (*new.rglob("*"), new):
                if path.is_dir():
                    files.fsync_directory(path)
                    continue
                with path.open("r+b") as file:
                    files.fsync(file.fileno())
        _check_free(out, replace=replace, remedy=remedy)
        with write_errors(out):
            if not out.is_dir():
                files.replace(new, out)
            elif not files.exchange(new, out):
                files.replace(out, folder / "old")
                try:
                    files.replace(new, out)
                except BaseException:
                    files.replace(folder / "old", out)
                    raise
            files.fsync_directory(out.parent)


def _check_free(out: Path, *, replace: bool, remedy: str) -> None:
    if not (replace and out.is_dir()):
        check_output(out, remedy=remedy)


@contextmanager
def workspace(out: Path) -> Iterator[Path]:
    """Yield an empty directory beside `out`, removed afterwards.

    Those that killed processes left for the same output are removed first: nobody holds their lock.
    Raises `StoreWriteError`.
    """
    remove_leftovers(out)
    with write_errors(out):
        while True:
            folder = Path(tempfile.mkdtemp(TEMPORARY_SUFFIX, _prefix(out), out.parent))
            if (lock := _lock_directory(folder)) is not None:
                break
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


@contextmanager
def scratch(folder: Path | None = None) -> Iterator[Path]:
    """Yield an empty directory in a folder, by default the system's for temporary files.

    It is removed afterwards, and so are those that killed processes left there. Raises
    `StoreWriteError`, which names the folder, also for an `OSError` of the block.
    """
    folder = Path(tempfile.gettempdir()) if folder is None else folder
    with workspace(folder / "scratch") as inside, write_errors(folder):
        yield inside


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target`, and its folders, a hard link to the file behind `source`; else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


@contextmanager
def resumable_workspace(out: Path, mark: str) -> Iterator[Path | None]:
    """Yield a directory beside `out`, with what a killed process of the same mark left there.

    It is removed when the block succeeds, and stays where it fails and something is in it; what was
    left with other marks is removed first. None where another process has it. Raises
    `StoreWriteError`.
    """
    folder = out.parent / f"{_prefix(out)}{mark}{TEMPORARY_SUFFIX}"
    remove_leftovers(out, but=folder)
    with write_errors(out):
        folder.mkdir(exist_ok=True)
        lock = _lock_directory(folder)
    if lock is None:
        yield None
        return
    try:
        yield folder
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        with suppress(OSError):
            folder.rmdir()
        os.close(lock)


def remove_leftovers(out: Path, *, but: Path | None = None) -> None:
    """Remove the workspaces that killed processes left for an output, where that is allowed."""
    for left in out.parent.glob(f"{_prefix(out)}*{TEMPORARY_SUFFIX}"):
        if left == but:
            continue
        with suppress(OSError):
            if (lock := _lock_directory(left)) is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(lock)


def _prefix(out: Path) -> str:
    mark = hashlib.blake2b(os.fsencode(out.name), digest_size=4).hexdigest()
    return f"{TEMPORARY_PREFIX}{mark}-"


def _lock_directory(folder: Path) -> int | None:
    """Lock a directory until the descriptor is closed; None where it is locked, or gone by now."""
    descriptor = os.open(os.devnull if fcntl is None else folder, os.O_RDONLY)
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder.stat()  # another process may have taken it for a dead one's
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EWOULDBLOCK, errno.ENOENT):
            return None
        raise
    return descriptor


def make_parents(directory: Path, files: FileSystem, made: list[Path]) -> None:
    """Make a directory and every parent that is missing; `made` gets each of them."""
    missing: list[Path] = []
    while not directory.exists():
        missing.append(directory)
        directory = directory.parent
    for parent in reversed(missing):
        try:
            files.make_directory(parent)
        except FileExistsError:  # made by another process meanwhile
            if not parent.is_dir():
                raise
            continue
        made.append(parent)


def checked_free_bytes(path: Path, needs_bytes: int, files: FileSystem) -> int:
    """Free bytes beside `path`; a `StoreWriteError` where they are fewer than needed."""
    with write_errors(path, needs_bytes):
        free = files.free_bytes(path.parent)
    with write_errors(path, needs_bytes, free):
        if free < needs_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return free


def _write_file(path: Path, blocks: Iterable[Buffer], files: FileSystem) -> str:
    """Create, write, fsync, close; return the SHA-256, which a thread computes meanwhile."""
    descriptor = files.create(path)
    digest = hashlib.sha256()
    waiting: deque[Future[None]] = deque()
    try:
        # Hashing may lag behind by a few blocks, so that it goes on while the device is waited for.
        with ThreadPoolExecutor(1, thread_name_prefix="datumaro-embed-hash") as hasher:
            for block in _joined(blocks):
                if len(waiting) == _BLOCKS_TO_HASH:
                    waiting.popleft().result()
                waiting.append(hasher.submit(digest.update, block))
                rest = memoryview(block).cast("B")
                while rest:
                    if (written := files.write(descriptor, rest)) <= 0:
                        raise OSError(errno.EIO, "the system wrote no byte and gave no reason")
                    rest = rest[written:]
            files.fsync(descriptor)
        for hashed in waiting:
            hashed.result()
    except BaseException:
        with suppress(OSError):
            files.close(descriptor)
        raise
    files.close(descriptor)
    return digest.hexdigest()


def _joined(blocks: Iterable[Buffer]) -> Iterator[Buffer]:
    """The same bytes with small blocks put together and large ones cut."""
    waiting = bytearray()
    for block in blocks:
        view = memoryview(block).cast("B")
        if len(waiting) + len(view) < _BLOCK_BYTES:
            waiting += view
            continue
        yield waiting
        waiting = bytearray()
        for start in range(0, len(view), _BLOCK_BYTES):
            yield view[start : start + _BLOCK_BYTES]
    yield waiting


class StoreLock:
    """A lock on a file, taken on construction and never waited for; a dead process holds none.

    The file is made where it is missing, and left there; `store` is for the message. Raises
    `StoreLockedError`: another process, or another writer of this one, holds it; `StoreWriteError`.
    """

    def __init__(self, path: Path, store: Path) -> None:
        self._lock = FileLock(str(path), thread_local=False)
        for _ in range(3):
            with write_errors(path):
                try:
                    self._lock.acquire(timeout=0)
                except Timeout as error:  # which is an OSError too
                    raise StoreLockedError(
                        f"Another process is writing '{store}'. Wait until it ends, or choose "
                        "another path.",
                        path=str(store),
                    ) from error
            if path.exists():  # else its last holder removed it after it was opened here
                return
            self.release()
        raise StoreLockedError(f"'{store}' is being finished by another process. Try again.")

    def release(self) -> None:
        """Let others write; a file system that cannot unlock does so when the process ends."""
        try:
            self._lock.release()
        except OSError as error:
            _log.warning("'%s' cannot be unlocked: %s", self._lock.lock_file, error)
