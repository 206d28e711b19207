"""What a sealed file is to HDF5 and to the operating system."""

from __future__ import annotations

import errno
import io
import os
import pickle
import shutil
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import pytest

from datumaro_embed.errors import (
    StoreError,
    StoreForeignError,
    StoreReadError,
    StoreReplacedError,
)
from datumaro_embed.records import (
    AnnotationRecord,
    CaptionRecord,
    Categories,
    ItemKey,
    ItemRecord,
    ObjectRecord,
)
from datumaro_embed.signatures import SIGNATURE_BYTES, STATISTICS
from datumaro_embed.store import open_store
from datumaro_embed.store.schema import array_specs
from store_support import create_store


def fill(path: Path, n_rows: int, dim: int = 512) -> None:
    vector = np.zeros(dim, dtype=np.float32)
    vector[0] = 1
    with create_store(path, dim=dim) as writer:
        for row in range(n_rows):
            box = AnnotationRecord("bbox", coords=(float(row), 0.0, 1.0, 1.0))
            record = ItemRecord(
                ItemKey("", f"{row:06d}"),
                annotations=(box,),
                objects=(ObjectRecord(annotations=(0,), vector=vector),),
                captions=(CaptionRecord(0, vector),),
                signature=bytes([1]) * SIGNATURE_BYTES,
                statistics=(0.5,) * len(STATISTICS),
            )
            writer.append(record, vector)
        writer.set_categories(Categories(("a",)), vector[None])
        writer.seal({"b": 1, "a": 2})


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sealed") / "store.h5"
    fill(path, 1000)
    return path


def test_vectors_lie_on_a_page_without_filters(path: Path) -> None:
    with h5py.File(path) as file:
        dataset = file["items/vector"]
        assert dataset.id.get_offset() % 4096 == 0
        assert dataset.chunks is None
        assert dataset.compression is None
        mapped = np.memmap(path, dataset.dtype, "r", dataset.id.get_offset(), dataset.shape)
        np.testing.assert_array_equal(mapped, dataset[:])


def test_every_column_can_be_mapped(path: Path) -> None:
    with h5py.File(path) as file:
        for name in array_specs():
            dataset = file[name]
            assert dataset.chunks is None, name
            if dataset.nbytes >= 4096:
                assert dataset.id.get_offset() % 4096 == 0, name
            if dataset.size:
                raw = np.fromfile(path, "u1", dataset.nbytes, offset=dataset.id.get_offset())
                assert raw.tobytes() == dataset[:].tobytes(), name


def test_plain_h5py_reads_it(path: Path) -> None:
    with h5py.File(path) as file:
        assert file.attrs["format"] == b"datumaro-embed"
        offsets, data = file["items/id_offsets"][:], file["items/id"][:].tobytes()
        assert data[offsets[7] : offsets[8]].decode() == "000007"
        assert file["meta/provenance"][:].tobytes() == b'{"a":2,"b":1}'


@pytest.mark.parametrize("locking", [None, True, False])
def test_plain_h5py_may_have_it_open_too(path: Path, locking: bool | None) -> None:
    with h5py.File(path, locking=locking) as file, open_store(path) as store:
        assert store.n_rows == len(file["items/status"])
    with open_store(path) as store, h5py.File(path) as file:
        assert store.n_rows == len(file["items/status"])


def test_a_file_open_for_writing_is_busy_and_not_damaged(path: Path, tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl", reason="locks as HDF5 takes them are POSIX")
    copy = Path(shutil.copy(path, tmp_path / "copy.h5"))
    with copy.open("r+b") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="open for writing"):
            open_store(copy)


def test_equal_input_gives_equal_bytes_but_for_the_uuid(path: Path, tmp_path: Path) -> None:
    fill(tmp_path / "again.h5", 1000)
    one, two = path.read_bytes(), (tmp_path / "again.h5").read_bytes()
    with open_store(path) as first, open_store(tmp_path / "again.h5") as second:
        uuids = first.uuid.encode(), second.uuid.encode()
    assert one.count(uuids[0]) == 1
    # The object header around the uuid carries a checksum of 4 bytes.
    masked = np.frombuffer(one.replace(*uuids), np.uint8) != np.frombuffer(two, np.uint8)
    assert masked.sum() <= 4


def test_one_row_and_a_short_vector(tmp_path: Path) -> None:
    fill(tmp_path / "small.h5", 1, dim=1)
    assert (tmp_path / "small.h5").stat().st_size < 48_000
    assert open_store(tmp_path / "small.h5").verify() == []


def test_gathering_reads_the_mapped_file(path: Path) -> None:
    with open_store(path) as store:
        assert not store.embeddings().flags.owndata
        assert store.embeddings([999, 0]).tolist() == [[1.0] + [0.0] * 511] * 2


def test_the_file_is_closed(path: Path) -> None:
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(20):
        with open_store(path) as store:
            store.item(0)
        with pytest.raises(StoreForeignError):
            open_store(path.parent)
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert after <= before + 1


@pytest.mark.parametrize("content", [b"", b"\x89HDF", b"%PDF-1.7", b"\0" * 600])
def test_other_files_are_foreign(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.h5").write_bytes(content)
    with pytest.raises(StoreForeignError, match=r"x\.h5.*Check the path"):
        open_store(tmp_path / "x.h5")


def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StoreReadError, match=r"Permission denied.*may be intact"):
        open_store(tmp_path / "x.h5")


def test_a_file_replaced_while_opening(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was opened is read, and no other file that is at its path by then."""
    path = Path(shutil.copy(path, tmp_path / "x.h5"))
    open_file = h5py.File

    def replace_and_open(stream: BinaryIO, mode: str) -> h5py.File:
        path.with_name("copy").write_bytes(b"another file")
        path.with_name("copy").replace(path)
        return open_file(stream, mode)

    monkeypatch.setattr(h5py, "File", replace_and_open)
    with open_store(path) as store:
        assert store.verify() == []
        store.parts[0].close()
        with pytest.raises(StoreReplacedError, match="replaced or removed"):
            store.item(0)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_read_error_behind_hdf5_is_no_damage(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    class Failing(io.FileIO):
        def readinto(self, buffer: Any) -> int:
            raise OSError(number, os.strerror(number))

    open_file = h5py.File

    def open_failing(stream: BinaryIO, mode: str) -> h5py.File:
        return open_file(Failing(stream.fileno(), closefd=False), mode)

    monkeypatch.setattr(h5py, "File", open_failing)
    with pytest.raises(StoreReadError, match="may be intact"):
        open_store(path)


def test_errors_pickle(path: Path) -> None:
    with pytest.raises(StoreForeignError) as caught:
        open_store(path.parent)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.path) == (str(caught.value), str(path.parent))


def test_the_view_in_one_line(path: Path) -> None:
    with open_store(path) as store:
        assert repr(store).endswith("1,000 rows x 512 float16, 1,000 annotations>")
        assert repr(store.keys()) == "<Keys of 1,000 items>"
