"""The report in a real browser: nothing leaves the file, hover, lasso, keyboard, hostile labels."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chromium import EXECUTABLE, Page
from datumaro_embed import Findings, ReportOptions, open_store, write_report
from report_stores import HOSTILE, hostile_store, many_points
from support import REPO, run

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(EXECUTABLE is None, reason="Chromium is not installed"),
]

CANVAS = """(() => {
  const box = document.getElementById("canvas").getBoundingClientRect();
  return [box.x, box.y, box.width, box.height];
})()"""
POINT = """(() => {
  const plot = document.getElementById("plot");
  const {xaxis, yaxis} = plot._fullLayout;
  for (const trace of plot.data) {
    const j = trace.customdata.indexOf(%d);
    if (j < 0) continue;
    return [xaxis._offset + xaxis.d2p(trace.x[j]), yaxis._offset + yaxis.d2p(trace.y[j])];
  }
})()"""


def report_of(store: Path, folder: Path) -> Path:
    out = folder / "report.html"
    with open_store(store) as opened:
        write_report(opened, out, ReportOptions(max_mb=12))
    return out


def show(page: Page, report: Path, *, dark: bool = False) -> tuple[float, float, float, float]:
    """Open the report, scroll to the map and return where the map is."""
    page.go(report.as_uri(), dark=dark)
    page.wait_for("document.documentElement.dataset.ready")
    page.run("document.getElementById('map').scrollIntoView({behavior: 'instant'})")
    x, y, width, height = page.run(CANVAS)
    return x, y, width, height


def lasso_all(page: Page, box: tuple[float, float, float, float]) -> None:
    x, y, w, h = box
    corners = [(0.01, 0.01), (0.99, 0.01), (0.99, 0.99), (0.01, 0.99), (0.01, 0.02)]
    page.drag([(x + w * u, y + h * v) for u, v in corners])


def test_report_of_the_sample_data(coco_store: Path, tmp_path: Path, page: Page) -> None:
    report = report_of(coco_store, tmp_path)
    box = show(page, report)
    left, top, _, _ = box

    point = page.run(
        "JSON.parse(document.getElementById('data').textContent).id.indexOf('photo_01')"
    )
    x, y = page.run(POINT % point)
    page.mouse("mouseMoved", left + x - 1, top + y)
    page.mouse("mouseMoved", left + x, top + y)
    page.wait_for("!document.getElementById('hover').hidden")
    assert "photo_01" in page.run("document.getElementById('hover').textContent")
    assert page.run("document.querySelector('#hover img').naturalWidth") > 50

    lasso_all(page, box)
    page.wait_for("document.getElementById('ids').value")
    ids = page.run("document.getElementById('ids').value").split("\n")
    with open_store(coco_store) as store:
        assert ids == [str(key) for key in store.keys()]
    assert page.run("document.getElementById('count').textContent") == "69 items"

    page.screenshot(tmp_path / "report.png")
    assert len((tmp_path / "report.png").read_bytes()) > 50_000
    assert page.console == []
    assert [url for url in page.requests if not url.startswith("data:")] == [report.as_uri()]


def test_the_pictures_of_the_docs_are_made_by_pointing_and_lasso(tmp_path: Path) -> None:
    """The script waits for the item under the pointer and for the ids inside the lasso."""
    script = REPO / "scripts" / "docs" / "make_images.py"
    done = run(sys.executable, script, "--pca", "--folder", tmp_path)
    assert done.returncode == 0, done.stderr
    for shown in sorted((REPO / "docs" / "images").glob("report*.webp")):
        with Image.open(shown) as old, Image.open(tmp_path / shown.name) as new:
            assert new.size == old.size


def test_the_map_is_usable_by_keyboard(coco_store: Path, tmp_path: Path, page: Page) -> None:
    show(page, report_of(coco_store, tmp_path))
    page.run("document.getElementById('canvas').focus()")
    for name in ("ArrowRight", "ArrowRight", "Enter"):
        page.key(name)
    page.wait_for("document.getElementById('ids').value")
    first = page.run("document.getElementById('ids').value")
    assert first == page.run(
        "document.querySelector('#detail dd').textContent + '/' +"
        "document.querySelector('#detail b').textContent"
    )
    page.run("document.getElementById('find').value = 'butterfly'")
    page.run("document.getElementById('find').oninput()")
    page.run("document.querySelector('#found button').click()")
    with open_store(coco_store) as store:
        butterfly = store.categories.labels.index("butterfly")
        expected = [
            str(store.key(row))
            for row in range(len(store))
            if butterfly in {annotation.label for annotation in store.item(row).annotations}
        ]
    assert page.run("document.getElementById('ids').value").split("\n") == expected
    assert page.console == []


def test_hostile_strings_are_inert(tmp_path: Path, page: Page) -> None:
    report = report_of(hostile_store(tmp_path), tmp_path)
    box = show(page, report)
    lasso_all(page, box)
    page.wait_for("document.getElementById('ids').value")
    assert HOSTILE[0] in page.run("document.getElementById('ids').value")
    page.run("document.getElementById('colour').value = 'subset'")
    page.run("document.getElementById('colour').onchange()")
    page.run("for (const b of document.querySelectorAll('button[data-point]')) b.click()")
    time.sleep(0.3)
    assert page.run("window.pwned") is None
    assert page.run("document.querySelectorAll('img[src=\"x\"], body iframe').length") == 0
    assert page.console == []
    assert [url for url in page.requests if not url.startswith("data:")] == [report.as_uri()]


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_contrast(coco_store: Path, tmp_path: Path, page: Page, dark: bool) -> None:
    show(page, report_of(coco_store, tmp_path), dark=dark)
    colours = page.run(
        "(() => { const s = getComputedStyle(document.documentElement);"
        "return ['--ink', '--soft', '--accent', '--bad', '--card', '--bg', '--bad-bg']"
        ".map((name) => s.getPropertyValue(name).trim()); })()"
    )
    ink, soft, accent, bad, card, background, bad_background = map(luminance, colours)
    for text, ground in [(ink, card), (soft, card), (soft, background), (accent, card)]:
        assert contrast(text, ground) >= 4.5
    assert contrast(bad, bad_background) >= 4.5


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    digits = colour.lstrip("#")
    digits = "".join(2 * d for d in digits) if len(digits) == 3 else digits
    rgb = np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(a: float, b: float) -> float:
    return (max(a, b) + 0.05) / (min(a, b) + 0.05)


def test_many_points_are_drawn_with_webgl(tmp_path: Path, page: Page) -> None:
    report = report_of(many_points(tmp_path, 6_000), tmp_path)
    lasso_all(page, show(page, report))
    page.wait_for("document.getElementById('count').textContent === '6,000 items'")
    assert [line for line in page.console if "GPU stall" not in line] == []


@pytest.mark.parametrize(
    ("n_points", "n_grey"),
    [
        (5_000, 10_000),
        pytest.param(20_000, 30_000, marks=pytest.mark.slow),
        pytest.param(20_001, 30_000, marks=pytest.mark.slow),
    ],
)
def test_points_of_other_labels_are_on_the_canvas(
    tmp_path: Path, page: Page, n_points: int, n_grey: int
) -> None:
    """24 labels: nine have a colour; 63 % of the points are grey, rings up to 20,000, then dots."""
    report = report_of(many_points(tmp_path, n_points, n_labels=24), tmp_path)
    x, y, width, height = show(page, report)
    page.run(
        "for (const b of [...document.querySelectorAll('#key button')])"
        " if (!b.textContent.includes('other labels')) b.click()"
    )
    page.wait_for("document.querySelectorAll('#key button[aria-pressed=true]').length === 1")
    time.sleep(0.5)
    page.screenshot(tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as picture:
        canvas = picture.convert("RGB").crop((x, y, x + width, y + height))
    pixels = np.asarray(canvas).astype(int)
    grey = np.abs(pixels - (0x85, 0x92, 0xA0)).max(axis=2) < 40
    assert np.count_nonzero(grey) > n_grey


def test_boxes_of_findings_are_drawn_over_their_pictures(
    objects_store: Path, tmp_path: Path, page: Page
) -> None:
    """A label that is wrong, in a box that is red in the page; the kept copy beside its copy."""
    found, out = tmp_path / "f.csv", tmp_path / "findings.html"
    done = run("datumaro-embed", "audit", objects_store, "-o", found, "--html", out)
    assert done.returncode == 0, done.stderr
    page.go(out.as_uri())
    row = Findings.read(found).filter(lambda row: row.kind == "leak" and row.suggestion == "drop")[
        0
    ]
    page.run("document.getElementById('leak').scrollIntoView({behavior: 'instant'})")
    shown = page.run(
        "[...document.querySelectorAll('#leak .group')].map(group =>"
        " [...group.querySelectorAll('svg use')].map(use => use.getBBox().width))"
    )
    assert [len(widths) for widths in shown] == [2] * len(
        Findings.read(found).filter(kind="leak", suggestion="keep")
    )
    with open_store(objects_store) as store:
        assert store.widths[store.row(row.key)] in shown[0]
    page.screenshot(tmp_path / "page.png", full=True)
    places = page.run("""[...document.querySelectorAll('#mislabel svg:first-child rect')].map(
    rect => {
      const box = rect.getBoundingClientRect();
      return [box.left + scrollX, box.top + scrollY, box.width, box.height];
    })""")
    with Image.open(tmp_path / "page.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert len(places) == len(Findings.read(found).filter(kind="mislabel"))
    for x, y, _, height in places:
        edge = pixels[round(y + height / 2), round(x) - 2 : round(x) + 3]
        assert np.abs(edge - (255, 43, 214)).sum(axis=1).min() < 90
    assert page.console == []
    assert [url for url in page.requests if not url.startswith("data:")] == [out.as_uri()]
