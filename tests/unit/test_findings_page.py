"""The page of findings as a file: what it shows of each kind, and that no string is markup."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from datumaro_embed import Finding, Findings, audit, open_store
from datumaro_embed.errors import StoreExistsError
from report_stores import HOSTILE, OUR_TAGS, Outline, hostile_store


def finding(store: Path, row: int, **values: object) -> Finding:
    with open_store(store) as opened:
        sha = opened.content_sha256[row].tobytes().hex()
        return Finding.of("outlier", opened.key(row), content_sha256=sha, **values)


def written(found: Findings, store: Path, folder: Path, **options: int) -> Outline:
    found.to_html(folder / "page.html", store, **options)
    return Outline((folder / "page.html").read_text(encoding="utf-8"))


def test_no_string_of_a_finding_becomes_markup(tmp_path: Path) -> None:
    store = hostile_store(tmp_path)
    named = ("kind", "label", "measure", "suggestion", "action", "reason")
    rows = [
        replace(finding(store, row), **dict.fromkeys(named, name), value=1.0, box=(1, 2, 3, 4))
        for row, name in enumerate(HOSTILE)
    ]
    outline = written(Findings(rows), store, tmp_path)
    assert {name for name, _ in outline.tags} <= {*OUR_TAGS.split(), "defs", "use", "rect", "image"}
    assert outline.scripts == []
    assert not [a for _, attributes in outline.tags for a in attributes if a.startswith("on")]
    links = [a.get("href") or a.get("src") or "#" for _, a in outline.tags]
    assert all(link.startswith("#") for link in links)
    words = "\n".join(outline.words)
    assert all(words.count(name) >= len(named) for name in HOSTILE[:3])
    assert words.count("no picture") == len(HOSTILE)


def test_each_kind_has_a_count_its_first_findings_and_pictures(
    objects_store: Path, tmp_path: Path
) -> None:
    found = audit(objects_store)
    outline = written(found, objects_store, tmp_path, max_shown=3)
    words = " ".join(" ".join(outline.words).split())
    for kind in ("leak", "mislabel", "outlier"):
        assert re.search(rf"{kind} {len(found.filter(kind=kind))} (drop|label|review)", words)
    n_more = len(found.filter(kind="mislabel")) - 3
    assert f"{n_more} more in the findings file" in words
    first = found.filter(kind="mislabel", rank=1)[0]
    assert f"{first.id}#{first.object}" in words
    assert {f"label {first.label}", first.reason, first.suggestion} <= {
        word.strip() for word in outline.words
    }
    kept = [a for name, a in outline.tags if name == "image"]
    used = [a["href"] for name, a in outline.tags if name == "use"]
    assert {f"#{a['id']}" for a in kept} == set(used)
    assert all(str(a["href"]).startswith("data:image/webp;base64,") for a in kept)
    assert len([name for name, _ in outline.tags if name == "rect"]) == 2 * 3  # whole, and zoomed
    with pytest.raises(StoreExistsError):
        found.to_html(tmp_path / "page.html", objects_store)


def test_a_group_is_not_divided(objects_store: Path, tmp_path: Path) -> None:
    found = audit(objects_store, only=["leak"])
    assert {len(found.filter(group=group)) for group in (1, 2)} == {2}
    outline = written(found, objects_store, tmp_path, max_shown=1)
    assert len([name for name, _ in outline.tags if name == "figure"]) == 2


@pytest.mark.parametrize("change", [{"content_sha256": "0" * 64}, {"id": "elsewhere"}])
def test_findings_of_other_images_have_no_picture(
    objects_store: Path, tmp_path: Path, change: dict[str, str]
) -> None:
    found = Findings([replace(finding(objects_store, 3), **change), finding(objects_store, 4)])
    words = " ".join(written(found, objects_store, tmp_path).words)
    assert words.count("no picture") == 1
    assert "Pictures: 1." in words
