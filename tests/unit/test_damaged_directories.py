"""A store directory of which something is damaged, or lies there that is not its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from crash.runs import N_ITEMS, Counting, QuickFiles, content, embed, source
from datumaro_embed import open_store
from datumaro_embed.errors import StoreCorruptError
from datumaro_embed.maintenance import compact_store
from datumaro_embed.records import ItemKey, ItemRecord, Status
from datumaro_embed.store import run
from store_support import begin

N_FAILED = 5


@pytest.fixture
def store(tmp_path: Path) -> Path:
    embed(tmp_path / "store", source(), QuickFiles())
    return tmp_path / "store"


def shards(store: Path) -> list[Path]:
    return sorted((store / "segments").glob("*.h5"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def flip(path: Path) -> None:
    """Change one bit of a vector."""
    with open_store(path) as part:
        vector = next(v.tobytes() for v in part.embeddings() if v.any())
    data = bytearray(path.read_bytes())
    data[data.index(vector)] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "place"),
    [(Path.unlink, 0), (cut, 0), (flip, 0), (Path.unlink, -1), (cut, -1)],  # the last is the head
)
def test_embedding_again_mends_a_finished_store(
    store: Path, damage: Callable[[Path], None], place: int, whole: dict
) -> None:
    damage(shards(store)[place])
    encoder = Counting()
    embed(store, source(), QuickFiles(), encoder=encoder)
    assert encoder.n_images < N_ITEMS - N_FAILED
    with open_store(store) as mended:
        assert content(mended) == whole
        assert mended.categories.labels == ("cat",)
        assert mended.verify() == []


@pytest.mark.parametrize("damage", [Path.unlink, cut, flip])
def test_verify_lists_every_damaged_segment(store: Path, damage: Callable[[Path], None]) -> None:
    """Two lines each: the SHA-256 differs, and what is wrong inside or that it cannot be opened."""
    damaged = shards(store)[:2]
    for path in damaged:
        damage(path)
    with open_store(store) as there:
        found = there.verify()
    for path in damaged:
        assert len([line for line in found if path.name in line]) == 2, found
    assert len(found) == 4


def test_compact_does_not_make_damage_sound(store: Path) -> None:
    flip(shards(store)[0])
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    with pytest.raises(StoreCorruptError, match=r"segments/.*repair"):
        compact_store(store)
    assert before == {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}


def test_restart_replaces_a_store_whose_manifest_is_damaged(store: Path, whole: dict) -> None:
    with (store / "manifest.json").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(StoreCorruptError, match="embed again with restart"):
        embed(store, source(), QuickFiles())
    embed(store, source(), QuickFiles(), restart=True)
    with open_store(store) as anew:
        assert content(anew) == whole


def test_a_json_file_of_somebody_else_is_left_alone(store: Path, whole: dict) -> None:
    (store / "notes.json").write_text("{}")
    embed(store, source(range(30)), QuickFiles())
    embed(store, source(), QuickFiles())
    compact_store(store)
    with open_store(store) as there:
        assert content(there) == whole
    assert (store / "notes.json").read_text() == "{}"


def test_a_killed_publication_without_rows_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run, "file_image", killed)
        with pytest.raises(KeyboardInterrupt), begin(tmp_path / "e.h5", dim=2) as empty:
            empty.seal({})
    with begin(tmp_path / "e.h5", dim=2, commit_rows=2, files=QuickFiles()) as again:
        for number in range(5):
            failed = ItemRecord(ItemKey("", str(number)), status=Status.MISSING, error="gone")
            again.append(failed, None)
        assert again.suspend() == 5
