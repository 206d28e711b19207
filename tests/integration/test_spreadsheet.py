"""A findings file that a person edits in LibreOffice and saves: what `apply` does with it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from datumaro.components.dataset import Dataset

from datumaro_embed import Finding, Findings, open_store
from datumaro_embed.findings.columns import COLUMNS
from support import picture, run, write_coco

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("soffice") is None, reason="no LibreOffice here"),
]

NAMES = ("000123", "1e5", "=1+1", "mar-1", "true", "-x", "naïve; ü", "plain")
ACTIONS = {"000123": "drop", "=1+1": "Drop", "mar-1": "subset val", "plain": "keep"}
CSV = "csv:Text - txt - csv (StarCalc):59,34,76"  # semicolons, UTF-8
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_REPEATED = f"{_TABLE}number-columns-repeated"
_profile = ""


@pytest.fixture(scope="module", autouse=True)
def profile(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One profile for all starts of LibreOffice: to make it takes seconds."""
    global _profile
    _profile = tmp_path_factory.mktemp("profile").as_uri()


def convert(file: Path, to: str, *options: str) -> Path:
    """Let LibreOffice open a file and save it in another format."""
    out = file.parent / to.partition(":")[0]
    words = ["soffice", f"-env:UserInstallation={_profile}", "--headless", *options]
    words += ["--convert-to", to, "--outdir", str(out), str(file)]
    subprocess.run(words, check=True, capture_output=True, timeout=300)
    return out / f"{file.stem}.{out.name}"


def edited(findings: Path, actions: Mapping[str, str], *, through: str = "xlsx") -> Path:
    """Open a findings file as a spreadsheet, type actions where none is, and save it as CSV."""
    sheet = convert(findings, "fods", "--infilter=CSV:44,34,76")
    for _, (prefix, name) in ElementTree.iterparse(sheet, ["start-ns"]):
        ElementTree.register_namespace(prefix, name)  # LibreOffice knows the file by `office:`
    tree = ElementTree.parse(sheet)
    typed = set()
    for row in tree.iter(f"{_TABLE}table-row"):
        cells = _single_cells(row)
        name = "".join(cells[COLUMNS.index("id")].itertext()).strip().removeprefix("'")
        if name in actions and not len(cells[COLUMNS.index("action")]):
            ElementTree.SubElement(cells[COLUMNS.index("action")], f"{_TEXT}p").text = actions[name]
            typed.add(name)
    assert typed == {*actions}
    tree.write(sheet, encoding="utf-8", xml_declaration=True)
    return convert(convert(sheet, through), CSV)


def _single_cells(row: ElementTree.Element) -> list[ElementTree.Element]:
    """Write out the cells of a row that stand for several; return them."""
    for place in reversed(range(len(row))):
        n_cells = int(row[place].attrib.pop(_REPEATED, "1"))
        for _ in range(n_cells - 1):
            row.insert(place, ElementTree.Element(row[place].tag))
    return list(row)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, its findings, and these as LibreOffice saved them with `ACTIONS` typed in."""
    root = tmp_path_factory.mktemp("made")
    findings_of(dataset(root / "data"), root / "s.h5", root / "f.csv")
    edited(root / "f.csv", ACTIONS).rename(root / "saved.csv")
    return root


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "data", tmp_path / "data"))


def dataset(root: Path, seed: int = 0) -> Path:
    write_coco(root, [(f"{name}.png", (48, 40)) for name in NAMES])
    for number, name in enumerate(NAMES, start=seed):
        picture(number).save(root / "images" / "train" / f"{name}.png")
    return root


def findings_of(data: Path, store: Path, path: Path) -> Path:
    """Embed a dataset and write a finding of each item."""
    command = ("datumaro-embed", "embed", f"{data}:coco", "--store", store, "--model", "demo")
    done = run(*command)
    assert done.returncode == 0, done.stderr
    with open_store(store) as opened:
        rows = [
            Finding.of(
                "outlier",
                key,
                measure="rarity",
                value=1.5 + row / 8,
                rank=row + 1,
                suggestion="review",
                reason=f"=HYPERLINK({key.id})",
                content_sha256=opened.content_sha256[row].tobytes().hex(),
                store=opened.uuid,
                model=opened.kind.fingerprint,
            )
            for row, key in enumerate(opened.keys())
        ]
    Findings(rows).to_csv(path)
    return path


def apply(findings: Path, data: Path, out: Path, *options: str) -> tuple[int, str, set[str]]:
    """Exit status, what was said, and the items there are then."""
    done = run("datumaro-embed", "apply", findings, f"{data}:coco", "-o", out, *options)
    left = (
        {f"{item.subset}/{item.id}" for item in Dataset.import_from(str(out), "coco")}
        if out.exists()
        else {}
    )
    return done.returncode, done.stdout + done.stderr, set(left)


def test_what_was_typed_is_done_and_nothing_else(made: Path, data: Path, tmp_path: Path) -> None:
    assert Findings.read(made / "saved.csv") == Findings(
        replace(row, action=ACTIONS.get(row.id, "")) for row in Findings.read(made / "f.csv")
    )
    status, said, left = apply(made / "saved.csv", data, tmp_path / "out")
    assert status == 0, said
    expected = {f"train/{name}" for name in {*NAMES} - {"000123", "=1+1", "mar-1"}} | {"val/mar-1"}
    assert left == expected


def test_each_row_is_checked_against_the_dataset(made: Path, data: Path, tmp_path: Path) -> None:
    saved, out = made / "saved.csv", tmp_path / "out"
    picture(99).save(data / "images/train/000123.png")
    status, said, left = apply(saved, data, out)
    assert (status, left) == (1, set())
    assert "image has changed since the finding was made" in said
    assert "train/000123" in said

    (data / "images/train/mar-1.png").unlink()
    document = data / "annotations/instances_train.json"
    document.write_text(document.read_text().replace("mar-1.png", "other.png"))
    picture(98).save(data / "images/train/other.png")
    status, said, left = apply(saved, data, out)
    assert (status, left) == (1, set())
    assert "item is not in the dataset" in said
    assert "train/mar-1" in said

    status, said, left = apply(saved, data, out, "--skip-stale")
    assert status == 0, said
    assert left == {f"train/{name}" for name in {*NAMES, "other"} - {"=1+1", "mar-1"}}


def test_rows_that_contradict_each_other_are_named_by_line(
    made: Path, data: Path, tmp_path: Path
) -> None:
    rows = Findings.read(made / "f.csv")
    kept = [replace(row, kind="quality", action="keep") for row in rows if row.id == "1e5"]
    Findings([*rows, *kept]).to_csv(tmp_path / "twice.csv")
    saved = edited(tmp_path / "twice.csv", {"1e5": "drop"}, through="ods")
    lines = [n for n, line in enumerate(saved.read_text().splitlines(), 1) if ";'1e5;" in line]
    assert len(lines) == 2
    status, said, left = apply(saved, data, tmp_path / "out")
    assert (status, left) == (1, set())
    assert all(f"line {n} (train/1e5)" in said for n in lines)
    assert "contradicts" in said


def test_another_dataset_and_another_store(made: Path, data: Path, tmp_path: Path) -> None:
    """Names that are the same are not enough; who embedded the same images does not matter."""
    other = dataset(tmp_path / "other", seed=50)
    status, said, left = apply(made / "saved.csv", other, tmp_path / "out", "--skip-stale")
    assert (status, left) == (1, set())
    assert "The dataset does not match 3 of 3 findings" in said

    again = Findings.read(findings_of(data, tmp_path / "again.h5", tmp_path / "again.csv"))
    assert {row.store for row in again}.isdisjoint(
        row.store for row in Findings.read(made / "f.csv")
    )
    Findings(replace(row, action=ACTIONS.get(row.id, "")) for row in again).to_csv(
        tmp_path / "filled.csv"
    )
    status, said, left = apply(tmp_path / "filled.csv", data, tmp_path / "out")
    assert status == 0, said
    assert len(left) == len(NAMES) - 2
