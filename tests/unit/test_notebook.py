"""`show` in a notebook: the right pictures, bounded, and no name that is markup."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datumaro_embed import (
    Finding,
    Findings,
    Hit,
    ItemKey,
    ItemRecord,
    ObjectKey,
    audit,
    find_duplicates,
    open_store,
    search,
    show,
)
from datumaro_embed.errors import UsageError
from datumaro_embed.images import read_info
from datumaro_embed.page import Shown
from report_stores import HOSTILE, Outline, hostile_store
from store_support import create_store
from support import picture


def outline_of(shown: Shown) -> Outline:
    return Outline(shown._repr_html_())


def pictures(outline: Outline) -> dict[str, Image.Image]:
    """Give the pictures by their description."""
    return {
        str(a["alt"]): Image.open(BytesIO(b64decode(str(a["src"]).partition(",")[2])))
        for name, a in outline.tags
        if name == "img"
    }


def test_hits_have_their_pictures_similarities_and_labels(objects_store: Path) -> None:
    hits = search(objects_store, ItemKey("train", "photo_02"), k=3, of="items")
    outline = outline_of(show(hits, objects_store))
    assert list(pictures(outline)) == [str(hit.key) for hit in hits]
    assert f"{hits[1].similarity:.3f}" in outline.words
    with open_store(objects_store) as store:
        width, height = (int(size[hits[0].row]) for size in (store.widths, store.heights))
        shown = pictures(outline)[str(hits[0].key)]
        assert max(shown.size) == 160
        assert shown.width / shown.height == pytest.approx(width / height, rel=0.02)
        thing = search(store, ObjectKey(ItemKey("train", "photo_02"), 1), k=1, of="objects")[0]
        own = outline_of(show(thing, store))
        whole = outline_of(show(thing.key.item, store))
    assert list(pictures(own)) == [str(thing.key)]
    (crop,), (item,) = pictures(own).values(), pictures(whole).values()
    assert crop.size != item.size


def test_groups_name_their_splits_and_what_is_kept(objects_store: Path) -> None:
    report = find_duplicates(objects_store, threshold=0.95)
    words = outline_of(show(report, objects_store)).words
    group = report.groups[0]
    title = f"{len(group.keys)} alike, cosine {group.min_similarity:.3f} or more, across splits"
    assert words[0] == title
    assert {"train", "val", "keep"} <= set(words)
    assert outline_of(show(group, objects_store)).words[0] == title


def test_findings_are_shown_by_kind_and_only_of_the_image_they_were_made_of(
    objects_store: Path,
) -> None:
    found = audit(objects_store, only=["leak", "outlier"])
    outline = outline_of(show(found, objects_store, n=100))
    assert [word for word in outline.words if word in ("leak", "outlier")] == ["leak", "outlier"]
    assert len(pictures(outline)) == len(found)
    assert {"drop?", "keep?", found[0].reason} <= set(outline.words)
    other = [replace(found[0], content_sha256="0" * 64), replace(found[1], id="elsewhere")]
    words = outline_of(show(Findings(other), objects_store)).words
    assert words.count("no picture") == 2


def test_a_store_shows_some_items_and_says_how_many_more(coco_store: Path) -> None:
    shown = show(coco_store, n=5)
    outline = outline_of(shown)
    assert len(pictures(outline)) == 5
    with open_store(coco_store) as store:
        keys = [str(key) for key in store.keys()]
    assert list(pictures(outline)) == [keys[row] for row in (0, 17, 34, 51, 68)]
    assert "69 rows" in outline.words[0]
    assert outline.words[-1] == "64 more. Show more with show(…, n=10)."
    assert repr(shown) == "<Shown: 5 pictures of 69>"


def test_results_display_themselves_with_pictures_of_their_store(objects_store: Path) -> None:
    found = audit(objects_store, only="leak")
    hits = search(objects_store, ItemKey("train", "photo_02"), k=3)
    report = find_duplicates(objects_store, threshold=0.95)
    assert found._repr_html_() == show(found, objects_store)._repr_html_()
    assert found.accept().filter(kind="leak")._repr_html_() is not None
    assert hits._repr_html_() == show(hits, objects_store)._repr_html_()
    assert report._repr_html_() == show(report, objects_store)._repr_html_()
    with open_store(objects_store) as store:
        assert store._repr_html_() == show(store)._repr_html_()
    assert len(pictures(Outline(str(hits._repr_html_())))) == 3


def test_results_whose_store_is_unknown_gone_or_another_have_no_pictures(tmp_path: Path) -> None:
    def write(id_: str) -> None:
        with create_store(path, dim=2) as writer:
            writer.append(ItemRecord(ItemKey("a", id_)), np.array([1.0, 0]))
            writer.seal({})

    path = tmp_path / "s.h5"
    write("one")
    hits = search(path, np.array([1.0, 0]))
    assert "a/one" in str(hits._repr_html_())
    path.unlink()
    assert hits._repr_html_() is None
    write("two")
    assert hits._repr_html_() is None
    assert Findings([])._repr_html_() is None


def test_results_of_one_store_are_not_shown_with_another(
    objects_store: Path, coco_store: Path
) -> None:
    hits = search(objects_store, ItemKey("train", "photo_02"), k=3)
    with pytest.raises(UsageError, match="These results are of the store"):
        show(hits, coco_store)


def test_no_name_becomes_markup(tmp_path: Path) -> None:
    path = hostile_store(tmp_path)
    with open_store(path) as store:
        keys = [*store.keys()]
        named = dict.fromkeys(("kind", "suggestion", "reason"), HOSTILE[0])
        found = [Finding.of(key=key, **named) for key in keys]
        hits = [Hit(key, row, 0.5, labels=HOSTILE) for row, key in enumerate(keys)]
        shown = [show(store), show(found, store), show(hits, store), show(keys, store)]
        shown.append(show(find_duplicates(store, threshold=0.5), store))
    for each in shown:
        outline = outline_of(each)
        assert {name for name, _ in outline.tags} == {"div", "p", "figure", "bdi"} - (
            set() if any(name == "p" for name, _ in outline.tags) else {"p"}
        )
        assert {name for _, a in outline.tags for name in a} == {"style"}
    assert str(keys[0]) in outline_of(shown[3]).words


def test_pictures_and_letters_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.h5"
    with create_store(path, dim=2) as writer:
        for number in range(6):
            image = tmp_path / f"{number}.png"
            picture(number).save(image)
            sha = read_info(image).content_sha256
            key = ItemKey("a", str(number) + 5_000 * "x")
            writer.append(ItemRecord(key, path=image.name, content_sha256=sha), np.array([1.0, 0]))
        writer.seal({})
    whole = show(path, media_root=tmp_path)._repr_html_()
    assert whole.count("<img ") == 6
    assert whole.count("x" * 201) == 0
    monkeypatch.setattr("datumaro_embed.page.notebook._MAX_PICTURE_BYTES", 1)
    assert show(path, media_root=tmp_path)._repr_html_().count("<img ") == 1


def test_what_cannot_be_shown_is_refused(coco_store: Path) -> None:
    with pytest.raises(UsageError, match=r"Name the store .* show\(what, store\)"):
        show(Findings())
    with pytest.raises(UsageError, match="not int"):
        show([1, 2], coco_store)
    with pytest.raises(UsageError, match="not float"):
        show(1.5, coco_store)
    for n in (0, -1, 1.5, "3", None):
        with pytest.raises(UsageError, match="n must be a whole number of at least 1"):
            show(coco_store, n=n)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="of one type"):
        show([ItemKey("a", "b"), 2], coco_store)
