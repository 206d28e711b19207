"""The report as a file: what it says, what it may load; no string of a dataset is markup."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datumaro_embed import (
    AnnotationRecord,
    Categories,
    ItemKey,
    ItemRecord,
    ReportOptions,
    Split,
    Status,
    open_store,
    write_report,
)
from datumaro_embed.errors import MissingExtraError, StoreExistsError, UsageError
from datumaro_embed.images import read_info
from datumaro_embed.report.analysis import Analysis, isolated, typical
from datumaro_embed.report.facts import collect, size_facts
from datumaro_embed.report.page import environment, main_labels
from datumaro_embed.report.projection import pca
from datumaro_embed.report.thumbnails import SIDE_PX, thumbnails
from datumaro_embed.store import EmbeddingStore, MemoryStores
from datumaro_embed.vectors import VectorKind
from report_stores import HOSTILE, hostile_store, many_points
from search_support import item, memory_store
from store_support import create_store
from support import picture

OUR_TAGS = """
html head meta title style body a header p h1 dl div dt dd nav ul li main section h2 h3 noscript
label select option button input aside span textarea table thead tbody tr th td article figure
figcaption img details summary strong code script svg path text circle footer
"""


class Outline(HTMLParser):
    """Tags, attributes and text of a page, as a browser's tokenizer sees them."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style":
            self.words.append(data)


def written(store: Path, folder: Path, **options: object) -> str:
    out = folder / "report.html"
    with open_store(store) as opened:
        write_report(opened, out, ReportOptions(**options))  # type: ignore[arg-type]
    return out.read_text(encoding="utf-8")


def data_of(html: str) -> dict[str, object]:
    block = re.search(r'<script type="application/json" id="data">(.*?)</script>', html)
    assert block
    found: dict[str, object] = json.loads(block.group(1))
    return found


def test_no_string_of_a_dataset_becomes_markup(tmp_path: Path) -> None:
    outline = Outline(written(hostile_store(tmp_path), tmp_path, title=HOSTILE[0]))
    assert {name for name, _ in outline.tags} <= set(OUR_TAGS.split())
    assert not [a for _, attributes in outline.tags for a in attributes if a.startswith("on")]
    assert [a["src"] for name, a in outline.tags if name == "img"] == []
    words = "\n".join(outline.words)
    assert HOSTILE[0] in words
    assert HOSTILE[1] in words
    assert len([name for name, _ in outline.tags if name == "script"]) == 3


def test_the_policy_names_the_scripts_and_allows_no_request(tmp_path: Path) -> None:
    html = written(hostile_store(tmp_path), tmp_path)
    outline = Outline(html)
    policy = next(a["content"] for _, a in outline.tags if a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "connect-src" not in policy
    assert "unsafe-eval" not in policy
    assert "'unsafe-inline'" not in policy.split(";")[1]
    links = [a.get("href") or a.get("src") for n, a in outline.tags if n in {"a", "link", "script"}]
    assert [link for link in links if link and not link.startswith("#")] == []


def test_many_points_need_the_webgl_policy(tmp_path: Path) -> None:
    html = written(many_points(tmp_path, 4_500), tmp_path)
    policy = next(a["content"] for _, a in Outline(html).tags if a.get("http-equiv"))
    assert policy is not None
    assert policy.split("; ")[1].endswith(" 'unsafe-eval'")
    assert data_of(html)["webgl"] is True


def test_what_the_page_says(coco_store: Path, tmp_path: Path) -> None:
    html = written(coco_store, tmp_path, title="Sample")
    outline = Outline(html)
    tags = [name for name, _ in outline.tags]
    assert {"header", "nav", "main", "footer", "h1"} <= set(tags)
    assert tags.count("h1") == tags.count("main") == 1
    pictures = [a for name, a in outline.tags if name == "img"]
    assert pictures
    assert all(a.get("alt") for a in pictures)
    words = " ".join(outline.words)
    for phrase in (
        "Sample",
        "69",
        "218 bbox",
        "butterfly",
        "48 train, 21 val",
        "12 different sizes",
    ):
        assert phrase in words
    data = data_of(html)
    assert len(data["id"]) == 69  # type: ignore[arg-type]
    assert len(data["thumbnails"]) == 69  # type: ignore[arg-type]


def test_thumbnails_are_small_pictures_of_their_items(coco_store: Path) -> None:
    with open_store(coco_store) as store:
        made = dict(thumbnails(store, store.provenance["media_root"], [3]))
        image = Image.open(BytesIO(b64decode(made[3])))
        item = store.item(3)
    assert max(image.size) == SIDE_PX
    assert image.width / image.height == pytest.approx(item.width / item.height, rel=0.02)


def store_with_media(root: Path, paths: list[str], **changes: bytes) -> EmbeddingStore:
    stores = MemoryStores()
    with stores.begin("s", VectorKind(2)) as writer:
        for number, path in enumerate(paths):
            real = root / path
            digest = read_info(real).content_sha256 if real.is_file() else bytes(32)
            record = ItemRecord(ItemKey("a", str(number)), path=path, content_sha256=digest)
            writer.append(record, np.array([1.0, 0.0]))
        writer.seal({})
    return stores.open("s")


def test_no_picture_from_outside_the_root(tmp_path: Path) -> None:
    root = tmp_path / "media"
    root.mkdir()
    for place in (root / "in.png", tmp_path / "out.png"):
        picture(1).save(place)
    (root / "link.png").symlink_to(tmp_path / "out.png")
    paths = ["in.png", "../out.png", str(tmp_path / "out.png"), "link.png", "", "gone.png", "."]
    made = thumbnails(store_with_media(root, paths), root, range(len(paths)))
    assert [row for row, _ in made] == [0]


def test_no_picture_of_a_file_that_has_changed(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "a.png")
    store = store_with_media(tmp_path, ["a.png"])
    picture(2).save(tmp_path / "a.png")
    assert list(thumbnails(store, tmp_path, [0])) == []


def test_the_file_keeps_its_limit(coco_store: Path, tmp_path: Path) -> None:
    bare = len(written(coco_store, tmp_path, media_root=tmp_path).encode())
    (tmp_path / "report.html").unlink()
    limit = (bare + 150_000) / 2**20
    html = written(coco_store, tmp_path, max_mb=limit)
    assert bare < len(html.encode()) <= limit * 2**20
    assert 0 < len(data_of(html)["thumbnails"]) < 69  # type: ignore[arg-type]


def test_long_names_do_not_break_the_limit(tmp_path: Path) -> None:
    """The description of a picture comes with it, as often as the page shows it."""
    path, n_items = tmp_path / "s.h5", 12
    with create_store(path, dim=2) as writer:
        for number in range(n_items):
            picture(number).save(tmp_path / f"{number:02}.png")
            writer.append(
                ItemRecord(
                    ItemKey("a", f"{number:02}"),
                    path=f"{number:02}.png",
                    content_sha256=read_info(tmp_path / f"{number:02}.png").content_sha256,
                    annotations=(AnnotationRecord("label", 0),),
                ),
                np.array([1.0, 0.0]),
            )
        writer.set_categories(Categories((30_000 * "&",)))
        writer.seal({})
    bare = len(written(path, tmp_path, media_root=tmp_path / "none").encode())
    for room in (50_000, 500_000, 5_000_000):
        (tmp_path / "report.html").unlink()
        limit = bare + room
        html = written(path, tmp_path, media_root=tmp_path, max_mb=limit / 2**20)
        assert len(html.encode()) <= limit


def test_a_limit_below_the_bare_page_is_refused(coco_store: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"max_mb 1 is too small: .* Pass max_mb 5 or more"):
        written(coco_store, tmp_path, max_mb=1.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_mb": float("nan")}, "max_mb must be"),
        ({"max_mb": float("inf")}, "max_mb must be"),
        ({"max_mb": 0}, "max_mb must be"),
        ({"threshold": 2.0}, "threshold"),
    ],
)
def test_wrong_options_are_refused_before_any_work(options: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ReportOptions(**options)


def test_nothing_is_overwritten(coco_store: Path, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(StoreExistsError, match="exists"):
        written(coco_store, tmp_path)
    assert (tmp_path / "report.html").read_text() == "mine"


@pytest.mark.parametrize(
    ("module", "umap_too"), [("jinja2", False), ("plotly.offline", False), ("umap", True)]
)
def test_a_missing_extra_says_how_to_get_it(
    coco_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, umap_too: bool
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    command = rf"{module} is not installed. Run: pip install 'datumaro-embed\[report\]'"
    with pytest.raises(MissingExtraError, match=command):
        written(coco_store, tmp_path, umap=umap_too)
    assert list(tmp_path.iterdir()) == []


def test_failures_are_listed_with_reasons_and_not_mapped(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    with create_store(path, dim=2) as writer:
        for number in range(4):
            bad = number > 1
            record = ItemRecord(
                ItemKey("a", str(number)),
                status=Status.MISSING if bad else Status.OK,
                error="no such file" if bad else "",
            )
            writer.append(record, None if bad else np.array([1.0, 0.0]))
        writer.seal({})
    html = written(path, tmp_path)
    assert "2 × <strong>missing</strong>: no such file" in html
    assert data_of(html)["id"] == ["0", "1"]


@pytest.mark.parametrize("n_ok", [0, 1, 2])
def test_tiny_stores_have_a_page(tmp_path: Path, n_ok: int) -> None:
    path = tmp_path / "s.h5"
    with create_store(path, dim=1) as writer:
        for number in range(n_ok):
            writer.append(ItemRecord(ItemKey("a", str(number))), np.array([1.0]))
        writer.append(ItemRecord(ItemKey("b", "x"), status=Status.MISSING, error="gone"), None)
        writer.seal({})
    assert len(data_of(written(path, tmp_path))["id"]) == n_ok  # type: ignore[arg-type]


def test_facts() -> None:
    stores = MemoryStores()
    boxes = tuple(AnnotationRecord("bbox", label, coords=(0, 0, 1, 1)) for label in (1, 1, 0))
    with stores.begin("s", VectorKind(1)) as writer:
        first = ItemRecord(ItemKey("a", "1"), Split.TRAIN, width=4, height=3, annotations=boxes)
        writer.append(first, np.ones(1))
        second = ItemRecord(ItemKey("b", "1"), Split.VAL, width=4, height=3, annotations=boxes[2:])
        writer.append(second, np.ones(1))
        writer.append(ItemRecord(ItemKey("b", "2"), Split.VAL), np.ones(1))
        writer.set_categories(Categories(("x", "y", "unused")))
        writer.seal({})
    with stores.open("s") as store:
        facts = collect(store)
    assert main_labels(facts).tolist() == [1, 0, 65_535]
    assert [(label.name, label.n_annotations, label.n_items) for label in facts.labels] == [
        ("x", 2, 2),
        ("y", 2, 1),
        ("unused", 0, 0),
    ]
    assert facts.labels[0].by_split == {Split.TRAIN: 1, Split.VAL: 1}
    assert facts.subsets == {"a": 1, "b": 2}
    assert facts.annotation_types == {"bbox": 4}
    assert (facts.sizes.counts, facts.sizes.n_unknown) == ([(4, 3, 2)], 1)


def test_pca_is_the_singular_value_decomposition() -> None:
    vectors = np.random.default_rng(0).standard_normal((50, 8))
    centred = vectors - vectors.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    expected = left[:, :2] * values[:2]
    found = pca(vectors.astype(np.float32)).points
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-4)
    np.testing.assert_array_equal(pca(vectors).points, pca(vectors.copy()).points)


def test_pca_of_many_rows_takes_its_directions_from_some_of_them() -> None:
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((70_000, 4)) * [9, 5, 1, 1]).astype(np.float16)
    points = pca(vectors).points
    assert len(points) == len(vectors)
    for axis in (0, 1):
        assert abs(np.corrcoef(points[:, axis], vectors[:, axis])[0, 1]) > 0.999


UMAP_CODE = """
import json, numpy as np
from datumaro_embed.report.projection import umap

rng = np.random.default_rng(0)
centres = rng.standard_normal((2, 8))
vectors = np.repeat(centres, 40, axis=0) + 0.1 * rng.standard_normal((80, 8))
print(json.dumps([umap(vectors).points.tolist(), umap(vectors).points.tolist()]))
"""


def test_umap_keeps_clusters_apart() -> None:
    """In a process of its own: numba stays loaded, with threads and handlers of its own."""
    command = [sys.executable, "-c", UMAP_CODE]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    first, again = (np.array(points) for points in json.loads(done.stdout.splitlines()[-1]))
    gap = np.linalg.norm(first[:40].mean(axis=0) - first[40:].mean(axis=0))
    assert gap > 3 * first[:40].std(axis=0).max()
    np.testing.assert_array_equal(first, again)


def test_isolated_and_typical() -> None:
    rng = np.random.default_rng(0)
    vectors = np.zeros((40, 3))
    vectors[:, 0] = 1
    vectors[:, 1] = 0.05 * rng.standard_normal(40)
    vectors[7] = [0, 0, 1]
    vectors[9] = [1, 0, 0]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ranked = isolated(vectors, 3)
    assert ranked.rows[0] == 7
    similarities = vectors @ vectors.T
    np.fill_diagonal(similarities, -2)
    expected = np.sort(similarities, axis=1)[:, -5:].mean(axis=1)
    np.testing.assert_allclose(ranked.similarities, np.sort(expected)[:3], atol=1e-6)
    assert 7 not in typical(vectors, 39).rows


def test_isolated_samples_its_references_where_there_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("datumaro_embed.report.analysis._MAX_REFERENCES", 20)
    vectors = np.zeros((100, 2))
    vectors[:, 0] = 1
    vectors[55] = [0, 1]
    ranked = isolated(vectors, 2)
    assert ranked.rows[0] == 55
    assert "20 random items" in ranked.note


@pytest.mark.parametrize("value", HOSTILE)
def test_escaping_round_trips_and_holds(value: str) -> None:
    templates = environment()
    element = templates.from_string('<p title="{{ value }}">{{ value }}</p>').render(value=value)
    outline = Outline(element)
    assert (outline.tags, "".join(outline.words)) == ([("p", {"title": value})], value)
    block = templates.from_string('<script type="application/json">{{ value|tojson }}</script>')
    outline = Outline(block.render(value={value: value}))
    assert [name for name, _ in outline.tags] == ["script"]
    assert json.loads("".join(outline.scripts)) == {value: value}


def test_no_template_opts_out_of_escaping() -> None:
    """Our own style and scripts alone are ``safe``; an attribute without quotes has no end."""
    templates = environment()
    sources = {
        name: templates.loader.get_source(templates, name)[0]  # type: ignore[union-attr]
        for name in templates.list_templates(extensions=["html"])
    }
    assert len(sources) > 5
    unescaped = re.findall(r"\{\{[^}]*\bsafe\b[^}]*\}\}", "".join(sources.values()))
    assert unescaped == ["{{ style|safe }}", "{{ script|safe }}"]
    for name, source in sources.items():
        assert not re.search(r"\w=\{[{%]|autoescape", source), name


def test_sizes_in_words() -> None:
    widths, heights = np.array([[640, 640, 640, 480, 0], [480, 480, 480, 640, 0]])
    html = environment().get_template("sizes.html").render(sizes=size_facts(widths, heights))
    outline = Outline(html)
    words = " ".join(outline.words)
    assert "2 different sizes: 480 to 640 px wide, 480 to 640 px high" in words
    assert "The most common size is 640 × 480 (3 items)" in words
    assert "3 landscape, 1 portrait, 0 square. Unknown size: 1 item." in words
    assert [a["role"] for name, a in outline.tags if name == "svg"] == ["img"]
    assert [name for name, _ in outline.tags].count("circle") == 2


def test_many_leaks_leave_room_for_duplicates_within_a_split() -> None:
    rng = np.random.default_rng(0)
    vectors, records = [], []
    for n in range(70):
        vector = rng.standard_normal(64)
        other = "train" if n >= 65 else "val"
        for subset, name in (("train", f"{n:02}a"), (other, f"{n:02}b")):
            vectors.append(vector / np.linalg.norm(vector))
            records.append(item(subset, name))
    order = sorted(range(len(records)), key=lambda row: records[row].key)
    store = memory_store(np.array(vectors)[order], [records[row] for row in order])
    shown = Analysis(store, threshold=0.95, with_umap=False).shown
    assert (len(shown[True]), len(shown[False])) == (60, 5)
    assert {key.id for group, _ in shown[False] for key in group.keys} == {
        f"{n}{side}" for n in range(65, 70) for side in "ab"
    }
