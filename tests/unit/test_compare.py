"""Two stores: copies across, what is new, what changed, and labels that drift."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from datumaro import Dataset
from PIL import Image, ImageOps

from copies_support import noise, scene
from datumaro_embed import Findings, compare, embed_dataset
from datumaro_embed.encoders import FakeEncoder
from datumaro_embed.errors import EmbedWarning, ModelMismatchError, UsageError
from datumaro_embed.similarity import neighbours
from search_support import item, memory_store


def embed(folder: Path, store: Path, form: str = "image_dir", **encoder: int):
    dataset = Dataset.import_from(str(folder), form)
    options = {"encoder": FakeEncoder(**encoder), "root": folder, "progress": False}
    return embed_dataset(dataset, store, **options)


def save(folder: Path, **pictures: Image.Image) -> Path:
    folder.mkdir(exist_ok=True)
    for name, picture in pictures.items():
        picture.save(folder / f"{name}.png")
    return folder


def told(found: Findings) -> dict[tuple[str, str], tuple[str, str]]:
    return {(row.kind, row.id): (row.suggestion, row.reason) for row in found}


def test_copies_across_are_proven_and_name_items_of_b(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = save(tmp_path / "a", a=scene(1), b=scene(2), c=noise(5), c2=noise(5))
    shutil.copy(one / "c.png", save(tmp_path / "b") / "a.png")
    small, turned = scene(1).resize((120, 90)), ImageOps.mirror(scene(2))
    save(tmp_path / "b", small=small, turned=turned, own=noise(7), own2=noise(7), moved=scene(9))
    with embed(one, tmp_path / "a.h5") as a, embed(tmp_path / "b", tmp_path / "b.h5") as b:
        found = compare(a, b)
        assert not found.same_keys
        copies = found.findings.filter(kind="copy")
        assert told(copies) == {  # own2 is a copy of B's own
            ("copy", "a"): ("drop", "the same file as default/c of A"),
            ("copy", "small"): ("drop", "the same picture, resized, as default/a of A"),
            ("copy", "turned"): ("drop", "the same picture, mirrored, as default/b of A"),
        }
        assert {row.store for row in found.findings} == {b.uuid}
        assert {row.content_sha256 for row in copies} == {
            b.item(b.row(row.key)).content_sha256.hex() for row in copies
        }
        # Where A's images are gone, only identical files are copies.
        gone = save(tmp_path / "elsewhere")
        found = compare(a, b, media_root_a=gone)
        assert [row.id for row in found.findings.filter(kind="copy")] == ["a"]
        assert found.n_unread > 0
        with pytest.raises(UsageError, match=r"no folder 'nowhere'.*with media_root_b"):
            compare(a, b, media_root_b="nowhere")
        one.rename(tmp_path / "moved")
        found = compare(a, b)
        assert [row.id for row in found.findings.filter(kind="copy")] == ["a"]
        assert "There is no folder" in caplog.text
        assert "copies are found only if the files are identical" in caplog.text


def test_stores_of_two_models_are_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "a", a=scene(1))
    embed(folder, tmp_path / "a.h5").close()
    embed(folder, tmp_path / "b.h5", seed=1).close()
    with pytest.raises(
        ModelMismatchError, match=r"b\.h5' has vectors .*, but .* is required\. '.*a\.h5' has these"
    ):
        compare(tmp_path / "a.h5", tmp_path / "b.h5")


def test_before_and_after_in_one_folder(tmp_path: Path) -> None:
    """A's changed images are gone: B's files at their paths prove nothing."""
    folder = save(tmp_path / "d", same=scene(1), other=scene(2), gone=noise(4), big=scene(3))
    with embed(folder, tmp_path / "a.h5") as a:
        (folder / "gone.png").unlink()
        gray = scene(2).convert("L").convert("RGB")
        save(folder, other=gray, new=ImageOps.mirror(scene(1)), copy=noise(11))
        shutil.copy(folder / "big.png", folder / "again.png")
        with embed(folder, tmp_path / "b.h5") as b:
            found = compare(a, b)
            assert (found.same_keys, found.n_unchanged, found.n_rows) == (True, 2, (4, 6))
            rows = told(found.findings.filter(lambda row: row.kind != "novel"))
            added = ("review", "A has no item of this key")
            assert rows == {
                ("copy", "again"): ("drop", "the same file as default/big of A"),
                ("copy", "new"): ("drop", "the same picture, mirrored, as default/same of A"),
                ("changed", "other"): ("review", "its bytes differ from those in A"),
                ("removed", "gone"): ("review", "B has no item of this key"),
                **{("added", name): added for name in ("again", "copy", "new")},
            }
            (removed,) = found.findings.filter(kind="removed")
            assert removed.store == a.uuid
            every = compare(a, b, same_keys=False).findings
            assert {row.kind for row in every} <= {"copy", "novel"}
            assert {row.id for row in every.filter(kind="copy")} == {"same", "big", "again", "new"}
        # A's images elsewhere: what became of one is known.
        old = save(tmp_path / "old", other=scene(2))
        (row,) = compare(a, tmp_path / "b.h5", media_root_a=old).findings.filter(kind="changed")
        assert row.reason == "the same picture, gray, as in A"
        assert 0.5 < row.value < 1


def test_an_image_that_b_cannot_read_is_said_to_have_no_vector(tmp_path: Path) -> None:
    folder = save(tmp_path / "d", a=scene(1), b=scene(2))
    embed(folder, tmp_path / "a.h5").close()
    (folder / "b.png").write_bytes(b"no image")
    with pytest.warns(EmbedWarning, match="1 of 2 items failed"):
        embed(folder, tmp_path / "b.h5").close()
    (row,) = compare(tmp_path / "a.h5", tmp_path / "b.h5").findings.filter(kind="changed")
    assert (row.id, row.reason) == ("b", "it has no vector in B (unreadable)")


def clouds(seed: int, n: int, dim: int, n_far: int = 0) -> np.ndarray:
    """Vectors about one direction, and some about another."""
    rng = np.random.default_rng(seed)
    centers = np.repeat(np.eye(dim)[:2], [n - n_far, n_far], axis=0)
    return centers + 0.5 / np.sqrt(dim) * rng.normal(size=(n, dim))


def test_what_is_far_from_all_of_a_is_novel(tmp_path: Path) -> None:
    one = memory_store(clouds(0, 400, 32), [item("train", f"{n:03}") for n in range(400)])
    other = memory_store(clouds(1, 300, 32, n_far=20), [item("new", f"{n:03}") for n in range(300)])
    found = compare(one, other, media_root_a=tmp_path, media_root_b=tmp_path).findings
    ids = [int(row.id) for row in found.filter(kind="novel")]
    assert {*ids[:20]} == {*range(280, 300)}
    assert len(ids) < 30  # 1 % of the others, by chance
    assert [row.rank for row in found] == list(range(1, len(ids) + 1))
    assert [row.value for row in found] == sorted(row.value for row in found)
    empty = memory_store(np.zeros((0, 32)), [])
    roots = {"media_root_a": tmp_path, "media_root_b": tmp_path}
    assert {row.reason for row in compare(empty, other, **roots).findings} == {"A is empty"}
    assert len(compare(one, empty, **roots).findings) == 0


def test_drift_is_more_than_the_size_of_a_label_explains(tmp_path: Path) -> None:
    """`cat` has moved; `dog` has not; of `car` there are 2 and 3, as far apart as chance has it."""
    stores = []
    for seed, at in enumerate((0.0, 0.3)):
        rng = np.random.default_rng(seed)
        labels = np.repeat([0, 1, 2], [60, 200, 2 + seed])
        vectors = np.eye(24)[labels] + 0.3 * rng.normal(size=(len(labels), 24))
        vectors[labels == 0, 5] += at
        records = [item(f"s{seed}", f"{n:03}", label) for n, label in enumerate(labels.tolist())]
        stores.append(memory_store(vectors, records))
    roots = {"media_root_a": tmp_path, "media_root_b": tmp_path}
    found = compare(*stores, **roots)
    cat, *others = found.drift
    assert (cat.label, cat.n_rows, cat.is_drift) == ("cat", (60, 60), True)
    by_name = {one.label: one for one in others}
    assert not any(one.is_drift for one in others)
    assert by_name["car"].distance > cat.distance > 3 * cat.expected
    lines = list(found.lines())
    assert "1 of 3 labels drifted (items)" in lines
    assert lines[-1].split()[:3] == ["cat", "60", "60"]
    assert not any(one.is_drift for one in compare(stores[0], stores[0], **roots).drift)


def test_neighbours_among_others() -> None:
    vectors = np.random.default_rng(0).standard_normal((300, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1)[:, None]
    rows, among = np.arange(0, 300, 3), np.arange(0, 300, 2)  # some are in both
    products = vectors[rows] @ vectors[among].T
    products[rows[:, None] == among] = -2
    exact = among[np.argsort(-products, axis=1)[:, :3]]
    found = neighbours(vectors, rows, 3, among=among)
    assert np.mean([len({*a} & {*b}) / 3 for a, b in zip(found, exact, strict=True)]) > 0.95
    assert (neighbours(vectors, rows, 2, among=among[:0]) == -1).all()
