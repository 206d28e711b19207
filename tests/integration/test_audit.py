"""`audit`, `apply` what is accepted, `audit` again; `compare`; `label`; `search`."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from datumaro.components.annotation import AnnotationType, Bbox, Label
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image as DmImage
from PIL import Image, ImageDraw, ImageOps

from datumaro_embed import (
    Findings,
    ItemKey,
    apply_findings,
    audit,
    embed_dataset,
    label_findings,
    open_store,
    search,
)
from datumaro_embed.auditing import audit_lines, find_copies
from datumaro_embed.encoders import ClipEncoder
from datumaro_embed.errors import EmbedWarning, UsageError
from datumaro_embed.flags import AUDIT_KINDS
from support import SAMPLE, picture, run

CROPPED, MIRRORED, EMPTY = "scene_030", "scene_031", "scene_020"
SOURCES = {CROPPED: "scene_005", MIRRORED: "scene_010"}


def embedded(dataset: Path, store: Path) -> Path:
    command = ("datumaro-embed", "embed", f"{dataset}:coco", "--store", store, "--model", "demo")
    done = run(*command, "--objects")
    assert done.returncode == 0, done.stderr
    return store


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample with two changed copies, an empty file and what it has anyway: two leaks."""
    root = tmp_path_factory.mktemp("planted")
    shutil.copytree(SAMPLE / "coco", root / "data")
    train = {path.stem: path for path in (root / "data/images").rglob("*") if path.is_file()}
    with Image.open(train[SOURCES[CROPPED]]) as image:
        width, height = image.size
        image.crop((width // 8, height // 8, width, height)).save(train[CROPPED])
    with Image.open(train[SOURCES[MIRRORED]]) as image:
        ImageOps.mirror(image).save(train[MIRRORED])
    train[EMPTY].write_bytes(b"")
    embedded(root / "data", root / "s.h5")
    return root


def test_what_was_planted_is_found_and_gone_after_apply(planted: Path, tmp_path: Path) -> None:
    file = tmp_path / "findings.csv"
    done = run("datumaro-embed", "audit", planted / "s.h5", "-o", file, "--accept")
    assert done.returncode == 0, done.stderr
    found = Findings.read(file)
    groups: dict[int | None, set[str]] = {}
    for row in found:
        if row.kind in ("leak", "duplicate"):
            groups.setdefault(row.group, set()).add(row.id)
    pairs = [{"photo_02", "photo_06"}, {"scene_012", "scene_041"}]
    pairs += [{copy, source} for copy, source in SOURCES.items()]
    assert sorted(map(sorted, groups.values())) == sorted(map(sorted, pairs))
    reasons = {row.id: row.reason for row in found if row.suggestion == "drop"}
    assert "empty" in reasons[EMPTY]
    # Copies under the labels of the images that they replaced: which are right, a person tells.
    doubtful = {row.id: row for row in found.filter(kind="leak", suggestion="review")}
    assert len(doubtful) == len(SOURCES)
    changes = [doubtful.get(one) or doubtful[other] for one, other in SOURCES.items()]
    assert all(row.reason.endswith(", but with other labels") for row in changes)
    assert "cropped" in changes[0].reason
    assert "mirrored" in changes[1].reason
    assert {row.subset for row in found.filter(kind="leak", suggestion="drop")} == {"train"}
    assert len(list(audit_lines(found))) == len(done.stdout.splitlines()) - 1
    assert found == audit(planted / "s.h5").accept()

    out, decided = tmp_path / "clean", tmp_path / "decided.csv"
    Findings(replace(row, action="drop") if row in changes else row for row in found).to_csv(
        decided
    )
    done = run("datumaro-embed", "apply", decided, f"{planted / 'data'}:coco", "-o", out)
    assert done.returncode == 0, done.stderr
    again = audit(embedded(out, tmp_path / "again.h5"), only=["leak", "duplicate", "failed"])
    assert len(again) == 0


def test_only_some_kinds(planted: Path, tmp_path: Path) -> None:
    for only in (["failed"], ["quality", "outlier"], ["mislabel"]):
        assert {row.kind for row in audit(planted / "s.h5", only=only)} == set(only)
    with pytest.raises(
        UsageError, match=r"'leaks' is not a kind of finding\. Choose one of failed, leak"
    ):
        audit(planted / "s.h5", only=["leaks"])
    file = tmp_path / "f.parquet"
    done = run("datumaro-embed", "audit", planted / "s.h5", "--only", "failed", "-o", file)
    assert done.returncode == 0, done.stderr
    assert [row.id for row in Findings.read(file)] == [EMPTY]
    done = run("datumaro-embed", "audit", planted / "s.h5", "-o", file)
    assert done.returncode == 1
    assert "f.parquet" in done.stderr


def test_the_copy_of_the_wanted_split_stays(planted: Path) -> None:
    found = audit(planted / "s.h5", only=["leak"], keep_split="train")
    assert {row.subset for row in found if row.suggestion == "drop"} == {"val"}


def test_a_store_without_signatures_objects_or_images_is_audited_as_far_as_it_goes(
    planted: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    found = audit(planted / "s.h5", media_root=moved)
    kinds = {row.kind for row in found}
    assert {"failed", "outlier"} <= kinds <= set(AUDIT_KINDS)
    assert not kinds & {"leak", "duplicate"}  # of changed copies nothing is proven


def test_without_the_folder_of_the_images_only_equal_files_are_copies(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    drawn = {"train/a.png": picture(1), "train/b.png": picture(1), "train/c.png": picture(2)}
    audited_copies(tmp_path, drawn)
    (tmp_path / "train").rename(tmp_path / "moved")
    with caplog.at_level("WARNING", logger="datumaro_embed"):
        found = audit(tmp_path / "s.h5")
    assert "There is no folder" in caplog.text
    assert "copies are found only if the files are identical" in caplog.text
    assert [row.id for row in found.filter(kind="duplicate")] == ["a", "b"]
    assert {row.suggestion for row in found.filter(kind="duplicate")} == {"review"}
    with pytest.raises(UsageError, match="There is no folder"):
        audit(tmp_path / "s.h5", media_root=tmp_path / "no")
    assert "Give the folder of the images with media_root." in caplog.text
    done = run("datumaro-embed", "audit", tmp_path / "s.h5", "-o", tmp_path / "f.csv")
    assert "Give the folder of the images with --media-root." in done.stderr


def audited_copies(tmp_path: Path, drawn: dict[str, Image.Image], gone: str = "") -> Findings:
    """Embed pictures by `SUBSET/FILE`, take one away, and audit the copies."""
    items = []
    for name, image in drawn.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        image.save(file)
        media = DmImage.from_file(str(file))
        items.append(DatasetItem(file.stem, subset=file.parent.name, media=media))
    embed_dataset(Dataset.from_iterable(items), tmp_path / "s.h5", model="demo").close()
    if gone:
        (tmp_path / gone).unlink()
    return audit(tmp_path / "s.h5", only=["leak", "duplicate"])


@pytest.mark.parametrize("gone", ["train/a.png", "test/b.png"])
def test_copies_of_a_file_that_is_gone_are_found_and_can_stay(tmp_path: Path, gone: str) -> None:
    scene = picture(1, (200, 160))
    drawn = {"train/a.png": scene, "test/b.png": scene, "train/d.png": scene, "val/c.jpg": scene}
    drawn |= {f"train/n{n}.png": picture(n, (200, 160)) for n in range(2, 8)}
    found = {row.id: row for row in audited_copies(tmp_path, drawn, gone)}
    assert sorted(found) == ["a", "b", "c", "d"]
    assert found[Path(gone).stem].suggestion == "review"
    assert "gone" in found[Path(gone).stem].reason
    assert [row.id for row in found.values() if row.suggestion == "keep"] != [Path(gone).stem]
    assert found["d"].suggestion == "drop"


def deep_pictures() -> dict[str, Image.Image]:
    """Pictures of 16 bits: equal ones, one that differs in what 8 bits do not hold, one of 8."""
    levels = np.asarray(picture(1, (200, 160)).convert("L")).astype(np.uint16) << 8
    finer = levels | np.random.default_rng(0).integers(0, 256, levels.shape, np.uint16)
    return {
        "train/a8.png": Image.fromarray((levels >> 8).astype(np.uint8)),
        "train/b16.png": Image.fromarray(levels),
        "train/c16.png": Image.fromarray(finer),
    }


def test_what_was_not_compared_is_reviewed(tmp_path: Path) -> None:
    found = {row.id: row for row in audited_copies(tmp_path, deep_pictures())}
    assert found["b16"].suggestion == "keep"
    for name in ("a8", "c16"):
        assert found[name].suggestion == "review"
        assert found[name].reason == (
            "the same pixels as train/b16 in the 8 bits that were compared"
        )


def test_equal_samples_of_16_bits_are_dropped(tmp_path: Path) -> None:
    finer = deep_pictures()["train/c16.png"]
    drawn = {"train/a.png": finer, "train/b.tiff": finer, "train/c.png": finer}
    found = audited_copies(tmp_path, drawn)
    assert sorted(row.suggestion for row in found) == ["drop", "drop", "keep"]
    assert {row.reason for row in found if row.id == "b"} == {"the same pixels as train/a"}


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "tiff"])
def test_animations_are_compared_by_their_first_frames_and_reviewed(
    tmp_path: Path, ending: str
) -> None:
    (tmp_path / "train").mkdir()
    still, other = picture(1, (200, 160)), picture(2, (200, 160))
    frames = {"save_all": True, "append_images": [other, still]}
    still.save(tmp_path / f"train/a.{ending}", lossless=True)
    still.save(tmp_path / f"train/b.{ending}", lossless=True, **frames)
    shutil.copy(tmp_path / f"train/b.{ending}", tmp_path / f"train/c.{ending}")
    media = {name: DmImage.from_file(str(tmp_path / f"train/{name}.{ending}")) for name in "abc"}
    items = [DatasetItem(name, subset="train", media=one) for name, one in media.items()]
    embed_dataset(Dataset.from_iterable(items), tmp_path / "s.h5", model="demo").close()
    found = {row.id: row for row in audit(tmp_path / "s.h5", only=["duplicate"])}
    assert found["a"].suggestion == "keep"
    for name in ("b", "c"):
        assert found[name].suggestion == "review"
        assert found[name].reason.endswith("as train/a in the first frames")


@pytest.mark.slow
def test_what_is_dropped_is_proven_to_be_a_copy_of_what_stays(tmp_path: Path) -> None:
    """A cross-fade: each picture is a copy of the next one, and the ends are two pictures."""
    ends = picture(1, (300, 240)), picture(7, (300, 240))
    drawn = {f"train/f{n:03}.png": Image.blend(*ends, n / 39) for n in range(40)}
    found = audited_copies(tmp_path, drawn)
    kept = {row.group: row for row in found if row.suggestion == "keep"}
    with open_store(tmp_path / "s.h5") as store:
        rows = {key.id: row for row, key in enumerate(store.keys())}
        proven = {
            (p.first, p.second) for p in find_copies(store).pairs if p.proof.kind != "overlap"
        }
    dropped = [row for row in found if row.suggestion == "drop"]
    for row in dropped:
        pair = sorted((rows[row.id], rows[kept[row.group].id]))
        assert tuple(pair) in proven
        assert row.reason.endswith(kept[row.group].id)
    reviewed = [row for row in found if row.suggestion == "review"]
    assert dropped
    assert all("in a group with" in row.reason and row.value for row in reviewed)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("audit", "-o", "same.html", "--html", "same.html"), "--output and --html are both"),
        (("audit", "--html", "x.txt"), "does not end in .html"),
        (("audit", "--accept"), "--output"),
        (("select", "-k", "2", "--accept"), "--output"),
        (
            ("label", "--labels", "a,b", "--min-relevance", "nan", "-o", "l.csv"),
            "--min-relevance must be a finite number",
        ),
    ],
)
def test_impossible_outputs_are_refused_before_work(
    planted: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    done = run("datumaro-embed", words[0], planted / "s.h5", *words[1:], cwd=tmp_path)
    assert (done.returncode, said in done.stderr) == (1, True), done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_labels_by_name(planted: Path, tmp_path: Path) -> None:
    with open_store(planted / "s.h5") as store:
        names = list(store.categories.labels)
        assert len(label_findings(store, names, of="objects")) == 0  # all have a label
        found = label_findings(store, names, of="objects", relabel=True)
        assert len(found) == int(store.objects.has_vector.sum())
    sure = [row for row in found if row.suggestion != "review"]
    right = [row for row in sure if row.suggestion == f"label {row.label}"]
    assert len(sure) > 30
    assert len(right) > 0.8 * len(sure)
    assert [row.rank for row in found] == list(range(1, len(found) + 1))
    listed = tmp_path / "names.txt"
    listed.write_text("\n".join(names), encoding="utf-8")
    command = ("datumaro-embed", "label", planted / "s.h5", "--of", "objects", "--relabel")
    done = run(*command, "--labels-file", listed, "-o", tmp_path / "l.csv", "--accept")
    assert done.returncode == 0, done.stderr
    assert Findings.read(tmp_path / "l.csv") == found.accept()
    for labels, said in (("cat", "two or more"), ("cat,,dog", "two or more")):
        done = run(*command, "--labels", labels, "-o", tmp_path / "no.csv")
        assert (done.returncode, said in done.stderr) == (1, True), done.stderr
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\ntea")
    for name, said in (("latin.txt", "is not in UTF-8"), ("gone.txt", "There is no file")):
        done = run(*command, "--labels-file", tmp_path / name, "-o", tmp_path / "no.csv")
        assert (done.returncode, said in done.stderr) == (1, True), done.stderr


def test_images_that_have_a_label_are_labeled_anew(tmp_path: Path) -> None:
    """One that has several is only to be reviewed, and a box is no label of the image."""
    own = {"none": [], "one": [Label(0)], "two": [Label(0), Label(1)]}
    own["box"] = [Bbox(1, 1, 9, 9, label=1)]
    for n, name in enumerate(own):
        picture(n, (64, 48)).save(tmp_path / f"{name}.png")
    dataset = Dataset.from_iterable(
        [
            DatasetItem(
                name, media=DmImage.from_file(str(tmp_path / f"{name}.png")), annotations=labels
            )
            for name, labels in own.items()
        ],
        categories=["cat", "dog"],
    )
    embed_dataset(dataset, tmp_path / "s.h5", model="demo").close()
    options = {"relabel": True, "min_relevance": -99}
    found = label_findings(tmp_path / "s.h5", ["cat", "pizza", "dog"], **options)
    assert {row.id: row.label for row in found} == {"none": "", "one": "cat", "two": "", "box": ""}
    (two,) = found.filter(id="two")
    assert (two.suggestion, "the image has 2 labels: cat, dog" in two.reason) == ("review", True)
    rows = [replace(row, action="label pizza") for row in found if row.id != "two"]
    changed = apply_findings(dataset, Findings(rows), new_labels=True)
    names = [each.name for each in changed.categories()[AnnotationType.label]]
    labels = {
        item.id: [names[one.label] for one in item.annotations if one.type == AnnotationType.label]
        for item in changed
    }
    assert labels == {"none": ["pizza"], "one": ["pizza"], "two": ["cat", "dog"], "box": ["pizza"]}


@pytest.mark.slow
def test_clip_label_labels_what_has_no_label(tmp_path: Path) -> None:
    """And refuses a format that cannot hold labels."""
    data = tmp_path / "data"
    data.mkdir()
    for path in sorted((SAMPLE / "coco/images/train").glob("scene_00*"))[:3]:
        shutil.copy(path, data)
    command = ("datumaro-embed", "embed", f"{data}:image_dir", "--store", tmp_path / "s.h5")
    assert run(*command, "--model", "demo").returncode == 0
    own = ["--", "--store", tmp_path / "s.h5", "--labels", "an animal,a vehicle"]
    sure = label_findings(tmp_path / "s.h5", own[-1].split(","), min_relevance=-9)
    sure = sure.filter(lambda row: row.suggestion != "review")
    assert sure
    out = tmp_path / "out"
    transform = ("datum", "transform", "-t", "clip_label", "-o", out, f"{data}:image_dir", *own)
    done = run(*transform, "--min-relevance", "-9")
    assert done.returncode != 0
    assert "The format image_dir cannot hold" in done.stderr
    assert not out.exists()
    dataset = Dataset.import_from(str(data), "image_dir")
    names = {"store": str(tmp_path / "s.h5"), "labels": own[-1], "min_relevance": -9.0}
    dataset.transform("clip_label", **names)
    labels = [each.name for each in dataset.categories()[AnnotationType.label]]
    assert labels == sorted(labels)
    found = {item.id: [labels[one.label] for one in item.annotations] for item in dataset}
    assert {id_: names for id_, names in found.items() if names} == {
        row.id: [row.suggestion.removeprefix("label ")] for row in sure
    }


@pytest.mark.slow
@pytest.mark.parametrize("of", ["items", "objects"])
def test_texts_without_meaning_find_nothing_relevant(
    planted: Path, demo_as_used: ClipEncoder, of: str
) -> None:
    own = {"encoder": demo_as_used}
    for text in ("qwertyuiop zxcv", "lorem ipsum dolor sit amet", "tax return form 1040"):
        assert search(planted / "s.h5", text, of=of, min_relevance=3, **own) == []
    for text in ("a cat", "a pizza"):
        found = search(planted / "s.h5", text, of="objects", k=5, min_relevance=3, **own)
        every = search(planted / "s.h5", text, of="objects", k=1000, **own)
        assert found == [hit for hit in every if hit in found]
        assert found
    with pytest.raises(UsageError, match=r"min_relevance requires queries of texts only"):
        search(planted / "s.h5", ItemKey("train", "scene_002"), min_relevance=3)
    for value in ("nan", "inf", "-inf"):
        with pytest.raises(UsageError, match="min_relevance must be a finite number"):
            search(planted / "s.h5", "a cat", min_relevance=float(value))


@pytest.mark.slow
def test_compare_before_and_after(object_store: Path, tmp_path: Path) -> None:
    """A COCO dataset, relabeled and with a mirrored image: what `compare` writes, `apply` drops."""
    shutil.copytree(SAMPLE / "coco", tmp_path / "after")
    images = {path.stem: path for path in (tmp_path / "after/images").rglob("*.*")}
    with Image.open(images["scene_010"]) as image:
        ImageOps.mirror(image).save(images["scene_031"])
    document = next((tmp_path / "after/annotations").glob("*train*.json"))
    content = json.loads(document.read_text())
    first, other = content["annotations"][0], content["categories"]
    first["category_id"] = next(c["id"] for c in other if c["id"] != first["category_id"])
    document.write_text(json.dumps(content))
    embedded(tmp_path / "after", tmp_path / "after.h5")
    file = tmp_path / "f.csv"
    command = ("datumaro-embed", "compare", object_store, tmp_path / "after.h5")
    done = run(*command, "-o", file, "--accept")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "69 items in A, 69 items in B, 68 unchanged"
    assert "labels drifted (objects)" in done.stdout
    found = Findings.read(file)
    assert {(row.kind, row.id) for row in found.filter(action="drop")} == {("copy", "scene_031")}
    (relabeled,) = found.filter(kind="relabeled")
    assert relabeled.reason.count(" → ") == 2
    done = run("datumaro-embed", "apply", file, f"{tmp_path / 'after'}:coco", "-o", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    assert "1 of 69 items dropped" in done.stdout
    done = run(*command, "-o", file)
    assert (done.returncode, "f.csv" in done.stderr) == (1, True)


@pytest.mark.parametrize("objects", [False, True])
def test_suggestions_agree_and_spare_what_a_model_is_judged_by(
    tmp_path: Path, objects: bool
) -> None:
    """Whole images with one label each, no objects: a copy with another label, a copy, failures."""
    images = tmp_path / "images"
    images.mkdir()
    drawn = {f"{label}{n}": picture(40 * n + len(label), (64, 48)) for label in ("aa", "b")
             for n in range(6)}  # fmt: skip
    items = []
    for name, image in drawn.items():
        items.append((name, "train", name.rstrip("0123456789"), image))
    items += [("copy", "train", "aa", drawn["aa0"]), ("other", "train", "b", drawn["aa1"])]
    items += [("leak", "test", "b", drawn["b0"]), ("twin", "test", "b", drawn["b0"])]
    rows = []
    for name, subset, label, image in items:
        image.save(images / f"{name}.png")
        rows.append((name, subset, label))
    for subset in ("train", "test"):
        (images / f"bad_{subset}.png").write_bytes(b"")
        rows.append((f"bad_{subset}", subset, "b"))
    dataset = Dataset.from_iterable(
        [
            DatasetItem(
                name,
                subset=subset,
                media=DmImage.from_file(str(images / f"{name}.png")),
                annotations=[Label(("aa", "b").index(label))],
            )
            for name, subset, label in rows
        ],
        categories=["aa", "b"],
    )
    with pytest.warns(EmbedWarning):
        embed_dataset(dataset, tmp_path / "s.h5", model="demo", objects=objects).close()
    found = audit(tmp_path / "s.h5")
    kinds = "leak", "duplicate", "conflict", "failed"
    suggested = {row.id: row.suggestion for row in found if row.kind in kinds}
    assert suggested["bad_train"] == "drop"
    assert suggested["bad_test"] == "review"
    assert "drop" in {suggested["copy"], suggested["aa0"]}
    assert suggested["other"] == suggested["aa1"] == "review"
    assert {suggested["leak"], suggested["twin"]} == {"keep", "review"}
    assert suggested["b0"] == "drop"
    of_labels = [row for row in found if row.kind in ("mislabel", "systematic", "conflict")]
    assert {row.label for row in of_labels} == {"aa", "b"}
    changed = apply_findings(dataset, found.accept())  # no two of them contradict each other
    assert len(changed) == len(dataset) - sum(value == "drop" for value in suggested.values())
    every = audit(tmp_path / "s.h5", keep_split="train", only=["failed"])
    assert {row.suggestion for row in every} == {"drop"}


def test_a_copy_whose_boxes_all_have_other_labels_is_to_be_reviewed(tmp_path: Path) -> None:
    """A copy that is cut out may lack some of the labels, and one label may be wrong."""
    labels = {"one": (0, 1), "same": (1, 0), "fewer": (0,), "other": (2,)}
    items = []
    for n in range(30):
        picture(7 * n, (64, 48)).save(tmp_path / f"{n:02}.png")
    for name in [*labels, *(f"{n:02}" for n in range(1, 30))]:
        file = tmp_path / f"{name if name.isdigit() else '00'}.png"
        boxes = [Bbox(5 + 20 * n, 5, 15, 30, label=n) for n in labels.get(name, (0, 1, 2))]
        media = DmImage.from_file(str(file))
        items.append(DatasetItem(name, subset="train", media=media, annotations=boxes))
    dataset = Dataset.from_iterable(items, categories=["a", "b", "c"])
    embed_dataset(dataset, tmp_path / "s.h5", model="demo", objects=True).close()
    found = {row.id: row for row in audit(tmp_path / "s.h5", only="duplicate")}
    kept = next(name for name, row in found.items() if row.suggestion == "keep")
    expected = dict.fromkeys(labels, "drop") | {kept: "keep"}
    for name in labels.keys() - {kept}:
        if set(labels[name]).isdisjoint(labels[kept]):
            expected[name] = "review"
            assert found[name].reason.endswith("but with other labels")
    assert {name: row.suggestion for name, row in found.items()} == expected
    assert "review" in expected.values()


def test_copies_with_no_label_in_common_are_conflicts_and_no_duplicates(tmp_path: Path) -> None:
    items = []
    for n in range(24):
        picture(7 * max(n, 1), (64, 48)).save(tmp_path / f"{n:02}.png")  # 00 and 01 are equal
        media = DmImage.from_file(str(tmp_path / f"{n:02}.png"))
        items.append(
            DatasetItem(f"{n:02}", subset="train", media=media, annotations=[Label(n % 2)])
        )
    dataset = Dataset.from_iterable(items, categories=["a", "b"])
    embed_dataset(dataset, tmp_path / "s.h5", model="demo").close()
    found = audit(tmp_path / "s.h5", only=["duplicate", "conflict"])
    of_items = [row for row in found if row.measure == "correlation"]
    assert {row.kind for row in found} == {"conflict"}
    assert [(row.id, row.suggestion) for row in of_items] == [("00", "review"), ("01", "review")]
    assert of_items[0].reason == "its copies have other labels"
    assert of_items[1].reason == "the same file as train/00, but with other labels"
    groups = Counter(row.group for row in found)
    assert groups[of_items[0].group] == 2
    assert {row.action for row in found.accept()} == {"review"}


@pytest.mark.slow
@pytest.mark.parametrize("of_image", [False, True])
def test_boxes_are_no_labels_of_the_image(tmp_path: Path, of_image: bool) -> None:
    """Without objects, boxes are not judged, and what is suggested for images can be applied."""
    items = []
    for n in range(24):
        seen = n % 2 if n else 1
        drawn = Image.new("RGB", (128, 96), ("white", "navy")[seen])
        mark = (8 + 4 * n, 10 + n, 30 + 4 * n, 60 + n)
        (ImageDraw.Draw(drawn).ellipse, ImageDraw.Draw(drawn).rectangle)[seen](mark, "red")
        drawn.save(tmp_path / f"{n}.png")
        media = DmImage.from_file(str(tmp_path / f"{n}.png"))
        found = [Bbox(1, 1, 20, 20, label=2 if of_image else n % 2)]
        found += [Label(n % 2)] if of_image else []
        items.append(DatasetItem(str(n), subset="train", media=media, annotations=found))
    dataset = Dataset.from_iterable(items, categories=["a", " b ", "box"])
    embed_dataset(dataset, tmp_path / "s.h5", model="demo").close()
    rows = audit(tmp_path / "s.h5", only=["mislabel", "systematic", "conflict"])
    if not of_image:
        assert not len(rows)
        return
    assert {row.label for row in rows} <= {"a", " b "}
    wrong = rows.filter(kind="mislabel", id="0")
    assert [(row.label, row.suggestion) for row in wrong] == [("a", "label  b ")]
    wrong.accept().to_csv(tmp_path / "f.csv")
    changed = apply_findings(dataset, Findings.read(tmp_path / "f.csv"))
    kept = {ann.type: ann.label for ann in changed.get("0", "train").annotations}
    assert kept == {AnnotationType.bbox: 2, AnnotationType.label: 1}


@pytest.mark.slow
def test_clip_label_refuses_coco_which_loses_labels_beside_boxes(tmp_path: Path) -> None:
    data, store = tmp_path / "data", tmp_path / "s.h5"
    shutil.copytree(SAMPLE / "coco", data)
    file = data / "annotations/instances_val.json"
    document = json.loads(file.read_text())
    first = {entry["image_id"] for entry in document["annotations"][:6]}
    kept = [entry for entry in document["annotations"] if entry["image_id"] not in first]
    file.write_text(json.dumps({**document, "annotations": kept}))
    embedded(data, store)
    words = ["pizza", "rocket", "dog"]
    sure = label_findings(store, words, min_relevance=-9)
    assert any(row.suggestion != "review" for row in sure)
    own = ["--", "--store", store, "--labels", ",".join(words), "--min-relevance", "-9"]
    done = run("datum", "transform", "-t", "clip_label", "-o", tmp_path / "out", data, *own)
    assert done.returncode != 0
    assert "The format coco cannot hold" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_row_with_a_box_and_no_object_acts_on_nothing(planted: Path, tmp_path: Path) -> None:
    found = [row for row in audit(planted / "s.h5", only=["mislabel"]) if row.object is not None]
    lost = Findings([replace(found[0], object=None, action="drop")])
    lost.to_csv(tmp_path / "lost.csv")
    done = run("datumaro-embed", "apply", tmp_path / "lost.csv", planted / "data", "-o",
               tmp_path / "out")  # fmt: skip
    assert done.returncode == 1
    assert "line 2" in done.stderr
    assert "no number in the column 'object'" in done.stderr


@pytest.mark.slow
def test_the_file_is_written_though_nobody_reads_the_print(planted: Path, tmp_path: Path) -> None:
    words = f"{sys.executable} -m datumaro_embed.cli audit {planted / 's.h5'} -o f.csv | true"
    run("bash", "-c", words, cwd=tmp_path)
    assert len(Findings.read(tmp_path / "f.csv")) > 0
