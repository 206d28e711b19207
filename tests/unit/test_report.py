"""The report as a file: what it holds and may load; no string of a dataset is markup."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from base64 import b64decode
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from datumaro_embed import (
    AnnotationRecord,
    Categories,
    Findings,
    ItemKey,
    ItemRecord,
    ReportOptions,
    Split,
    Status,
    audit,
    open_store,
    write_report,
)
from datumaro_embed.errors import MissingExtraError, StoreExistsError, UsageError
from datumaro_embed.images import read_info
from datumaro_embed.page.maps import pca
from datumaro_embed.page.places import places_of
from datumaro_embed.page.summary import first_labels, sizes, summary, typical
from datumaro_embed.testing import MemoryStores
from datumaro_embed.vectors import VectorKind
from report_stores import HOSTILE, OUR_TAGS, Outline, hostile_store
from store_support import create_store
from support import picture


def written(store: Path, folder: Path, **options: Any) -> str:
    out = folder / "report.html"
    out.unlink(missing_ok=True)
    with open_store(store) as opened:
        write_report(opened, out, ReportOptions(**options))
    return out.read_text(encoding="utf-8")


def block(html: str, name: str) -> str:
    found = re.search(rf'<script type="[a-z/]+" id="{name}">(.*?)</script>', html)
    assert found
    return found[1]


def data_of(html: str) -> Any:
    return json.loads(gzip.decompress(b64decode(block(html, "data"))))


def pictures_of(html: str, of: str = "items") -> dict[int, Image.Image]:
    found = json.loads(block(html, "pictures"))[of]
    return {int(row): Image.open(BytesIO(b64decode(data))) for row, data in found.items()}


def test_no_string_of_a_dataset_becomes_markup(tmp_path: Path) -> None:
    html = written(hostile_store(tmp_path), tmp_path, title=HOSTILE[0])
    outline = Outline(html)
    tags = [name for name, _ in outline.tags]
    assert {*tags} == {*OUR_TAGS.split()}
    assert tags.count("script") == 3
    assert not [a for _, attributes in outline.tags for a in attributes if a.startswith("on")]
    assert HOSTILE[0] in outline.words
    known = data_of(html)
    assert known["items"]["id"] == sorted(HOSTILE)
    assert [label["name"] for label in known["store"]["labels"]] == list(HOSTILE)


def test_the_policy_names_script_and_style_and_allows_no_request(tmp_path: Path) -> None:
    outline = Outline(written(hostile_store(tmp_path), tmp_path))
    policy = next(a["content"] for _, a in outline.tags if a.get("http-equiv"))
    assert policy is not None
    digest = "'sha256-[A-Za-z0-9+/]{43}='"
    assert re.fullmatch(
        f"default-src 'none'; script-src {digest}; style-src {digest}; img-src data:; "
        "base-uri 'none'; form-action 'none'",
        policy,
    )
    links = [a.get("href") or a.get("src") for _, a in outline.tags]
    assert [link for link in links if link] == ["data:,"]


@pytest.mark.slow
def test_what_the_page_holds(objects_store: Path, tmp_path: Path) -> None:
    html = written(objects_store, tmp_path, title="Sample")
    known = data_of(html)
    with open_store(objects_store) as store:
        table, found = store.objects, audit(store)
        assert known["store"]["name"] == "Sample"
        assert known["items"]["id"] == [key.id for key in store.keys()]
        assert b64decode(known["items"]["sha256"]) == store.content_sha256.tobytes()
        boxes = np.array(known["objects"]["box"]).reshape(-1, 4)
        np.testing.assert_allclose(boxes, store.rows("objects/box", 0, len(table)), atol=0.005)
        assert known["objects"]["ends"] == [store.objects.of(row).stop for row in range(len(store))]
        assert known["findings"] == [list(row.cells()) for row in found]
        assert known["places"] == [list(place) for place in places_of(store, found) if place]
        row = store.row(next(row.key for row in found if row.kind == "leak"))
        size = int(store.widths[row]), int(store.heights[row])
        points = pca(store.embeddings())
    for x, column in zip(points.T, ("x", "y"), strict=True):
        assert np.corrcoef(x, known["maps"]["items"][column])[0, 1] > 0.9999
    assert set(known["maps"]["items"]["rows"]) == set(range(69))
    pictures = pictures_of(html)
    assert set(pictures) == set(range(69))
    assert max(pictures[row].size) == 320  # of a finding
    assert pictures[row].width / pictures[row].height == pytest.approx(size[0] / size[1], rel=0.02)
    mislabels = [
        place[1]
        for cells, place in zip(known["findings"], known["places"], strict=True)
        if cells[0] == "mislabel"
    ]
    near = [other for rows in known["near"].values() for other in rows]
    assert set(pictures_of(html, "objects")) == {*mislabels, *near}


@pytest.mark.slow
def test_findings_of_a_file_are_shown_and_those_of_another_store_refused(
    objects_store: Path, tmp_path: Path
) -> None:
    path = tmp_path / "f.csv"
    found = audit(objects_store, only="leak").accept()
    found.write(path)
    known = data_of(written(objects_store, tmp_path, findings=path))
    assert known["findings"] == [list(row.cells()) for row in found]
    assert data_of(written(objects_store, tmp_path, findings=Findings()))["findings"] == []
    with pytest.raises(UsageError, match="findings of another store"):
        written(hostile_store(tmp_path), tmp_path, findings=path)


def test_an_image_that_is_gone_or_changed_has_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "s.h5"
    with create_store(path, dim=2) as writer:
        for number in range(3):
            image = tmp_path / f"{number}.png"
            picture(number).save(image)
            sha = read_info(image).content_sha256
            record = ItemRecord(ItemKey("a", str(number)), path=image.name, content_sha256=sha)
            writer.append(record, np.array([1.0, 0.0]))
        writer.seal({})
    picture(7).save(tmp_path / "0.png")
    (tmp_path / "1.png").unlink()
    html = written(path, tmp_path, media_root=tmp_path, findings=Findings())
    assert set(pictures_of(html)) == {2}


@pytest.mark.skipif(sys.platform != "linux", reason="needs file names that are not UTF-8")
def test_a_file_name_may_be_no_utf_8(tmp_path: Path) -> None:
    path, name = tmp_path / "s.h5", "bad\udcff\udcfe"
    picture(1).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / f"{name}.png")
    sha = read_info(tmp_path / f"{name}.png").content_sha256
    with create_store(path, dim=2) as writer:
        record = ItemRecord(ItemKey("a", name), path=f"{name}.png", content_sha256=sha)
        writer.append(record, np.array([1.0, 0.0]))
        writer.seal({})
    html = written(path, tmp_path, media_root=tmp_path, findings=Findings())
    assert set(pictures_of(html)) == {0}


@pytest.mark.slow
def test_the_file_keeps_its_limit(coco_store: Path, tmp_path: Path) -> None:
    found = audit(coco_store)
    bare = len(written(coco_store, tmp_path, media_root=tmp_path, findings=found).encode())
    for room in (150_000, 300_000):
        limit = bare + room
        html = written(coco_store, tmp_path, max_mb=limit / 2**20, findings=found)
        assert limit - 30_000 < len(html.encode()) <= limit
        assert 0 < len(pictures_of(html)) < 69


def test_a_limit_below_the_bare_page_is_refused(coco_store: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"max_mb 0.05 is too small: .* Pass max_mb 1 or more"):
        written(coco_store, tmp_path, max_mb=0.05)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("max_mb", [float("nan"), float("inf"), 0])
def test_wrong_options_are_refused_before_any_work(max_mb: float) -> None:
    with pytest.raises(UsageError, match="max_mb must be"):
        ReportOptions(max_mb=max_mb)


def test_nothing_is_overwritten(coco_store: Path, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("mine")
    with open_store(coco_store) as store, pytest.raises(StoreExistsError, match="exists"):
        write_report(store, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == "mine"


def test_a_missing_extra_says_how_to_get_it(
    coco_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    command = r"umap is not installed. Run: pip install 'datumaro-embed\[umap\]'"
    with pytest.raises(MissingExtraError, match=command):
        written(coco_store, tmp_path, umap=True)
    assert list(tmp_path.iterdir()) == []


REPORT_ALONE = """
import sys
sys.modules["starlette"] = sys.modules["uvicorn"] = None
from datumaro_embed import write_report
try:
    from datumaro_embed import explore
except ImportError as error:
    print(error)
"""


def test_a_report_needs_no_server() -> None:
    command = [sys.executable, "-c", REPORT_ALONE]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert "Run: pip install 'datumaro-embed[explore]'" in done.stdout


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
    known = data_of(written(path, tmp_path))
    assert known["summary"]["failures"] == [
        {
            "status": "missing",
            "cause": "no such file",
            "items": 2,
            "examples": [{"row": row, "name": f"a/{row}", "detail": ""} for row in (2, 3)],
        }
    ]
    assert known["maps"]["items"]["rows"] == [0, 1]
    assert {row[0] for row in known["findings"]} >= {"failed"}


@pytest.mark.parametrize("n_ok", [0, 1, 2])
def test_tiny_stores_have_a_page(tmp_path: Path, n_ok: int) -> None:
    path = tmp_path / "s.h5"
    with create_store(path, dim=1) as writer:
        for number in range(n_ok):
            writer.append(ItemRecord(ItemKey("a", str(number))), np.array([1.0]))
        writer.append(ItemRecord(ItemKey("b", "x"), status=Status.MISSING, error="gone"), None)
        writer.seal({})
    assert len(data_of(written(path, tmp_path))["maps"]["items"]["rows"]) == n_ok


def test_the_summary() -> None:
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
        found = summary(store)
        assert first_labels(store, "items").tolist() == [1, 0, -1]
    assert [[*label.values()] for label in found["labels"]] == [
        ["x", 2, 2, {"train": 1, "val": 1}, 0],
        ["y", 2, 1, {"train": 2}, 0],
        ["unused", 0, 0, {}, None],
    ]
    assert found["annotations"] == {"bbox": 4}
    assert (found["sizes"]["counts"], found["sizes"]["unknown"]) == ([[4, 3, 2]], 1)
    assert found["typical"] == [0, 1, 2]


def test_sizes_are_counted_the_commonest_first() -> None:
    found = sizes(np.array([2, 3, 3, 4, 0]), np.array([3, 2, 2, 4, 9]))
    assert found == {
        "counts": [[3, 2, 2], [2, 3, 1], [4, 4, 1]],
        "different": 3,
        "landscape": 2,
        "portrait": 1,
        "square": 1,
        "unknown": 1,
    }


def test_typical_items_are_nearest_to_the_mean() -> None:
    vectors = np.eye(3)[[0, 0, 0, 1, 2]]
    vectors[1] = [0.8, 0.6, 0]
    assert typical(vectors, np.array([0, 1, 3, 4]), 2) == [1, 0]


def test_pca_is_the_singular_value_decomposition() -> None:
    vectors = np.random.default_rng(0).standard_normal((50, 8))
    centred = vectors - vectors.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    expected = left[:, :2] * values[:2]
    found = pca(vectors.astype(np.float32))
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-4)
    np.testing.assert_array_equal(pca(vectors), pca(vectors.copy()))


def test_pca_of_many_rows_takes_its_directions_from_some_of_them() -> None:
    rng = np.random.default_rng(0)
    vectors = (rng.standard_normal((70_000, 4)) * [9, 5, 1, 1]).astype(np.float16)
    points = pca(vectors)
    assert len(points) == len(vectors)
    for axis in (0, 1):
        assert abs(np.corrcoef(points[:, axis], vectors[:, axis])[0, 1]) > 0.999


UMAP_CODE = """
import json, numpy as np
from datumaro_embed.page.maps import umap

rng = np.random.default_rng(0)
centres = rng.standard_normal((2, 8))
vectors = np.repeat(centres, 40, axis=0) + 0.1 * rng.standard_normal((80, 8))
print(json.dumps([umap(vectors).tolist(), umap(vectors).tolist()]))
"""


@pytest.mark.slow
def test_umap_keeps_clusters_apart() -> None:
    """In a process of its own: numba stays loaded, with threads and handlers of its own."""
    command = [sys.executable, "-c", UMAP_CODE]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    first, again = (np.array(points) for points in json.loads(done.stdout.splitlines()[-1]))
    gap = np.linalg.norm(first[:40].mean(axis=0) - first[40:].mean(axis=0))
    assert gap > 3 * first[:40].std(axis=0).max()
    np.testing.assert_array_equal(first, again)
