"""What a path given as --store means, and which are refused before anything is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from crash.runs import QuickFiles, embed, source
from datumaro_embed.errors import StoreExistsError, UsageError
from datumaro_embed.place import StorePlace


@pytest.mark.parametrize(
    ("written", "keeps_segments", "directory"),
    [
        ("e.h5", False, "e.h5.work"),
        ("e.HDF5", False, "e.HDF5.work"),
        ("deep/e.h5", False, "deep/e.h5.work"),
        ("e.h5/", True, "e.h5"),
        ("store", True, "store"),
        ("store/", True, "store"),
        ("v1.2", True, "v1.2"),
    ],
)
def test_a_path_is_read_as_it_is_written(
    written: str, keeps_segments: bool, directory: str, tmp_path: Path
) -> None:
    place = StorePlace.of(f"{tmp_path}/{written}")
    place.check()
    assert place.keeps_segments is keeps_segments
    assert place.directory == tmp_path / directory
    assert list(tmp_path.iterdir()) == []


def test_a_store_directory_stays_one_whatever_its_name(tmp_path: Path) -> None:
    embed(f"{tmp_path}/odd.h5/", source(range(3)), QuickFiles())
    assert StorePlace.of(tmp_path / "odd.h5").keeps_segments
    assert embed(tmp_path / "odd.h5", source(range(4)), QuickFiles()).n_computed == 1


@pytest.mark.parametrize("name", ["photos", "photos/", "photos.h5"])
def test_a_folder_of_something_else_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "cat.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"is a folder but not an embedding store. Name a file"):
        StorePlace.of(f"{tmp_path}/{name}").check()


@pytest.mark.parametrize("name", ["notes", "photo.h5"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xff\xd8\xff")
    with pytest.raises(StoreExistsError, match="not an embedding store, so it is not replaced"):
        StorePlace.of(tmp_path / name).check()


@pytest.mark.parametrize("name", ["clip.txt", "clip.h5.bak", "clip.parquet"])
def test_a_name_that_looks_like_another_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"ends in \.\w+\. Name a file that ends in \.h5"):
        StorePlace.of(tmp_path / name).check()
    StorePlace.of(f"{tmp_path / name}/").check()
    StorePlace.of(tmp_path / "clip-1.5").check()


def test_an_empty_folder_may_become_a_store(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    embed(tmp_path / "new", source(range(3)), QuickFiles())
    assert (tmp_path / "new" / "manifest.json").exists()
