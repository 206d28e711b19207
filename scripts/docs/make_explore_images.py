"""Make the pictures of docs/explore.md and report.md: the page on the sample data, in Chromium.

    python scripts/docs/make_explore_images.py [--folder DIR]

Needs the `test` extra and Debian's `chromium`. Run again when the demo model or the page changes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from datumaro import Dataset

from datumaro_embed import ReportOptions, audit, embed_dataset, explore, open_store, write_report

REPO = Path(__file__).parents[2]
sys.path.insert(0, str(REPO / "tests"))

from chromium import Page, open_page  # noqa: E402

IMAGES = REPO / "docs" / "images"
QUALITY = 82
SETTLE_MS = 800


def main() -> None:
    """Embed, audit, open the page and photograph it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=IMAGES, help="where they are written")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        store = Path(name) / "sample_data.h5"
        dataset = Dataset.import_from(str(REPO / "sample_data" / "coco"), "coco")
        embed_dataset(dataset, store, model="demo", objects=True, progress=False).close()
        audit(store).write(Path(f"{store}.findings.csv"))
        with explore(store) as explorer, open_page() as page:
            _photograph(page, explorer.url, folder)
        report = Path(name) / "report.html"
        with open_store(store) as opened, open_page() as page:
            write_report(opened, report, ReportOptions(umap=True, title="sample_data"))
            _photograph_report(page, report.as_uri(), folder)


def _photograph(page: Page, url: str, folder: Path) -> None:
    page.go(f"{url}#text=a+butterfly&open=12", width=1400, height=900)
    page.wait_for("document.querySelectorAll('.tile .score').length > 10")
    _save(page, folder / "explore-search.webp")
    page.go("about:blank")
    page.go(f"{url}#tab=map&of=objects", width=1400, height=900, dark=True)
    page.wait_for("document.querySelector('.under')?.textContent.includes('UMAP:')", 300)
    _settle(page)
    x, y, w, h = page.run(
        "(() => { const b = document.querySelector('.scatter canvas').getBoundingClientRect();"
        "return [b.x, b.y, b.width, b.height]; })()"
    )
    corners = [(0.2, 0.75), (0.25, 0.25), (0.5, 0.2), (0.55, 0.5), (0.45, 0.8), (0.21, 0.76)]
    page.drag([(x + w * u, y + h * v) for u, v in corners])
    page.wait_for("document.querySelector('.selected')")
    _save(page, folder / "explore-map.webp")
    page.go("about:blank")
    page.go(f"{url}#tab=review&review=mislabel", width=2560, height=1440)
    page.wait_for("document.querySelector('.near img')")
    _save(page, folder / "explore-review.webp")
    page.go("about:blank")
    page.go(f"{url}#tab=review&review=leak", width=420, height=900, dark=True)
    page.wait_for("document.querySelector('.finding img')")
    _save(page, folder / "explore-narrow.webp")


def _photograph_report(page: Page, url: str, folder: Path) -> None:
    page.go(f"{url}#tab=map&of=objects", width=1400, height=900)
    page.wait_for("document.querySelector('.tile img') && document.querySelector('.legend li')")
    _save(page, folder / "report.webp")
    page.go("about:blank")
    page.go(f"{url}#tab=info", width=1400, height=900, dark=True)
    page.wait_for("document.querySelector('.small-picture img')")
    _save(page, folder / "report-info.webp")


def _save(page: Page, path: Path) -> None:
    _settle(page)
    page.screenshot(path, quality=QUALITY)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def _settle(page: Page) -> None:
    """Wait for every picture, and for what is drawn after it."""
    page.wait_for("[...document.images].every((image) => image.complete)")
    page.run(f"new Promise((done) => setTimeout(done, {SETTLE_MS}))")


if __name__ == "__main__":
    main()
