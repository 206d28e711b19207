"""Make the pictures of the docs: the sample data's report in headless Chromium, light and dark.

    python scripts/docs/make_images.py [--folder DIR] [--pca]

Needs the `test` extra and Debian's `chromium`. Run again when the demo model or the page changes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from datumaro import Dataset

from datumaro_embed import ReportOptions, embed_dataset, write_report

REPO = Path(__file__).parents[2]
sys.path.insert(0, str(REPO / "tests"))

from chromium import Page, open_page  # noqa: E402

IMAGES = REPO / "docs" / "images"
MAX_BYTES = 300_000
_QUALITY = 82


def main() -> None:
    """Embed, report, photograph."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=IMAGES, help="where they are written")
    parser.add_argument("--pca", action="store_true", help="no UMAP map, which takes 15 s")
    chosen = parser.parse_args()
    images: Path = chosen.folder
    images.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, open_page() as page:
        report = Path(name) / "report.html"
        dataset = Dataset.import_from(str(REPO / "sample_data" / "coco"), "coco")
        options = ReportOptions(umap=not chosen.pca, title="sample_data")
        with embed_dataset(
            dataset, Path(name) / "sample.h5", model="demo", progress=False
        ) as store:
            write_report(store, report, options)
        page.go(report.as_uri(), width=1360, height=1180)
        page.wait_for("document.documentElement.dataset.ready")
        _settle(page)
        page.screenshot(images / "report.webp", quality=_QUALITY)
        page.go(report.as_uri(), width=1360, height=900, dark=True)
        page.wait_for("document.documentElement.dataset.ready")
        page.run("document.getElementById('map').scrollIntoView({behavior: 'instant'})")
        _lasso(page)
        _settle(page)
        page.screenshot(images / "report-lasso.webp", quality=_QUALITY)
        page.run("document.getElementById('leaks').scrollIntoView({behavior: 'instant'})")
        _settle(page)
        page.screenshot(images / "report-leaks.webp", quality=_QUALITY)
        assert page.console == [], page.console
    for path in sorted(images.glob("report*.webp")):
        size = path.stat().st_size
        assert size <= MAX_BYTES, f"{path.name} has {size} bytes"
        print(f"{path}: {size / 1000:.0f} kB")


def _settle(page: Page) -> None:
    """Wait for two drawn frames, and for every picture."""
    page.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.wait_for(
        "[...document.images].every((image) => image.complete || image.loading === 'lazy')"
    )
    page.run("new Promise((done) => setTimeout(done, 600))")


def _lasso(page: Page) -> None:
    """Draw a lasso around the middle of the map, and point at an item."""
    x, y, w, h = page.run(
        "(() => { const b = document.getElementById('canvas').getBoundingClientRect();"
        "return [b.x, b.y, b.width, b.height]; })()"
    )
    corners = [
        (0.48, 0.1),
        (0.8, 0.12),
        (0.84, 0.5),
        (0.7, 0.85),
        (0.42, 0.7),
        (0.4, 0.3),
        (0.48, 0.1),
    ]
    page.drag([(x + w * u, y + h * v) for u, v in corners])
    page.wait_for("document.getElementById('ids').value")
    u, v = page.run(
        "(() => { const plot = document.getElementById('plot'), axes = plot._fullLayout;"
        "const id = document.getElementById('ids').value.split('\\n')[0].split('/')[1];"
        "const point = JSON.parse(document.getElementById('data').textContent).id.indexOf(id);"
        "for (const trace of plot.data) { const j = trace.customdata.indexOf(point);"
        "if (j >= 0) return [axes.xaxis._offset + axes.xaxis.d2p(trace.x[j]),"
        "axes.yaxis._offset + axes.yaxis.d2p(trace.y[j])]; } })()"
    )
    page.mouse("mouseMoved", x + u - 1, y + v)
    page.mouse("mouseMoved", x + u, y + v)
    page.wait_for("!document.getElementById('hover').hidden")


if __name__ == "__main__":
    main()
