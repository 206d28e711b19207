"""The page of `explore` in a real browser: an afternoon's review, by keyboard and mouse, and what
must not happen: a lost decision, another picture, markup in a name, text that cannot be read.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from datumaro.components.dataset import Dataset
from PIL import Image

from chromium import EXECUTABLE, Page
from datumaro_embed import Findings, explore, open_store, search
from report_stores import hostile_store
from support import REPO, SAMPLE, run

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(EXECUTABLE is None, reason="Chromium is not installed"),
]

AXE = REPO / "web" / "node_modules" / "axe-core" / "axe.min.js"
COPIES = 10
CANVAS = """(() => {
  const box = document.querySelector(".scatter canvas").getBoundingClientRect();
  return [box.x, box.y, box.width, box.height];
})()"""


@dataclass
class Served:
    """One `datumaro-embed explore`, a process of its own."""

    url: str
    process: subprocess.Popen[str] = field(repr=False)


@contextmanager
def served(store: Path) -> Iterator[Served]:
    """Run the command; most tests serve the same page from a thread, without its imports."""
    command = [sys.executable, "-m", "datumaro_embed.cli", "explore", store, "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"http://\S+", line)
            assert found, line
            yield Served(found[0], process)
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the sample data with ten images twice."""
    root = tmp_path_factory.mktemp("explored") / "data"
    shutil.copytree(SAMPLE / "coco", root)
    path = root / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    images = [one for one in content["images"] if re.match("scene_0[2-4]", one["file_name"])]
    annotations = content["annotations"]
    number = 10_000
    for image in images[:COPIES]:
        number += 1
        name = image["file_name"].replace("scene", "copy")
        shutil.copy(
            root / "images" / "train" / image["file_name"], root / "images" / "train" / name
        )
        content["images"].append({**image, "id": number, "file_name": name})
        for one in [each for each in annotations if each["image_id"] == image["id"]]:
            annotations.append({**one, "id": number * 100 + one["id"], "image_id": number})
    path.write_text(json.dumps(content))
    return root


@pytest.fixture(scope="module")
def store(dataset: Path) -> Path:
    path = dataset.parent / "e.h5"
    done = run(
        "datumaro-embed", "embed", f"{dataset}:coco", "--store", path, "--model", "demo",
        "--objects",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = run("datumaro-embed", "audit", path, "-o", f"{path}.findings.csv")
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture
def own(store: Path, tmp_path: Path) -> Path:
    """Return a copy of the store with its findings."""
    for path in (store, Path(f"{store}.findings.csv")):
        shutil.copy(path, tmp_path)
    return tmp_path / store.name


def open_at(page: Page, url: str, **window: Any) -> None:
    page.go("about:blank")
    page.console.clear()  # of the page before, whose server may be gone
    page.go(url, **{"width": 1400, "height": 900} | window)
    page.wait_for("document.querySelector('.tile img, .reviews, .scatter')")


def text(page: Page, selector: str) -> str:
    found = page.run(f"document.querySelector({selector!r})?.textContent ?? ''")
    return str(found)


def wait_for_text(page: Page, selector: str, part: str) -> None:
    page.wait_for(f"(document.querySelector({selector!r})?.textContent ?? '').includes({part!r})")


def names(page: Page) -> list[str]:
    """Names of the tiles in sight, in order."""
    page.wait_for("![...document.querySelectorAll('.tile')].some(t => !t.title)")
    found: list[str] = page.run("[...document.querySelectorAll('.tile')].map(t => t.title)")
    return found


def errors(page: Page) -> list[str]:
    """What went wrong, as the console has it; 503 is a text encoder that still loads."""
    harmless = ("GL Driver Message", "status of 503")
    return [line for line in page.console if not any(part in line for part in harmless)]


def n_reviewed(found: Findings) -> int:
    """Count groups in which every row is decided, or its item is dropped."""
    gone = {row.key for row in found if row.action == "drop" and row.object is None}
    rows = [(n, row) for n, row in enumerate(found) if row.kind != "picked"]
    groups = {(row.kind, row.group or -n): True for n, row in rows}
    for n, row in rows:
        groups[row.kind, row.group or -n] &= bool(row.action or row.key in gone)
    return sum(groups.values())


def facts(root: Path) -> dict[tuple[str, str], list[tuple[Any, ...]]]:
    """Label and box of every annotation, by item."""
    found = Dataset.import_from(str(root), "coco")
    labels = [label.name for label in found.categories()[next(iter(found.categories()))]]
    return {
        (item.subset, item.id): sorted(
            (labels[each.label], *(round(value, 1) for value in each.get_bbox()))
            for each in item.annotations
        )
        for item in found
    }


@pytest.mark.slow
def test_keys_of_the_review_are_about_the_finding_not_about_what_the_grid_has_selected(
    own: Path, page: Page
) -> None:
    findings = Path(f"{own}.findings.csv")
    with explore(own, framed=False) as server:
        open_at(page, server.url)
        page.wait_for("document.querySelectorAll('.tile img').length > 5")
        page.click(".tile:nth-child(5) .check")
        wait_for_text(page, ".selected", "1 item selected")
        page.key("r")
        page.wait_for("document.querySelector('.finding img')")
        assert page.run("document.querySelector('.selected')") is None
        assert "Duplicates" in text(page, ".kinds [aria-current=true]")
        page.key("d")
        wait_for_text(page, ".notice", "Saved: drop 1 item.")
        decided = [row for row in Findings.read(findings) if row.action]
        assert [(row.kind, row.action) for row in decided] == [("duplicate", "drop")]
        page.key("g")
        wait_for_text(page, ".selected", "1 item selected")
        assert errors(page) == []


def slow_answers(page: Page, ms: int) -> None:
    """Let every answer of the server come so much later."""
    speed = {"downloadThroughput": -1, "uploadThroughput": -1}
    page.call("Network.emulateNetworkConditions", offline=False, latency=ms, **speed)


def decided(path: Path) -> list[tuple[str, str, str]]:
    return [(row.kind, row.id, row.action) for row in Findings.read(path) if row.action]


def test_late_answers_change_nothing_that_one_has_gone_on_to(own: Path, page: Page) -> None:
    findings = Path(f"{own}.findings.csv")
    with explore(own, framed=False) as server:
        open_at(page, f"{server.url}#tab=review&review=duplicate")
        page.wait_for("document.querySelector('.finding img')")
        slow_answers(page, 600)
        page.key("d")
        page.key("n")  # before the answer
        wait_for_text(page, ".notice", "Saved: drop 1 item.")
        wait_for_text(page, ".group h2", "2 of")
        time.sleep(0.3)
        focused = "[...document.querySelectorAll('.finding')].map(e => e.matches('.focus'))"
        assert page.run(focused) == [True, False]
        first = decided(findings)
        assert len(first) == 1

        page.key("d")
        page.key("u")  # before the answer: it undoes this one, not the first
        wait_for_text(page, ".notice", "Undone: drop 1 item.")
        assert decided(findings) == first

        page.key("x")
        page.key("l")  # the answer comes while the dialog is open
        wait_for_text(page, ".notice", "Saved: keep 1 item.")
        kept = [id_ for _, id_, action in decided(findings) if action == "keep"]
        page.write("cat")
        page.key("Enter")
        wait_for_text(page, ".notice", "Saved: label 1 item cat.")
        assert [id_ for _, id_, action in decided(findings) if action == "label cat"] == kept
        assert len(kept) == 1
        slow_answers(page, 0)
        assert errors(page) == []


def test_groups_that_the_threshold_hides_are_not_passed_over(own: Path, page: Page) -> None:
    with explore(own, framed=False) as server:
        open_at(page, f"{server.url}#tab=review&review=mislabel")
        page.wait_for("document.querySelector('.finding img')")
        n = int(text(page, ".threshold output").split()[0])
        page.run(
            "(() => { const range = document.querySelector('.threshold input[type=range]');"
            " range.value = range.max; range.dispatchEvent(new Event('input')); })()"
        )
        wait_for_text(page, ".threshold output", "1 group")
        page.key("x")
        wait_for_text(page, ".group .primary", f"Show {n - 1} hidden")
        page.key("n")
        wait_for_text(page, ".notice", f"{n - 1} groups left to review, hidden by the threshold")
        page.click(".group .primary")
        wait_for_text(page, ".threshold output", f"{n} groups")
        assert "Suspect labels" in text(page, ".kinds [aria-current=true]")
        assert errors(page) == []


def test_the_whole_image_of_a_suspect_object_is_dropped(own: Path, page: Page) -> None:
    findings = Path(f"{own}.findings.csv")
    first = Findings.read(findings).filter(kind="mislabel")[0]
    with explore(own, framed=False) as server:
        open_at(page, f"{server.url}#tab=review&review=mislabel")
        page.wait_for("document.querySelector('.finding img')")
        page.key("w")
        wait_for_text(page, ".notice", "Saved: drop 1 item.")
        assert [(key, action) for _, key, action in decided(findings)] == [(first.id, "drop")]
        wait_for_text(page, ".group h2", "2 of")
        page.key("p")
        wait_for_text(page, ".finding", "Settled by another decision: drop")
        page.key("u")
        wait_for_text(page, ".notice", "Undone")
        assert decided(findings) == []
        assert errors(page) == []


def test_a_key_held_down_decides_once(own: Path, page: Page) -> None:
    findings = Path(f"{own}.findings.csv")
    with explore(own, framed=False) as server:
        open_at(page, f"{server.url}#tab=review&review=duplicate")
        page.wait_for("document.querySelector('.finding img')")
        for held in (False, True, True, True):
            page.call("Input.dispatchKeyEvent", type="keyDown", key="a", code="a", autoRepeat=held)
            time.sleep(0.3)
        wait_for_text(page, ".kinds [aria-current=true]", "1 /")
        assert {row.group for row in Findings.read(findings) if row.action} == {1}
        page.key("n")
        wait_for_text(page, ".group h2", "3 of")
        page.key("N")  # what is left to review comes first
        wait_for_text(page, ".group h2", "4 of")
        page.key("p")
        page.key("p")
        page.key("p")
        wait_for_text(page, ".group h2", "1 of")
        page.key("N")
        wait_for_text(page, ".group h2", "2 of")
        assert errors(page) == []


def test_an_afternoon(own: Path, dataset: Path, page: Page, tmp_path: Path) -> None:
    """Search, look, review, relabel, undo; then the server is killed, and all of it is applied."""
    findings = Path(f"{own}.findings.csv")
    with served(own) as server:
        open_at(page, server.url)
        wait_for_text(page, ".total", "79 items")

        page.key("/")
        page.write("a flower")
        wait_for_text(page, ".total", "most similar first")
        with open_store(own) as opened:
            hits = [str(hit.key) for hit in search(opened, "a flower", k=5)]
        assert names(page)[:5] == hits

        page.key("ArrowDown")  # to the grid
        page.key("s")  # more like this
        wait_for_text(page, ".chip", hits[0])
        page.wait_for("document.querySelector('.score').textContent > 0.99")
        assert names(page)[0] == hits[0]

        page.drop(dataset / "images" / "train" / "photo_04.jpg", 700, 400)
        wait_for_text(page, ".chip", "your image")
        page.wait_for("document.querySelector('.tile').title.includes('photo_04')")
        page.click(".chip button:last-child")
        wait_for_text(page, ".total", "79 items")

        page.click(".facet input[type=checkbox]")  # subset train
        page.wait_for("document.querySelector('.total').textContent.includes('of 79 items')")
        count = text(page, ".total")
        page.call("Page.reload")
        page.wait_for("document.querySelector('.tile img')")
        wait_for_text(page, ".total", count)
        assert page.run("document.querySelector('.facet input[type=checkbox]').checked")
        page.click(".filters .link")
        wait_for_text(page, ".total", "79 items")

        page.key("r")
        page.wait_for("document.querySelector('.finding img')")
        assert "Duplicates" in text(page, ".kinds [aria-current=true]")
        for n in range(1, COPIES + 1):
            wait_for_text(page, ".group h2", f"{n} of")
            page.wait_for("document.querySelector('.finding img')?.complete")
            page.key("a")
            wait_for_text(page, ".kinds [aria-current=true]", f"{n} /")

        relabeled = relabel_two(page)
        before = findings.read_bytes()
        page.key("d")
        wait_for_text(page, ".notice", "Saved: drop 1 object.")
        assert findings.read_bytes() != before
        page.key("u")
        wait_for_text(page, ".notice", "Undone")
        assert [row.action for row in Findings.read(findings)] == [
            row.action for row in Findings.read(_written(tmp_path, before))
        ]

        page.key("g")
        page.wait_for("document.querySelectorAll('.tile img').length > 3")
        copies = {row.name for row in Findings.read(findings) if row.kind in ("leak", "duplicate")}
        dropped = next(name for name in names(page)[:20] if name not in copies)
        page.mouse("mouseMoved", 10, 10)
        page.click(f".tile[title='{dropped}'] .check")
        wait_for_text(page, ".selected", "1 item selected")
        page.click(".selected button")
        wait_for_text(page, ".notice", "Saved: drop 1 item.")
        assert errors(page) == []
        server.process.kill()

    decided = [row for row in Findings.read(findings) if row.action]
    with served(own) as server:
        open_at(page, server.url)
        page.wait_for("!document.querySelector('.bottom .primary').disabled")
        wait_for_text(page, ".reviewed", f"{n_reviewed(Findings.read(findings))} of")
        page.click(".bottom .primary")
        wait_for_text(page, ".command code", "datumaro-embed apply")
        page.run("document.querySelector('dialog input').select()")
        page.write(f"{dataset}:coco")
        page.run("document.querySelectorAll('dialog input')[1].focus()")
        page.write(str(tmp_path / "clean"))
        wait_for_text(page, ".command code", str(tmp_path / "clean"))
        page.key("Enter")  # in a field: the plan, and no more
        wait_for_text(page, ".plan", "nothing is written yet")
        assert not (tmp_path / "clean").exists()
        page.write("2")  # another folder, which has no plan yet
        page.wait_for("document.querySelector('.buttons button:last-child').disabled")
        page.run("document.activeElement.select()")
        page.write(str(tmp_path / "clean"))
        page.click(".buttons .primary")
        wait_for_text(page, ".plan", "Written")
        open_at(page, f"{server.url}#tab=map")  # last: a UMAP is begun, which takes both cores
        page.wait_for("document.querySelector('.scatter canvas')")
        assert_colors_agree(page)
        lasso_all(page)
        wait_for_text(page, ".selected", "79 items selected")
        assert errors(page) == []

    gone = {tuple(dropped.split("/", 1))}
    gone |= {(row.subset, row.id) for row in decided if row.action == "drop"}
    assert len(gone) == COPIES + 1
    expected = {key: value for key, value in facts(dataset).items() if key not in gone}
    for row in decided:
        if row.action.startswith("label "):
            changed = expected[row.subset, row.id]
            place = next(n for n, one in enumerate(changed) if one[1:] == row.box)
            changed[place] = (row.action.removeprefix("label "), *changed[place][1:])
            changed.sort()
    assert sorted(row.action for row in decided if row.object is not None) == relabeled
    assert facts(tmp_path / "clean") == expected


def assert_colors_agree(page: Page) -> None:
    """Compare the colors of labels in the map's legend with those of the filters, as of boxes."""
    page.wait_for("document.querySelector('.legend li')")
    on_map = colors_by_name(page, ".legend circle", "li", "fill")
    in_filters = colors_by_name(page, ".facet .dot", "label", "color")
    both = on_map.keys() & in_filters.keys()
    assert len(both) > 3
    assert {name: on_map[name] for name in both} == {name: in_filters[name] for name in both}
    assert len({on_map[name] for name in both}) == len(both)


def colors_by_name(page: Page, dots: str, entry: str, style: str) -> dict[str, str]:
    name = f"dot.closest({entry!r}).querySelector('bdi').textContent"
    pairs = f"dot => [{name}, getComputedStyle(dot).{style}]"
    found: dict[str, str] = page.run(
        f"Object.fromEntries([...document.querySelectorAll({dots!r})].map({pairs}))"
    )
    return found


def lasso_all(page: Page) -> None:
    """Draw a lasso around the whole map, as soon as there is something in it."""
    corners = [(0.01, 0.99), (0.01, 0.01), (0.99, 0.01), (0.99, 0.99), (0.02, 0.99)]
    while not page.run("Boolean(document.querySelector('.selected'))"):
        time.sleep(0.3)  # the map is drawn in the next frame
        x, y, w, h = page.run(CANVAS)
        page.drag([(x + w * u, y + h * v) for u, v in corners])


def relabel_two(page: Page) -> list[str]:
    """Relabel the first two suspect boxes, and return the actions."""
    page.run(
        "[...document.querySelectorAll('.kinds button')]"
        ".find(b => b.textContent.includes('Suspect labels')).click()"
    )
    labels = ["elephant", "rocket"]
    for n, label in enumerate(labels):
        wait_for_text(page, ".group h2", f"{n + 1} of")
        page.wait_for("document.querySelector('.near img')")
        page.key("l")
        page.wait_for("document.activeElement.getAttribute('role') === 'combobox'")
        page.write(label)
        wait_for_text(page, ".options [aria-selected=true]", label)
        page.key("Enter")
        wait_for_text(page, ".notice", f"Saved: relabel 1 object to {label}.")
    wait_for_text(page, ".group h2", "3 of")
    return [f"label {label}" for label in labels]


def _written(folder: Path, content: bytes) -> Path:
    path = folder / "before.csv"
    path.write_bytes(content)
    return path


@pytest.mark.slow
def test_the_grid_by_keyboard(own: Path, page: Page) -> None:
    with explore(own, framed=False) as server:
        open_at(page, server.url)
        page.key("g")
        page.wait_for("document.activeElement.className === 'grid'")
        page.key("ArrowRight")
        page.key(" ")
        page.key("ArrowRight", shift=True)
        page.key("ArrowDown", shift=True)
        columns = int(page.run("document.querySelector('.grid').getAttribute('aria-colcount')"))
        wait_for_text(page, ".selected", f"{columns + 2} items selected")
        page.key("End")
        focused = (
            "document.getElementById(document.activeElement.getAttribute('aria-activedescendant'))"
        )
        page.wait_for(f"{focused}?.title")
        last = page.run(f"{focused}.title")
        page.key("Enter")
        wait_for_text(page, ".item h2", last)
        assert page.run("document.querySelector('.item .full img').complete") is not None
        page.key("Escape")
        page.key("Escape")
        page.wait_for("!document.querySelector('.item, .selected')")
        page.key("?")
        page.wait_for("document.querySelector('dialog[open]')")
        assert errors(page) == []


def test_accept_all_leaves_a_copy_of_every_picture(own: Path, page: Page) -> None:
    findings = Path(f"{own}.findings.csv")
    with explore(own, framed=False) as server:
        open_at(page, f"{server.url}#tab=review&review=duplicate")
        page.wait_for("document.querySelector('.finding img')")
        rows = [row for row in Findings.read(findings).filter(kind="duplicate") if row.rank == 1]
        (kept,) = [n for n, row in enumerate(rows) if row.suggestion == "keep"]
        for _ in range(kept):
            page.key("ArrowRight")
        page.key("d")  # the copy that the audit would keep
        wait_for_text(page, ".notice", "Saved: drop 1 item.")
        page.run(
            "[...document.querySelectorAll('.bar button')]"
            ".find(b => b.textContent.startsWith('Accept all')).click()"
        )
        wait_for_text(page, "dialog .counts", f"keep{COPIES - 1}drop{COPIES - 1}")
        page.click("dialog .primary")
        wait_for_text(page, ".kinds [aria-current=true]", f"{COPIES - 1} /")
        accepted = Findings.read(findings).filter(kind="duplicate")
        assert [row.action for row in accepted if row.rank == 1].count("drop") == 1
        assert all(row.action for row in accepted if row.rank > 1)
        assert errors(page) == []


@pytest.mark.slow
def test_back_returns_from_a_tab_and_from_an_item(own: Path, page: Page) -> None:
    with explore(own, framed=False) as server:
        open_at(page, server.url)
        page.wait_for("document.querySelector('.tile img')")
        page.key("i")
        page.wait_for("document.querySelector('#tab-info[aria-selected=true]')")
        page.key("g")
        page.wait_for("document.querySelector('.tile img')")
        page.key("Enter")
        page.wait_for("document.querySelector('.middle.with-item')")
        for condition in (
            "!document.querySelector('.middle.with-item')",
            "document.querySelector('#tab-info[aria-selected=true]')",
            "document.querySelector('#tab-grid[aria-selected=true]')",
        ):
            page.run("history.back()")
            page.wait_for(condition)
        assert errors(page) == []


def test_select_all_after_a_filter_selects_the_items(own: Path, page: Page) -> None:
    with explore(own, framed=False) as server:
        open_at(page, server.url)
        wait_for_text(page, ".total", "79 items")
        page.click(".facet input[type=checkbox]")
        page.wait_for("document.querySelector('.total').textContent.includes('of 79 items')")
        n = text(page, ".total").split()[0]
        page.call("Input.dispatchKeyEvent", type="keyDown", key="a", code="KeyA", modifiers=2)
        wait_for_text(page, ".selected", f"{n} items selected")
        assert errors(page) == []


@pytest.mark.slow
def test_a_minus_counts_while_it_is_typed(own: Path, page: Page) -> None:
    with explore(own, framed=False) as server:
        open_at(page, server.url)
        wait_for_text(page, ".total", "79 items")
        page.key("/")
        page.write("a flower")
        page.key("Enter")
        page.write("-a cat")
        wait_for_text(page, ".total", "most similar first")
        with open_store(own) as opened:
            expected = [str(hit.key) for hit in search(opened, "a flower", minus="a cat", k=5)]
        first = f"document.querySelector('.tile').title === {expected[0]!r}"
        page.wait_for(first)
        titles = "[...document.querySelectorAll('.tile')].slice(0, 5).map(e => e.title).join()"
        page.wait_for(f"{titles} === {','.join(expected)!r}")
        assert errors(page) == []


def test_accept_all_says_first_what_it_will_do(own: Path, page: Page) -> None:
    findings = Path(f"{own}.findings.csv")
    with explore(own, framed=False) as server:
        open_at(page, f"{server.url}#tab=review&review=duplicate")
        page.wait_for("document.querySelector('.finding img')")
        page.run(
            "[...document.querySelectorAll('.bar button')]"
            ".find(b => b.textContent.startsWith('Accept all')).click()"
        )
        wait_for_text(page, "dialog .counts", f"keep{COPIES}drop{COPIES}")
        assert not any(row.action for row in Findings.read(findings))
        page.click("dialog .primary")
        wait_for_text(page, ".notice", f"keep {COPIES}")
        for row in Findings.read(findings):
            assert row.action == (row.suggestion if row.kind == "duplicate" else "")
        wait_for_text(page, ".group .primary", "Next: Leaks")
        page.key("u")
        wait_for_text(page, ".notice", "Undone")
        assert not any(row.action for row in Findings.read(findings))


@pytest.mark.slow
def test_findings_come_while_the_page_is_open(store: Path, tmp_path: Path, page: Page) -> None:
    shutil.copy(store, tmp_path / "e.h5")
    with explore(tmp_path / "e.h5", framed=False) as server:
        open_at(page, server.url)
        page.key("r")
        wait_for_text(page, ".kinds", "Duplicates")
        assert not text(page, ".banners")
        assert errors(page) == []


@pytest.mark.slow
def test_an_image_that_is_gone_or_changed_is_not_shown(
    own: Path, dataset: Path, tmp_path: Path, page: Page
) -> None:
    root = tmp_path / "moved"
    shutil.copytree(dataset / "images", root / "images")
    with open_store(own) as opened:
        first, second = (root / opened.item(row).path for row in range(2))
    first.unlink()
    Image.new("RGB", (40, 40)).save(second)
    with explore(own, media_root=root, framed=False) as server:
        open_at(page, server.url)
        page.wait_for("document.querySelectorAll('.gone').length === 2")
        wait_for_text(page, ".tile:nth-child(2) .gone", "changed since")
        page.click(".tile:nth-child(2)")
        wait_for_text(page, ".item .gone", "changed since")


@pytest.mark.slow
def test_hostile_names_are_inert(tmp_path: Path, page: Page) -> None:
    store = hostile_store(tmp_path)
    with explore(store, framed=False) as server:
        page.go(server.url, width=1400, height=900)
        page.wait_for("document.querySelector('.tile .gone')")
        page.wait_for("![...document.querySelectorAll('.tile')].some(t => !t.title)")
        page.click(".tile")
        page.wait_for("document.querySelector('.item dl')")
        for tab in ("map", "review", "grid"):
            page.click(f"#tab-{tab}")
            time.sleep(0.3)
        assert page.run("window.pwned") is None
        assert (
            page.run("document.querySelectorAll('img[src=\"x\"], script:not([src])').length") == 0
        )
        assert [url for url in page.requests if not url.startswith(server.url)] == []


@pytest.mark.slow
def test_a_second_explorer_says_that_it_only_shows(own: Path, page: Page) -> None:
    with served(own), explore(own, framed=False) as second:
        open_at(page, second.url)
        wait_for_text(page, ".banners .warning", "Another explorer has")


VIEWS = {
    "grid": "",
    "search": "text=a+flower&nottext=snow&open=3",
    "duplicates": "tab=review&review=duplicate",
    "mislabel": "tab=review&review=mislabel",
    "map": "tab=map&color=subset",  # last: a UMAP is begun, which takes both cores
}


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
def test_axe_finds_nothing_serious(own: Path, page: Page, dark: bool, width: int) -> None:
    with explore(own, framed=False) as server:
        for dialog in ("help", "apply", "relabel"):
            open_at(page, f"{server.url}#tab=review&review=mislabel", dark=dark, width=width)
            page.wait_for("document.querySelector('.finding img')")
            page.key({"help": "?", "apply": "x", "relabel": "l"}[dialog])
            if dialog == "apply":
                page.wait_for("!document.querySelector('.bottom .primary').disabled")
                page.click(".bottom .primary")
                wait_for_text(page, ".command code", "apply")
            page.wait_for("document.querySelector('dialog[open]')")
            assert serious(page) == [], dialog
        for name, view in VIEWS.items():
            open_at(page, f"{server.url}#{view}", dark=dark, width=width)
            time.sleep(0.5)
            assert serious(page) == [], name


def serious(page: Page) -> list[str]:
    """Serious and critical violations of WCAG 2 A and AA, and where they are."""
    page.run(AXE.read_text())
    found = page.run(
        "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']}).then(found => ({"
        "passed: found.passes.map(v => v.id), violations: found.violations.map(v =>"
        " [v.impact, v.id, v.nodes.slice(0, 3).map(n => n.html.slice(0, 200) + n.failureSummary)])"
        "}))"
    )
    assert "color-contrast" in found["passed"], "axe did not look"
    bad = ("serious", "critical")
    return [f"{rule}: {nodes}" for impact, rule, nodes in found["violations"] if impact in bad]
