"""Files that must be refused, each with its reason and without a crash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from datumaro_embed.errors import StoreCorruptError, StoreForeignError
from datumaro_embed.store import EmbeddingStore, open_store
from datumaro_embed.store.schema import array_specs
from hostile.store_mutants import content, write_sample


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "sample.h5"
    write_sample(path)
    return path


@pytest.fixture
def path(sample: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(sample, tmp_path / "bad.h5"))


def edit(path: Path, change: Callable[[h5py.File], None]) -> None:
    """Change a sealed file with plain h5py."""
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        change(file)


def put(file: h5py.File, name: str, values: Any, **options: Any) -> None:
    """Write a dataset in place of one that is there, contiguous as ours unless told otherwise."""
    del file[name]
    file.create_dataset(name, data=values, **options)


def read_all(path: Path) -> list[Any]:
    with open_store(path) as store:
        return content(store)


def test_the_sample_is_sound(sample: Path) -> None:
    with open_store(sample) as store:
        assert store.verify() == []
        assert len(content(store)) == 9


# Not ours -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        ({}, "format is None"),
        ({"format": "keras"}, "format is None"),  # of variable length, so it is not even read
        ({"format": np.bytes_(b"keras")}, "format is 'keras'"),
        ({"format": np.arange(1000)}, "format is None"),
        ({"format": np.bytes_(b"datumaro-embed")}, "format None"),
        (
            {"format": np.bytes_(b"datumaro-embed"), "format_version": 1},
            "pre-release. Embed the dataset again, with restart",
        ),
        ({"format": np.bytes_(b"datumaro-embed"), "format_version": 3}, "format 3.*Update"),
    ],
)
def test_foreign_hdf5(tmp_path: Path, attributes: dict[str, Any], why: str) -> None:
    path = tmp_path / "foreign.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(3)
        file.attrs.update(attributes)
    with pytest.raises(StoreForeignError, match=why):
        open_store(path)


# Declarations -------------------------------------------------------------------------------------


def _soft_loop(file: h5py.File) -> None:
    del file["items/width"]
    file["items/width"] = h5py.SoftLink("/items/height")
    del file["items/height"]
    file["items/height"] = h5py.SoftLink("/items/width")


def _soft_group(file: h5py.File) -> None:
    file.move("items", "elsewhere")
    file["items"] = h5py.SoftLink("/elsewhere")


def _external_link(file: h5py.File) -> None:
    del file["items/width"]
    file["items/width"] = h5py.ExternalLink("/etc/passwd", "/x")


def _external_storage(file: h5py.File) -> None:
    del file["items/vector"]
    outside = [("/etc/passwd", 0, 10 * 16 * 2)]
    file.create_dataset("items/vector", (10, 16), "<f2", external=outside)


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((10,), "<u4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (10,))
    del file["items/width"]
    file.create_virtual_dataset("items/width", layout)


def _text(file: h5py.File) -> None:
    put(file, "items/width", ["x"] * 10, dtype=h5py.string_dtype())


def _references(file: h5py.File) -> None:
    put(file, "items/width", [file.ref] * 10, dtype=h5py.ref_dtype)


def _vlen(file: h5py.File) -> None:
    del file["items/width"]
    file.create_dataset("items/width", (10,), h5py.vlen_dtype(np.uint32))


def _unknown_filter(file: h5py.File) -> None:
    del file["items/width"]
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((10,))
    plist.set_filter(32_000, h5py.h5z.FLAG_OPTIONAL, (1,))
    space = h5py.h5s.create_simple((10,))
    h5py.h5d.create(file.id, b"items/width", h5py.h5t.STD_U32LE, space, plist)


def _bomb(file: h5py.File, shape: tuple[int, ...], **options: Any) -> None:
    del file["annotations/rle"]
    file.create_dataset("annotations/rle", shape, "u1", **options)


def _compact(file: h5py.File) -> None:
    del file["items/width"]
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.COMPACT)
    space = h5py.h5s.create_simple((10,))
    h5py.h5d.create(file.id, b"items/width", h5py.h5t.STD_U32LE, space, plist)


def _committed_type(file: h5py.File) -> None:
    del file["items/width"]
    file["items/width"] = np.dtype("<u4")


def _number(name: str, value: Any) -> Callable[[h5py.File], None]:
    return lambda file: file.attrs.__setitem__(name, value)


DECLARATIONS: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "soft link loop": (_soft_loop, "soft link"),
    "soft link to a group": (_soft_group, "soft link|unknown name"),
    "external link": (_external_link, "external link"),
    "external storage": (_external_storage, "another file"),
    "virtual dataset": (_virtual, "layout virtual"),
    "text of variable length": (_text, "items/width.*class"),
    "object references": (_references, "items/width.*class"),
    "vlen": (_vlen, "items/width.*class"),
    "unknown filter": (_unknown_filter, "layout chunked, not contiguous"),
    "committed type": (_committed_type, "should be an array|no such object"),
    "unknown dataset": (lambda f: f.__setitem__("items/colour", [1]), "items/colour"),
    "unknown group": (lambda f: f.create_group("more") and None, "more"),
    "a group for an array": (
        lambda f: (f.__delitem__("meta/provenance"), f.create_group("meta/provenance"))[0],
        "meta/provenance",
    ),
    "a missing column": (lambda f: f.__delitem__("items/width"), "items/width.*missing"),
    "an optional table without one of its columns": (
        lambda f: f.__delitem__("objects/box"),
        "objects/box.*missing",
    ),
    "an optional table without its checksums": (
        lambda f: f.__delitem__("checksums/captions"),
        "checksums/captions.*missing",
    ),
    "an optional table that belongs to no item": (
        lambda f: f.__delitem__("items/objects_offsets"),
        "items/objects_offsets.*missing",
    ),
    "nothing but an empty group of an optional table": (
        lambda f: [f.__delitem__(f"objects/{name}") for name in [*f["objects"]]] and None,
        "objects/vector.*missing",
    ),
    "vectors of two types": (
        lambda f: put(f, "objects/vector", np.zeros(f["objects/vector"].shape, "<f4")),
        "objects/vector.*type is not that of items/vector",
    ),
    "vectors of two lengths": (
        lambda f: put(f, "captions/vector", np.zeros((len(f["captions/vector"]), 8), "<f2")),
        r"captions/vector.*shape",
    ),
    "rows of objects": (
        lambda f: put(f, "objects/label", np.zeros(1, "<i4")),
        r"objects/label.*shape",
    ),
    "unknown attribute": (_number("colour", 1), "colour"),
    "attribute missing": (lambda f: f.attrs.__delitem__("uuid"), "uuid.*missing"),
    "attribute of another kind": (_number("uuid", 3), "uuid.*not str"),
    "attribute vlen": (_number("run_fingerprint", "text"), "run_fingerprint.*not str"),
    "attribute array": (_number("format_minor", [0, 0]), "format_minor.*not int"),
    "attribute negative": (_number("format_minor", -1), "format_minor.*-1"),
    "type": (lambda f: put(f, "items/width", np.zeros(10, "<i4")), "type <i4, not <u4"),
    "byte order": (lambda f: put(f, "items/width", np.zeros(10, ">u4")), "type >u4"),
    "enumeration": (
        lambda f: put(f, "items/split", np.zeros(10, h5py.enum_dtype({"a": 0}, "u1"))),
        "class|unusual",
    ),
    "embedding of float64": (
        lambda f: put(f, "items/vector", np.zeros((10, 16))),
        "type <f8",
    ),
    "chunks": (
        lambda f: put(f, "items/vector", np.zeros((10, 16), "<f2"), chunks=(10, 16)),
        "layout chunked, not contiguous",
    ),
    "compact": (_compact, "layout compact, not contiguous"),
    "rank": (lambda f: put(f, "items/width", np.zeros((10, 1), "<u4")), r"shape \(10, 1\)"),
    "rows": (lambda f: put(f, "items/width", np.zeros(11, "<u4")), r"shape \(11,\)"),
    "no vector at all": (
        lambda f: put(f, "items/vector", np.zeros((10, 0), "<f2")),
        r"shape \(10, 0\)",
    ),
    "resizable": (
        lambda f: put(f, "items/width", np.zeros(10, "<u4"), maxshape=(None,), chunks=(10,)),
        "items/width.*shape",
    ),
    "gzip": (
        lambda f: put(f, "items/width", np.zeros(10, "<u4"), chunks=(10,), compression="gzip"),
        "layout chunked, not contiguous",
    ),
    "checksum filter": (
        lambda f: put(f, "items/width", np.zeros(10, "<u4"), chunks=(10,), fletcher32=True),
        "layout chunked, not contiguous",
    ),
    "shape bomb": (lambda f: _bomb(f, (2**40,)), "exceed the file's size"),
    "gzip bomb": (
        lambda f: _bomb(f, (2**26,), chunks=(2**16,), compression="gzip"),
        "layout chunked, not contiguous",
    ),
    "huge JSON": (
        lambda f: put(f, "meta/provenance", np.zeros(65 * 2**20, "u1")),
        "JSON of .* too large",
    ),
}


@pytest.mark.parametrize("name", DECLARATIONS)
def test_a_strange_declaration_is_refused_on_opening(path: Path, name: str) -> None:
    change, why = DECLARATIONS[name]
    edit(path, change)
    with pytest.raises(StoreCorruptError, match=why) as caught:
        open_store(path)
    assert caught.value.path == str(path)  # type: ignore[attr-defined]


def test_a_user_block(sample: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.h5"
    path.write_bytes(bytes(512) + sample.read_bytes())
    with pytest.raises(StoreForeignError, match="does not start like an HDF5 file"):
        open_store(path)


def test_a_vector_array_without_bytes(path: Path) -> None:
    def change(file: h5py.File) -> None:
        del file["items/vector"]
        file.create_dataset("items/vector", (10, 16), "<f2")

    edit(path, change)
    with pytest.raises(StoreCorruptError, match="missing from the file"):
        open_store(path)


def test_a_higher_minor_version_is_read_and_its_additions_are_ignored(path: Path) -> None:
    def change(file: h5py.File) -> None:
        file.attrs["format_minor"] = 1
        file.attrs["colour"] = "red"
        file["items/colour"] = ["red"] * 10
        file["outside"] = h5py.ExternalLink("/etc/passwd", "/x")

    before = read_all(path)
    edit(path, change)
    assert read_all(path) == before


def test_a_higher_minor_version_is_guarded_too(path: Path) -> None:
    edit(path, lambda file: (file.attrs.__setitem__("format_minor", 1), _external_link(file))[0])
    with pytest.raises(StoreCorruptError, match="external link"):
        open_store(path)


# Values -------------------------------------------------------------------------------------------


def _set(name: str, index: Any, value: Any) -> Callable[[h5py.File], None]:
    return lambda file: file[name].__setitem__(index, value)


OFFSETS = [path for path in array_specs() if path.endswith("_offsets")]


@pytest.mark.parametrize("name", OFFSETS)
@pytest.mark.parametrize(
    ("index", "value", "why"),
    [(0, 1, "do not run from 0"), (-1, 2**63, "do not run from 0"), (1, 2**64 - 1, "ascending")],
)
def test_bad_offsets(path: Path, name: str, index: int, value: int, why: str) -> None:
    edit(path, _set(name, index, np.uint64(value)))
    with open_store(path) as store:
        with pytest.raises(StoreCorruptError, match=why):
            store.column(name)
        assert any(name in problem for problem in store.verify())


@pytest.mark.parametrize(
    "name",
    [
        *("items/split", "items/status", "items/subset", "annotations/type"),
        *("objects/status", "objects/shape"),
    ],
)
def test_codes_out_of_range(path: Path, name: str) -> None:
    edit(path, _set(name, 0, 200))
    with open_store(path) as store, pytest.raises(StoreCorruptError, match="200 is not below"):
        store.column(name)


@pytest.mark.parametrize(
    ("change", "read", "why"),
    [
        (_set("items/id", 0, 0xFF), lambda s: s.item(0), "items/id"),
        (_set("items/attributes", 0, 0xFF), lambda s: s.item(0), "items/attributes"),
        (_set("meta/provenance", 0, 0x5B), lambda s: s.provenance, "meta/provenance"),
        (_set("meta/categories", 0, 0), lambda s: s.categories, "meta/categories"),
        (_set("labels/name", 0, 0xFF), lambda s: s.categories, "labels/name"),
    ],
)
def test_text_and_json_that_do_not_decode(
    path: Path,
    change: Callable[[h5py.File], None],
    read: Callable[[EmbeddingStore], object],
    why: str,
) -> None:
    edit(path, change)
    with open_store(path) as store:
        with pytest.raises(StoreCorruptError, match=why):
            read(store)
        assert store.verify() != []


# Damage -------------------------------------------------------------------------------------------


def test_a_file_cut_anywhere_is_refused(sample: Path, tmp_path: Path) -> None:
    data = sample.read_bytes()
    path = tmp_path / "cut.h5"
    for end in range(0, len(data), 97):
        path.write_bytes(data[:end])
        with pytest.raises((StoreCorruptError, StoreForeignError)):
            open_store(path)


@pytest.mark.parametrize("n_mutants", [120, pytest.param(400, marks=pytest.mark.slow)])
@pytest.mark.parametrize("layout", ["file", "directory", "index"])
def test_no_mutant_goes_unnoticed(tmp_path: Path, layout: str, n_mutants: int) -> None:
    program = Path(__file__).with_name("store_mutants.py")
    command = [sys.executable, str(program), layout, str(tmp_path), str(n_mutants), "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    verdicts = Counter(done.stdout.split())
    assert verdicts.total() == n_mutants
    assert verdicts["LIED"] == 0
    assert verdicts["refused"] > 0
    assert verdicts["found"] > 0 or layout == "index"


def test_no_plugin_directory_is_searched() -> None:
    code = "import os, datumaro_embed.store; print(os.environ['HDF5_PLUGIN_PRELOAD'])"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HDF5")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=clean, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "::"
