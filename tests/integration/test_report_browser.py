"""The report in a real browser: what the explorer shows, from one file, and nothing leaves it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datumaro.components.dataset import Dataset
from PIL import Image

from chromium import EXECUTABLE, Page, open_page
from datumaro_embed import (
    Findings,
    ReportOptions,
    audit,
    embed_dataset,
    explore,
    open_store,
    write_report,
)
from datumaro_embed.encoders import FakeEncoder
from datumaro_embed.page import maps
from report_stores import HOSTILE, hostile_store, many_points
from support import REPO, picture, run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(EXECUTABLE is None, reason="Chromium is not installed"),
]

AXE = REPO / "web" / "node_modules" / "axe-core" / "axe.min.js"


def report_of(store: Path, folder: Path, **options: Any) -> str:
    out = folder / "report.html"
    with open_store(store) as opened:
        write_report(opened, out, ReportOptions(**options))
    return out.as_uri()


def downloaded(page: Page, folder: Path) -> Findings:
    """Click the button that downloads the decisions, and read them."""
    page.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    page.click(".bottom .primary")
    end = time.monotonic() + 60
    while not [*folder.glob("*.csv")]:
        assert time.monotonic() < end
        time.sleep(0.1)
    (path,) = folder.glob("*.csv")
    return Findings.read(path)


def show(page: Page, url: str, view: str = "", *, dark: bool = False, width: int = 1400) -> None:
    page.go("about:blank")
    page.go(f"{url}#{view}", width=width, height=900, dark=dark)
    page.wait_for("document.querySelector('.tile[title], .finding, .scatter canvas, .info h2')")


def problems(page: Page, url: str) -> list[str]:
    """Give what the console says, and every address that is not in the file."""
    outside = [
        address
        for address in page.requests
        if not address.startswith(("data:", "blob:", "about:", url))
    ]
    return [line for line in page.console if "GPU stall" not in line] + outside


def said(page: Page, selector: str) -> list[str]:
    """Give the texts of some elements, once there are some of each and all cards."""
    for each in selector.split(", "):
        page.wait_for(f"document.querySelector({each!r})")
    page.wait_for("![...document.querySelectorAll('.tile')].some(t => !t.title)")
    page.wait_for("!document.querySelector('.finding .waiting, .context .waiting')")
    found: list[str] = page.run(
        f"[...document.querySelectorAll({selector!r})].map(e => e.title || e.textContent)"
    )
    return found


VIEWS = {
    "": ".tile",
    "subset=val&label=camera&label=cat": ".tile",
    "id=PHOTO": ".tile",
    "kind=mislabel&of=objects": ".tile",
    "kind=outlier": ".tile",
    "decided=yes": ".tile",
    "decided=no&kind=quality": ".tile",
    "of=objects&label=cup": ".tile",
    "tab=review&review=leak": ".kinds button, .group h2, .finding p",
    "tab=review&review=mislabel&group=2": ".kinds button, .group h2, .finding p, .near bdi",
    "tab=map&of=objects&color=finding": ".legend li",
    "tab=map&color=label": ".legend li, .total",
    "open=5": ".item h2, .item .list li bdi, .item .list strong",
    "tab=info": ".numbers dt, .info td, .info th, .info p",
}


def test_the_report_shows_what_the_explorer_shows(
    objects_store: Path, tmp_path: Path, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maps, "MAX_UMAP_ROWS", 0)  # the report has none either
    path = tmp_path / "f.csv"
    found = audit(objects_store)
    Findings(
        [*found.filter(kind="leak").accept(), *found.filter(lambda row: row.kind != "leak")]
    ).write(path)
    url = report_of(objects_store, tmp_path, findings=path)
    shown: list[dict[str, list[str]]] = []
    with explore(objects_store, findings=path) as live:
        for address in (live.url, url):
            texts = {}
            for view, selector in VIEWS.items():
                show(page, address, view)
                texts[view] = said(page, selector)
            shown.append(texts)
    for view in VIEWS:
        live_texts, texts = (each[view] for each in shown)
        assert texts == live_texts, view
        assert texts


def test_nothing_leaves_the_file(objects_store: Path, tmp_path: Path, page: Page) -> None:
    url = report_of(objects_store, tmp_path)
    for view in VIEWS:
        if view != "decided=yes":
            show(page, url, view)
        page.wait_for("[...document.images].every(image => image.complete && image.naturalWidth)")
    assert problems(page, url) == []
    assert page.run("document.querySelectorAll('.upload, .more, .banners .warning').length") == 0


def test_objects_without_a_picture_are_cut_out_of_their_image(
    objects_store: Path, tmp_path: Path, page: Page
) -> None:
    show(page, report_of(objects_store, tmp_path, findings=Findings()), "of=objects&label=cup")
    page.wait_for("document.querySelector('.tile img')?.complete")
    pixels = page.run(
        "(() => { const canvas = document.createElement('canvas').getContext('2d');"
        "canvas.imageSmoothingQuality = 'high';"
        "canvas.drawImage(document.querySelector('.tile img'), 0, 0, 64, 64);"
        "return [...canvas.getImageData(0, 0, 64, 64).data]; })()"
    )
    got = np.array(pixels, np.uint8).reshape(64, 64, 4)[:, :, :3]
    with open_store(objects_store) as store:
        row = next(
            row for row in range(len(store.objects)) if store.objects.labels_of(row) == ("cup",)
        )
        item, _ = store.owner("objects", row)
        x, y, w, h = store.rows("objects/box", row, row + 1)[0].tolist()
        with Image.open(Path(store.media_root) / store.item(item).path) as image:
            around = 0.15 * max(w, h)
            cut = image.convert("RGB").crop(
                (x - around, y - around, x + w + around, y + h + around)
            )
        expected = np.asarray(cut.resize((64, 64)))
    assert np.abs(got.astype(int) - expected.astype(int)).mean() < 15


def test_decisions_are_downloaded_as_a_findings_file(
    objects_store: Path, tmp_path: Path, page: Page
) -> None:
    """Accept a leak, pick two objects and an item, undo one of them; `apply` reads the file."""
    url = report_of(objects_store, tmp_path)
    show(page, url, "tab=review&review=leak")
    page.wait_for("document.querySelector('.finding img')")
    page.key("a")
    page.wait_for("document.querySelector('.kinds button').textContent.includes('1 / 2')")
    show_again = "location.hash = 'of=objects&label=cup'"
    page.run(show_again)
    page.wait_for("document.querySelector('.tile')?.title.includes('#')")
    names = said(page, ".tile")[:2]
    for nth in (1, 2):
        page.click(f".line .tile:nth-child({nth}) .check")
    page.key("d")
    page.wait_for("document.querySelector('.notice').textContent.includes('drop 2 objects')")
    page.run("location.hash = 'id=scene_003'")
    page.wait_for("document.querySelectorAll('.tile').length === 1")
    page.click(".tile .check")
    page.key("x")
    page.wait_for("document.querySelector('.notice').textContent.includes('keep 1 item')")
    page.key("u")
    page.wait_for("document.querySelector('.notice').textContent.includes('Undone')")
    found = downloaded(page, tmp_path / "got")
    assert problems(page, url) == []

    assert [path.name for path in (tmp_path / "got").iterdir()] == [
        f"{objects_store.name}.findings.csv"
    ]
    decided = found.filter(lambda row: row.action)
    audited = audit(objects_store)
    group = audited.filter(kind="leak", group=audited.filter(kind="leak")[0].group)
    assert {row.action for row in decided.filter(kind="leak")} == {"drop", "keep"}
    assert {row.key for row in decided.filter(kind="leak")} == {row.key for row in group}
    picked = decided.filter(kind="picked")
    assert sorted(f"{row.key} #{row.object}" for row in picked) == sorted(names)
    as_audited = [row for row in found if row.kind != "picked" and row.kind != "leak"]
    assert as_audited == [row for row in audited if row.kind != "leak"]
    with open_store(objects_store) as store:
        for row in picked:
            item = store.row(row.key)
            assert row.content_sha256 == store.content_sha256[item].tobytes().hex()
            assert row.box == tuple(store.objects.facts(store.objects.of(item)[row.object])["box"])
            assert (row.label, row.action, row.store) == ("cup", "drop", store.uuid)


def test_hostile_names_are_inert_and_come_back(tmp_path: Path, page: Page) -> None:
    """Everything is picked; the file that is downloaded has every name as it was."""
    url = report_of(hostile_store(tmp_path), tmp_path, title=HOSTILE[0])
    for view in ("", "tab=map&color=subset", "tab=review", "tab=info", "of=items&open=1"):
        show(page, url, view)
        time.sleep(0.2)
    page.key("g")
    page.wait_for("document.activeElement.matches('.grid')")
    page.call("Input.dispatchKeyEvent", type="keyDown", key="a", code="KeyA", modifiers=2)
    page.wait_for("document.querySelector('.selected')")
    page.key("d")
    page.wait_for("document.querySelector('.notice').textContent.includes('drop 8 items')")
    picked = downloaded(page, tmp_path / "got").filter(kind="picked")
    assert [(row.subset, row.id) for row in picked] == [
        (HOSTILE[1], name) for name in sorted(HOSTILE)
    ]
    assert page.run("window.pwned") is None
    assert page.run("document.querySelectorAll('img[src=\"x\"], body iframe').length") == 0
    assert problems(page, url) == []


CANVAS = (
    "(() => { const b = document.querySelector('.scatter canvas').getBoundingClientRect();"
    "return [b.x, b.y, b.width, b.height]; })()"
)


def colored_pixels(page: Page, folder: Path) -> int:
    """Count the pixels of the map that have a color, points of a label, once it is drawn."""
    before, count = 0, -1
    end = time.monotonic() + 60
    while not count or count != before:
        assert time.monotonic() < end, "the map is never drawn, or never at rest"
        page.run("new Promise(done => setTimeout(done, 300))")
        before, count = count, _colored_pixels_now(page, folder)
    return count


def _colored_pixels_now(page: Page, folder: Path) -> int:
    page.screenshot(folder / "map.png")
    x, y, w, h = page.run(CANVAS)
    with Image.open(folder / "map.png") as image:
        pixels = np.asarray(image.convert("RGB").crop((x, y + 50, x + w, y + h))).astype(int)
    return int(np.count_nonzero(np.ptp(pixels, axis=2) > 60))


def test_the_map_is_drawn_without_webgl(tmp_path: Path, page: Page) -> None:
    url = report_of(many_points(tmp_path, 5_000), tmp_path, findings=Findings())
    show(page, url, "tab=map")
    with_gl = colored_pixels(page, tmp_path)
    page.run(
        "window.lost = document.querySelector('.scatter canvas').getContext('webgl2')"
        ".getExtension('WEBGL_lose_context'); lost.loseContext()"
    )
    page.run("new Promise(done => setTimeout(done, 300)).then(() => lost.restoreContext())")
    assert colored_pixels(page, tmp_path) == with_gl
    with open_page("--disable-3d-apis") as plain:
        show(plain, url, "tab=map")
        assert plain.run("document.createElement('canvas').getContext('webgl2')") is None
        assert colored_pixels(plain, tmp_path) > 0.5 * with_gl > 1_000
        x, y, w, h = plain.run(CANVAS)
        corners = [(0.01, 0.99), (0.01, 0.01), (0.99, 0.01), (0.99, 0.99), (0.02, 0.99)]
        plain.drag([(x + w * u, y + h * v) for u, v in corners])
        plain.wait_for("document.querySelector('.selected')?.textContent.startsWith('5,000 items')")
        assert problems(plain, url) == []


def test_what_is_picked_names_the_label_of_its_whole_image(tmp_path: Path, page: Page) -> None:
    """It is what `label NAME` replaces."""
    path = tmp_path / "data/cat/a.png"
    path.parent.mkdir(parents=True)
    picture(1, (90, 80)).save(path)
    dataset = Dataset.import_from(str(tmp_path / "data"), "imagenet")
    embed_dataset(dataset, tmp_path / "s.h5", encoder=FakeEncoder()).close()
    show(page, report_of(tmp_path / "s.h5", tmp_path, findings=Findings()))
    page.wait_for("document.querySelectorAll('.tile').length === 1")
    page.click(".tile .check")
    page.key("d")
    page.wait_for("document.querySelector('.notice').textContent.includes('drop 1 item')")
    (row,) = downloaded(page, tmp_path / "got")
    assert (row.id, row.label, row.action) == ("cat:a", "cat", "drop")


def test_a_drop_in_the_grid_settles_the_findings_of_the_item(
    objects_store: Path, tmp_path: Path, page: Page
) -> None:
    """The findings of its objects too; undo opens them again."""
    found = audit(objects_store)
    first = found.filter(kind="mislabel")[0]
    n_groups = len(found.filter(kind="mislabel"))
    settled = len(found.filter(kind="mislabel", id=first.id, subset=first.subset))
    show(page, report_of(objects_store, tmp_path, findings=found), f"id={first.id}")
    page.wait_for("document.querySelectorAll('.tile').length === 1")
    page.click(".tile .check")
    page.key("d")
    page.wait_for("document.querySelector('.notice').textContent.includes('drop 1 item')")
    page.key("Escape")
    page.run("location.hash = 'tab=review&review=mislabel'")
    count = f"{settled} of {n_groups} reviewed"
    page.wait_for(f"document.querySelector('.bar output')?.textContent === {count!r}")
    page.wait_for("document.querySelector('.group h2')?.textContent.startsWith('2 of')")
    page.key("p")  # the review begins with what is left
    page.wait_for("document.querySelector('.facts')?.textContent.includes('Settled by another')")
    page.key("u")
    page.wait_for(
        f"document.querySelector('.bar output').textContent === '0 of {n_groups} reviewed'"
    )
    page.wait_for("!document.querySelector('.facts').textContent.includes('Settled by another')")


def test_many_points_are_selected_with_a_lasso(tmp_path: Path, page: Page) -> None:
    url = report_of(many_points(tmp_path, 20_000), tmp_path, findings=Findings())
    show(page, url, "tab=map")
    assert colored_pixels(page, tmp_path) > 0
    x, y, w, h = page.run(CANVAS)
    corners = [(0.01, 0.99), (0.01, 0.01), (0.99, 0.01), (0.99, 0.99), (0.02, 0.99)]
    page.drag([(x + w * u, y + h * v) for u, v in corners])
    page.wait_for(
        "document.querySelector('.selected strong').textContent.startsWith('20,000 items')"
    )
    assert problems(page, url) == []


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is missing: run `npm ci` in web/ first")
@pytest.mark.parametrize(
    ("dark", "width"),
    [
        (True, 420),
        pytest.param(False, 1400, marks=pytest.mark.slow),
        pytest.param(True, 1400, marks=pytest.mark.slow),
        pytest.param(False, 420, marks=pytest.mark.slow),
    ],
)
def test_axe_finds_nothing_serious(
    objects_store: Path, tmp_path: Path, page: Page, dark: bool, width: int
) -> None:
    url = report_of(objects_store, tmp_path)
    for view in ("", "tab=info", "tab=review&review=mislabel", "tab=map"):
        show(page, url, view, dark=dark, width=width)
        time.sleep(0.5)
        page.run(AXE.read_text())
        found = page.run(
            "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']}).then(found =>"
            " found.violations.filter(v => ['serious', 'critical'].includes(v.impact))"
            ".map(v => v.id + v.nodes.slice(0, 3).map(n => n.html.slice(0, 200))))"
        )
        assert found == [], view


def test_the_page_of_an_audit_has_its_findings(
    objects_store: Path, tmp_path: Path, page: Page
) -> None:
    out = tmp_path / "findings.html"
    done = run("datumaro-embed", "audit", objects_store, "--only", "mislabel", "--html", out)
    assert done.returncode == 0, done.stderr
    show(page, out.as_uri(), "tab=review")
    (kind,) = said(page, ".kinds button")
    assert kind == f"Suspect labels0 / {len(audit(objects_store, only='mislabel'))}"
    assert problems(page, out.as_uri()) == []
