"""The findings file, as this package and as spreadsheets write it; what a row does and when not."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datumaro.components import annotation as dm
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image
from hypothesis import given
from hypothesis import strategies as st

from datumaro_embed.adapter import SourceDataset
from datumaro_embed.auditing import failures, odd_boxes
from datumaro_embed.encoders import FakeEncoder
from datumaro_embed.errors import EmbedWarning, StaleStoreError, UsageError
from datumaro_embed.escaping import from_sheet_cell, sheet_cell
from datumaro_embed.findings import Finding, Findings, apply_findings, contradict
from datumaro_embed.findings.plan import plan_changes
from datumaro_embed.pipeline import embed_dataset
from datumaro_embed.records import ObjectRecord, ObjectStatus, Status
from datumaro_embed.store import open_store
from search_support import item, memory_store
from support import picture

# What spreadsheets run, or take for a number, a date or a truth value.
TEXTS = [
    *("000123", "1e5", "12.50", "2020-01-02", "true", "mar-1", "sept2", "=1+1", "-3", "@x", "'q"),
    *(
        "a\nb",
        "a\\b",
        "a\\n",
        "1/2",
        "1 2",
        "x,y",
        'q"r',
        "ä€",
        "50%",
        "$5",
        "(3)",
        " lead",
        "end ",
    ),
    *("1:30 PM", "\x1b[31m", "10 mar", "1,234", "3e-4", "1.5.2", "FALSE", "٣", "½", "#N/A", "a;b"),
]
TITLES = (
    "kind,group,subset,id,object,label,box,measure,value,rank,suggestion,action,reason,"
    "content_sha256,store,model"
)


def rows_of_texts() -> list[Finding]:
    return [
        Finding(
            *("quality", n, "train", text, n % 3 or None, text, (1.5, 2.0, 3.25, 1000.13)),
            *("cosine", 0.123456789, n + 1, f"label {text}", f"label {text}", text),
            *(f"{7**70 * (n + 1):064x}"[-64:], "1e" + "0" * 30, "00ff"),
        )
        for n, text in enumerate(TEXTS)
    ]


@given(st.text())
def test_every_text_comes_back(text: str) -> None:
    assert from_sheet_cell(sheet_cell(text)) == text
    assert sheet_cell(text).isprintable()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_same_rows_are_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    rows = rows_of_texts()
    for name, given_rows in (("a", rows), ("b", rows[::-1])):
        getattr(Findings(given_rows), f"to_{suffix}")(tmp_path / f"{name}.{suffix}")
    first, second = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in "ab")
    assert first == second
    assert Findings.read(tmp_path / f"a.{suffix}") == Findings(rows)
    if suffix == "csv":
        assert first.decode("utf-8-sig").splitlines()[0] == TITLES
    frame = Findings(rows).to_pandas()
    assert ",".join(frame.columns) == TITLES
    assert frame["id"].tolist() == TEXTS


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("drop", "keep", True),
        ("drop", "label cat", True),
        ("drop", "drop", False),
        ("drop", "review", False),
        ("drop", "", False),
        ("label cat", "label dog", True),
        ("label cat", "keep", False),
        ("subset a", "subset b", True),
        ("subset a", "attribute x=1", False),
        ("attribute x=1", "attribute x=2", True),
        ("attribute x=1", "attribute y=2", False),
    ],
)
def test_two_actions_contradict_each_other_either_way(one, other, expected: bool) -> None:
    rows = [Finding(id="a", action=action) for action in (one, other)]
    assert contradict(*rows) == contradict(*reversed(rows)) == expected
    assert not contradict(rows[0], replace(rows[1], object=1, action="drop"))


def test_filter_and_accept() -> None:
    rows = Findings([Finding("a", id="x", suggestion="drop"), Finding("b", id="x"), Finding("b")])
    assert len(rows.filter(kind="b", id="x")) == 1
    assert [row.action for row in rows.filter(lambda row: row.id == "x").accept()] == ["drop", ""]
    with pytest.raises(UsageError, match=r"no column foo\. Choose one of kind, group"):
        rows.filter(foo=1)


def resaved(text: str, delimiter: str, quoting: Any = csv.QUOTE_MINIMAL) -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator="\r\n")
    writer.writerows(csv.reader(io.StringIO(text)))
    return out.getvalue()


VARIANTS: dict[str, Callable[[str], bytes]] = {
    "BOM": lambda text: codecs.BOM_UTF8 + text.encode(),
    "semicolons, quoted": lambda text: resaved(text, ";", csv.QUOTE_ALL).encode(),
    "sep": lambda text: b"sep=;\r\n" + resaved(text, ";").encode(),
    "UTF-16, tabs": lambda text: resaved(text, "\t").encode("utf-16"),
    "numbers of another country": lambda text: resaved(
        text.replace(",0.123456789,", ',"0,123456789",').replace(",2,000123", ",2.0,000123"), ";"
    ).encode(),
    "empty lines": lambda text: (text + "," * 15 + "\n\n").encode(),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_a_spreadsheet_saves_is_read(tmp_path: Path, variant: str) -> None:
    path = tmp_path / "a.csv"
    Findings(rows_of_texts()).to_csv(path)
    path.write_bytes(VARIANTS[variant](path.read_bytes().decode("utf-8-sig")))
    assert Findings.read(path) == Findings(rows_of_texts())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("soffice") is None, reason="LibreOffice is not installed")
@pytest.mark.parametrize("steps", [("csv:Text - txt - csv (StarCalc):59,34,76",), ("ods", "csv")])
def test_libreoffice_opens_and_saves_it(tmp_path: Path, steps: tuple[str, ...]) -> None:
    path = tmp_path / "findings.csv"
    Findings(rows_of_texts()).to_csv(path)
    for number, step in enumerate(steps):
        out = tmp_path / str(number)
        words = [
            "soffice",
            f"-env:UserInstallation={(tmp_path / 'profile').as_uri()}",
            "--headless",
        ]
        words += ["--infilter=CSV:44,34,76"] if number == 0 else []
        target = f"{step}:Text - txt - csv (StarCalc):44,34,76" if step == "csv" else step
        words += ["--convert-to", target, "--outdir", str(out), str(path)]
        subprocess.run(words, check=True, capture_output=True, timeout=300)
        (path,) = out.iterdir()
    assert Findings.read(path) == Findings(rows_of_texts())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no column subset, id, object"),
        (b"a,b\n1,2\n", "has no column subset, id, object"),
        (b"\xff\xfe\xff", "is not a text file in UTF-8"),
        (b"PK\x03\x04\x14\0", "not CSV. Save it as CSV with the encoding UTF-8"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is a workbook"),
        (TITLES.encode() + b"\nx,,train,\xe4,,,,,,,,,,,,\n", "is not a text file in UTF-8"),
        (
            TITLES.encode() + b"\n\nx,,train,a,1.5,,,,,,,,,,,\n",
            "line 3: object '1.5' is not a whole",
        ),
        (TITLES.encode() + b"\nx,,train,a,1,,1 2 3,,,,,,,,,\n", "line 2: box '1 2 3' is not four"),
        (TITLES.encode() + b'\nx,,"train\n', "line 2: not valid CSV"),
        (TITLES.encode() + b",action\n", "has two columns action"),
        (
            TITLES.encode() + b"\nx,,train,a,,,,,,,,label a,b,,,s,m\n",
            "line 2: 17 cells, and the file",
        ),
        (b"PAR1 and no more", "is not a valid Parquet file"),
    ],
)
def test_what_is_no_findings_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "f.csv").write_bytes(content)
    with pytest.raises(UsageError) as caught:
        Findings.read(tmp_path / "f.csv")
    assert message in str(caught.value)
    with pytest.raises(UsageError, match="No findings file"):
        Findings.read(tmp_path / "no.csv")
    (tmp_path / "f.parquet").write_bytes(content)
    with pytest.raises(UsageError, match="is not a valid Parquet file"):
        Findings.read(tmp_path / "f.parquet")


@pytest.mark.parametrize("name", ["f.xlsx", "f.json", "f.HTML"])
def test_no_csv_is_written_under_the_name_of_another_format(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="written as CSV or Parquet"):
        Findings(rows_of_texts()).write(tmp_path / name)
    assert not [*tmp_path.iterdir()]


def test_a_mark_that_a_program_misread_belongs_to_no_title(tmp_path: Path) -> None:
    Findings(rows_of_texts()).to_csv(tmp_path / "f.csv")
    content = (tmp_path / "f.csv").read_bytes().decode("utf-8-sig")
    (tmp_path / "g.csv").write_text(f"\u00ef\u00bb\u00bf{content}", "utf-8", newline="")
    assert Findings.read(tmp_path / "g.csv") == Findings.read(tmp_path / "f.csv")


# Acting ----------------------------------------------------------------------------------------


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """train/a of two cats and a dog that is a box and its outline; train/b of none; val/a."""
    items = []
    for seed, (subset, name) in enumerate((("train", "a"), ("train", "b"), ("val", "a"))):
        path = tmp_path / f"{subset}_{name}.png"
        picture(seed).save(path)
        cats = [dm.Bbox(x, 2, 10, 12, label=0, id=n, group=n) for n, x in ((1, 20), (2, 3))]
        outline = dm.Polygon([5, 5, 15, 5, 15, 15], label=1, id=3, group=3)
        dog = [outline, dm.Bbox(5, 5, 10, 10, label=1, id=3, group=3)]
        found = [] if name == "b" else [*cats, *dog, dm.Label(0)]
        media = Image.from_file(str(path))
        items.append(DatasetItem(name, subset=subset, media=media, annotations=found))
    return Dataset.from_iterable(items, categories=["cat", "dog"])


def row(dataset: Dataset, action: str, *, subset: str = "train", name: str = "a", **values: Any):
    found = dataset.get(name, subset)
    data = b"" if found is None else Path(found.media.path).read_bytes()
    return Finding(
        *("x",), subset=subset, id=name, action=action,
        **{"content_sha256": hashlib.sha256(data).hexdigest(), **values},
    )  # fmt: skip


CAT = {"object": 0, "label": "cat", "box": (3, 2, 10, 12)}
DOG = {"object": 2, "label": "dog", "box": (5, 5, 10, 10)}


def after(dataset: Dataset, *rows: Finding, **options: Any) -> dict[str, list[str]]:
    found = apply_findings(dataset, Findings(rows), **options)
    labels = found.categories()[dm.AnnotationType.label]
    return {
        f"{each.subset}/{each.id}": sorted(
            f"{one.type.name} {labels[one.label].name}" for one in each.annotations
        )
        for each in found
    }


def test_a_label_may_begin_and_end_with_spaces(dataset: Dataset, tmp_path: Path) -> None:
    spaced = Dataset.from_iterable(dataset, categories=["cat", " dog "])
    for action, label in (("label  dog ", "label  dog "), (" Label  cat ", "label cat")):
        Findings([row(spaced, action, name="b")]).to_csv(tmp_path / "f.csv")
        (read,) = Findings.read(tmp_path / "f.csv")
        assert read.action == action
        assert after(spaced, read)["train/b"] == [label]
        (tmp_path / "f.csv").unlink()
    added = after(spaced, row(spaced, "label  eel ", name="b"), new_labels=True)
    assert added["train/b"] == ["label eel"]


ALL = ["bbox cat", "bbox cat", "bbox dog", "label cat", "polygon dog"]


@pytest.mark.parametrize(
    ("rows", "left"),
    [
        ([("drop", {})], {"train/b": [], "val/a": ALL}),
        ([("", {}), ("keep", {"name": "b"}), ("Review", {})], None),
        ([("drop", CAT)], {"train/a": ["bbox cat", "bbox dog", "label cat", "polygon dog"]}),
        ([("drop", DOG)], {"train/a": ["bbox cat", "bbox cat", "label cat"]}),
        (
            [("label cat", DOG), ("label dog", CAT)],
            {"train/a": ["bbox cat", "bbox cat", "bbox dog", "label cat", "polygon cat"]},
        ),
        ([("label dog", {"name": "b"})], {"train/b": ["label dog"]}),
        ([("label dog", {"label": "cat"})], {"train/a": [*ALL[:3], "label dog", ALL[4]]}),
        ([("Drop ", {"label": "ignored"})], {"train/b": [], "val/a": ALL}),
        ([("subset val", {})], {"train/b": [], "val/a": ALL, "val/a_train": ALL}),
        ([("subset test", {}), ("subset test", {})], {"test/a": ALL, "train/b": [], "val/a": ALL}),
        # A dropped item takes its objects with it.
        ([("drop", {}), ("label dog", CAT)], {"train/b": [], "val/a": ALL}),
    ],
)
def test_what_each_action_does(dataset: Dataset, rows: list, left: dict | None) -> None:
    before = after(dataset)
    expected = before if left is None else before | left
    if left and "train/b" in left and len(left) > 1:
        expected = left
    found = after(dataset, *(row(dataset, action, **values) for action, values in rows))
    assert found == expected
    assert after(dataset) == before


def test_attributes_and_new_labels(dataset: Dataset) -> None:
    tagged = [row(dataset, f"attribute {text}") for text in ("seen=3", "batch=007")]
    rows = Findings([*tagged, row(dataset, "label owl", **CAT)])
    with pytest.raises(UsageError, match=r"train/a#0: the dataset has no label 'owl'.*new_labels"):
        apply_findings(dataset, rows)
    found = apply_findings(dataset, rows, new_labels=True).get("a", "train")
    assert found.attributes == {"seen": 3, "batch": "007"}
    assert sorted(each.label for each in found.annotations) == [0, 0, 1, 1, 2]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("burn", {})], "there is no action 'burn'"),
        ([("drop it", {})], "there is no action 'drop it'"),
        ([("label", {})], "there is no action 'label'"),
        ([("label cta", CAT)], "no label 'cta'. Nearest: 'cat'"),
        ([("subset x", CAT)], "is for items, and the row is of an object"),
        ([("subset ../x", {})], "no subset can be called"),
        ([("attribute x", {})], "attribute NAME=VALUE"),
        ([("drop", {}), ("keep", {})], "contradicts"),
        ([("keep", CAT), ("drop", CAT)], "contradicts"),
        ([("label cat", CAT), ("label dog", CAT)], "contradicts"),
        ([("subset a", {}), ("subset b", {})], "contradicts"),
        ([("drop", {}), ("subset b", {})], "contradicts"),
    ],
)
def test_wrong_and_contradicting_rows_name_their_lines(
    dataset: Dataset, tmp_path: Path, rows: list, message: str
) -> None:
    given_rows = [row(dataset, action, **values, rank=1) for action, values in rows]
    path = tmp_path / "f.csv"
    Findings(given_rows).to_csv(path)
    with pytest.raises(UsageError) as caught:
        apply_findings(dataset, path)
    assert message in str(caught.value)
    assert all(f"line {n} (train/a" in str(caught.value) for n in range(2, 2 + len(rows)))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"name": "z"}, "item is not in the dataset (train/z)"),
        ({"content_sha256": "0" * 64}, "image has changed since the finding was made (train/a)"),
        ({"content_sha256": ""}, "without a content_sha256 (train/a)"),
        (CAT | {"object": 7}, "object is not there, or has another label or box now (train/a#7)"),
        (CAT | {"label": "dog"}, "another label or box now (train/a#0)"),
        (CAT | {"box": (3, 2, 10, 12.1)}, "another label or box now (train/a#0)"),
        ({"action": "label dog"}, "column label is not a label of the item (train/a)"),
    ],
)
def test_a_row_acts_only_on_what_it_was_made_of(
    dataset: Dataset, values: dict, reason: str
) -> None:
    stale = row(
        dataset, values.get("action", "drop"), **{k: v for k, v in values.items() if k != "action"}
    )
    good = row(dataset, "drop", name="b")
    with pytest.raises(StaleStoreError) as caught:
        apply_findings(dataset, Findings([stale, good]))
    assert "The dataset does not match 1 of 2 findings: 1 row " in str(caught.value)
    assert reason in str(caught.value)
    assert caught.value.n_stale == 1
    assert after(dataset, stale, good, skip_stale=True).keys() == {"train/a", "val/a"}
    with pytest.raises(StaleStoreError, match="Nothing was written"):
        apply_findings(dataset, Findings([stale]), skip_stale=True)


@pytest.mark.parametrize("action", ["keep", "", "review"])
@pytest.mark.parametrize("is_there", [True, False])
def test_no_copy_is_dropped_whose_kept_copy_is_gone(
    dataset: Dataset, action: str, is_there: bool
) -> None:
    rows = row(dataset, action, name="b"), row(dataset, "drop", subset="val")
    kept, dropped = (replace(one, kind="leak", group=1) for one in rows)
    other = row(dataset, "attribute seen=1")
    assert after(dataset, kept, dropped).keys() == {"train/a", "train/b"}
    media = Path(dataset.get("b", "train").media.path)
    picture(9).save(media) if is_there else media.unlink()
    with pytest.raises(StaleStoreError, match="kept copy is gone, has changed or is dropped too"):
        apply_findings(dataset, Findings([kept, dropped]))
    found = after(dataset, kept, dropped, other, skip_stale=True)
    assert found.keys() == {"train/a", "train/b", "val/a"}
    if is_there:  # a person who drops all copies says so
        every = row(dataset, "drop", name="b"), replace(dropped, group=2)
        assert after(dataset, *(replace(one, kind="leak") for one in every)).keys() == {"train/a"}


def test_no_copy_is_dropped_whose_kept_copy_another_finding_drops(dataset: Dataset) -> None:
    kept, dropped = row(dataset, "keep", name="b"), row(dataset, "drop", subset="val")
    kept, dropped = (replace(one, kind="duplicate", group=1) for one in (kept, dropped))
    strange = replace(row(dataset, "drop", name="b"), kind="outlier", group=None)
    kept = replace(kept, action="")
    with pytest.raises(StaleStoreError, match="or is dropped too"):
        apply_findings(dataset, Findings([kept, dropped, strange]))
    found = after(dataset, kept, dropped, strange, skip_stale=True)
    assert found.keys() == {"train/a", "val/a"}
    third = replace(row(dataset, ""), kind="duplicate", group=1)  # stays
    assert after(dataset, kept, dropped, strange, third).keys() == {"train/a"}


def test_boxes_are_equal_up_to_what_formats_round(dataset: Dataset) -> None:
    assert after(dataset, row(dataset, "drop", **CAT | {"box": (3.01, 2, 9.99, 12)})) != after(
        dataset
    )


# Boxes and failures ----------------------------------------------------------------------------


def test_odd_boxes_and_failures(tmp_path: Path) -> None:
    picture(1, (100, 80)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    boxes = [
        *((10, 10, 30, 30, 0), (10, 10, 30, 30.1, 0), (10, 10.5, 30, 30.5, 0), (50, 50, 20, 20, 0)),
        *((0, 0, 100, 79, 0), (200, 10, 20, 20, 0), (90, 30, 20, 20, 1), (50, 50, 20, 20, 1)),
        *((60, 5, 0, 10, 1), (12, 40, 28, 30, 0)),
    ]
    annotations = [dm.Bbox(*box[:4], label=box[4], id=n) for n, box in enumerate(boxes)]
    items = [
        DatasetItem("a", media=Image.from_file(str(tmp_path / "a.png")), annotations=annotations),
        DatasetItem("b", media=Image.from_file(str(tmp_path / "b.png"))),
    ]
    dataset = Dataset.from_iterable(items, categories=["cat", "dog"])
    with pytest.warns(EmbedWarning):
        embed_dataset(
            dataset, tmp_path / "e.h5", encoder=FakeEncoder(), objects=True, progress=False
        )
    with open_store(tmp_path / "e.h5") as store:
        found = odd_boxes(store)
        failed = failures(store)
    shown = {(each.box, each.label, each.suggestion, each.measure) for each in found}
    assert shown == {
        ((10, 10, 30, 30.1), "cat", "drop", "iou"),
        ((10, 10.5, 30, 30.5), "cat", "review", "iou"),
        ((50, 50, 20, 20), "dog", "review", "iou"),
        ((0, 0, 100, 79), "cat", "review", "share"),
        ((200, 10, 20, 20), "cat", "drop", "outside"),
        ((90, 30, 20, 20), "dog", "review", "outside"),
        ((60, 5, 0, 10), "dog", "drop", "no_box"),
    }
    assert [each.rank for each in found] == list(range(1, 8))
    assert [(each.id, each.suggestion) for each in failed] == [("b", "drop")]
    assert failed[0].reason.startswith("unreadable: ")
    left = apply_findings(dataset, Findings([*found.accept(), *failed.accept()]))
    assert {each.id: len(each.annotations) for each in left} == {"a": 7}


def test_each_of_many_boxes_at_one_place_is_told_from_the_first() -> None:
    n = 10_000
    boxes = [(10.0, 10.0, 50.0, 50.0)] * (n - 1) + [(10.0, 10.0, 50.0, 50.25)]
    objects = [ObjectRecord(box=box, status=ObjectStatus.TOO_SMALL) for box in boxes]
    record = replace(item("train", "a", size=(100, 100)), objects=tuple(objects))
    found = odd_boxes(memory_store(np.ones((1, 2)), [record]))
    assert [row.object for row in found] == list(range(1, n))
    assert {row.reason for row in found} == {"the box is that of object 0 of label ''"}


def test_a_box_of_the_same_label_is_told_first() -> None:
    """Cat, dog, dog and a dog nearby on one box: only the second dog is there twice."""
    boxes = [(10.0, 10.0, 50.0, 50.0)] * 3 + [(10.0, 10.0, 50.0, 53.0)]
    objects = [
        ObjectRecord(box=box, label=int(n > 0), status=ObjectStatus.TOO_SMALL)
        for n, box in enumerate(boxes)
    ]
    record = replace(item("train", "a", size=(100, 100)), objects=tuple(objects))
    found = odd_boxes(memory_store(np.ones((1, 2)), [record]))
    assert [(row.object, row.suggestion, row.reason[-25:]) for row in found] == [
        (2, "drop", "f object 1 of label 'dog'"),
        (1, "review", "f object 0 of label 'cat'"),
        (3, "review", "f object 0 of label 'cat'"),
    ]


def test_an_image_behind_a_link_is_to_be_reviewed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    picture(1, (100, 80)).save(tmp_path / "out.png")
    (data / "a.png").symlink_to(tmp_path / "out.png")
    (data / "b.png").write_bytes(b"no image")
    dataset = Dataset.import_from(str(data), "image_dir")
    with pytest.warns(EmbedWarning):
        embed_dataset(dataset, tmp_path / "e.h5", encoder=FakeEncoder(), progress=False).close()
    with open_store(tmp_path / "e.h5") as store:
        linked, broken = failures(store)
    assert (linked.suggestion, broken.suggestion) == ("review", "drop")
    assert "--follow-symlinks" in linked.reason


def test_failures_of_missing_images_have_no_contents() -> None:
    store = memory_store(np.ones((1, 2)), [item("train", "a", status=Status.MISSING)])
    (found,) = failures(store)
    assert (found.content_sha256, found.store) == ("", store.uuid)
    assert replace(found, line=3) == found


def test_the_plan_says_where_every_copy_is_dropped(dataset: Dataset) -> None:
    every = row(dataset, "drop", name="b"), row(dataset, "drop", subset="val")
    rows = Findings(replace(one, kind="leak", group=1) for one in every)
    source = SourceDataset(dataset)
    lines = [*plan_changes(rows, source).lines(source)]
    assert "1 group of copies of which every listed copy is dropped (train/b)" in lines
    kept = Findings([rows[0], replace(rows[1], action="keep")])
    assert not any("every listed" in line for line in plan_changes(kept, source).lines(source))
