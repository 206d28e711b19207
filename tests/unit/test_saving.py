"""Copies of hits: the right files, under safe names, and nothing from outside the media root."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from datumaro_embed import Hit, ItemKey, search
from datumaro_embed.errors import (
    OutputFolderError,
    StaleStoreError,
    StoreExistsError,
    UsageError,
)
from datumaro_embed.retrieval.saving import media_file, media_root_of, save_hits
from datumaro_embed.store import EmbeddingStore
from search_support import item, memory_store


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.jpg").write_bytes(b"bytes of a")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    return folder


def store_of(*paths: str, content: bytes = b"bytes of a", name: str = "n") -> EmbeddingStore:
    sha = hashlib.sha256(content).digest()
    records = [item("train", f"{name}{n}", path=path, sha=sha) for n, path in enumerate(paths)]
    return memory_store(np.ones((len(paths), 2)), records)


def save(store: EmbeddingStore, root: Path, target: Path) -> list[str]:
    hits = search(store, np.ones(2))
    return save_hits(store, hits, target, media_root=root, skip_stale=True)


def test_files_are_named_by_rank_similarity_and_id(root: Path, tmp_path: Path) -> None:
    assert save(store_of("sub/a.jpg", "sub/a.jpg"), root, tmp_path / "out") == []
    copies = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in copies] == ["001_1.0000_n0.jpg", "002_1.0000_n1.jpg"]
    assert copies[0].read_bytes() == b"bytes of a"


@pytest.mark.parametrize(
    "path", ["../secret.txt", "/etc/hostname", "sub/../../secret.txt", "link/../../secret.txt"]
)
def test_paths_that_lead_out_are_refused(root: Path, tmp_path: Path, path: str) -> None:
    (root / "link").symlink_to(root / "sub")
    store = store_of(path, content=b"secret")
    assert save(store, root, tmp_path / "out") == ["train/n0: its path leads out of the media root"]
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("path", ["link.txt", "folder/secret.txt"])
def test_links_give_what_was_embedded_and_nothing_else(
    root: Path, tmp_path: Path, path: str
) -> None:
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "folder").symlink_to(tmp_path)
    assert save(store_of(path, content=b"secret"), root, tmp_path / "out") == []
    (copy,) = (tmp_path / "out").iterdir()
    assert copy.read_bytes() == b"secret"
    (problem,) = save(store_of(path, content=b"another"), root, tmp_path / "none")
    assert "have changed since it was embedded" in problem
    assert list((tmp_path / "none").iterdir()) == []


def test_the_copy_of_a_link_is_named_like_the_link(root: Path, tmp_path: Path) -> None:
    """A cache of DVC names files by their hashes, without a suffix."""
    (root / "sub" / "a.jpg").rename(tmp_path / "0cc175b9")
    (root / "sub" / "a.jpg").symlink_to(tmp_path / "0cc175b9")
    assert save(store_of("sub/a.jpg"), root, tmp_path / "out") == []
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["001_1.0000_n0.jpg"]


def test_links_are_not_followed_without_a_hash(root: Path, tmp_path: Path) -> None:
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "inside.txt").symlink_to(root / "sub" / "a.jpg")
    problem, file = media_file("link.txt", root, is_hashed=False)
    assert (problem, file) == ("its path leads out of the media root", None)
    assert media_file("inside.txt", root, is_hashed=False) == ("", root / "inside.txt")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "has no image file"),
        ("gone.jpg", "there is no file"),
        ("broken.jpg", "the link leads to no file"),
        ("loop.jpg", "cannot be followed"),
        ("sub", "there is no file"),
        ("a\0b", "cannot be followed"),
    ],
)
def test_items_without_a_file_are_told(root: Path, tmp_path: Path, path: str, message: str) -> None:
    (root / "broken.jpg").symlink_to(tmp_path / "gone.jpg")
    (root / "loop.jpg").symlink_to("loop.jpg")
    (problem,) = save(store_of(path), root, tmp_path / "out")
    assert message in problem
    assert list((tmp_path / "out").iterdir()) == []


def test_a_file_that_has_changed_is_not_copied(root: Path, tmp_path: Path) -> None:
    (problem,) = save(store_of("sub/a.jpg", content=b"as it was"), root, tmp_path / "out")
    assert "have changed since it was embedded" in problem
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["../../x", "a/b\\c", ".hidden", "\n\r", "é" * 300, "a" * 300])
def test_ids_make_safe_names(root: Path, tmp_path: Path, name: str) -> None:
    assert save(store_of("sub/a.jpg", name=name), root, tmp_path / "out") == []
    (copy,) = (tmp_path / "out").iterdir()
    assert copy.name.startswith("001_1.0000_")
    assert copy.suffix == ".jpg"
    assert len(copy.name.encode()) < 200


def test_a_folder_with_something_in_it_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreExistsError, match=r"already exists\. Choose a path"):
        save(store_of("sub/a.jpg"), root, root)
    with pytest.raises(StoreExistsError, match=r"already exists\. Choose a path"):
        save(store_of("sub/a.jpg"), root, root / "sub" / "a.jpg")
    for folder in (root / "sub" / "a.jpg", tmp_path / "no"):
        with pytest.raises(OutputFolderError, match=r"does not exist\. Create it"):
            save(store_of("sub/a.jpg"), root, folder / "out")


@pytest.mark.parametrize("is_there", [False, True])
def test_one_changed_file_is_an_error_and_nothing_is_copied(
    root: Path, tmp_path: Path, is_there: bool
) -> None:
    (root / "b.jpg").write_bytes(b"other bytes")
    store = store_of("sub/a.jpg", "b.jpg")
    hits = search(store, np.ones(2))
    if is_there:
        (tmp_path / "out").mkdir()
    with pytest.raises(StaleStoreError, match=r"1 of 2 images .*train/n1: .*Nothing was copied"):
        save_hits(store, hits, tmp_path / "out", media_root=root)
    assert (tmp_path / "out").exists() is is_there
    assert save(store, root, tmp_path / "out") == [
        "train/n1: the image's bytes have changed since it was embedded"
    ]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["001_1.0000_n0.jpg"]


def test_the_media_root_is_the_stores_own_unless_given(root: Path) -> None:
    store = store_of("sub/a.jpg")
    with pytest.raises(UsageError, match="does not record the folder of its images"):
        media_root_of(store)
    assert media_root_of(store, root) == root
    with pytest.raises(UsageError, match="no folder 'nowhere'"):
        media_root_of(store, "nowhere")


def test_a_hit_need_not_come_from_a_search(root: Path, tmp_path: Path) -> None:
    store = store_of("sub/a.jpg")
    hit = Hit(ItemKey("train", "n0"), row=0, similarity=-0.5, path="sub/a.jpg")
    assert list(save_hits(store, [hit], tmp_path / "out", media_root=root)) == []
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["001_-0.5000_n0.jpg"]
