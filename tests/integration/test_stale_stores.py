"""A store of other images than the dataset's: nothing is dropped, moved, tagged, kept or copied."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from datumaro.components.dataset import Dataset

from datumaro_embed.adapter import SourceDataset
from datumaro_embed.encoders import FakeEncoder
from datumaro_embed.errors import StaleStoreError, StoreCorruptError, UsageError
from datumaro_embed.pipeline import EmbedOptions, embed_source
from datumaro_embed.store import open_store
from support import picture, run, write_coco

pytestmark = pytest.mark.slow

SUBSETS = {"train": "abc", "val": "ad"}
COPIES = {("train", "b"), ("val", "a")}


def write(root: Path, seeds: dict[tuple[str, str], int]) -> Path:
    for subset in dict.fromkeys(subset for subset, _ in seeds):
        names = [name for other, name in seeds if other == subset]
        write_coco(root, [(f"{name}.png", (48, 40)) for name in names], subset)
        for name in names:
            picture(seeds[subset, name]).save(root / "images" / subset / f"{name}.png")
    return root


def seeds(offset: int = 0) -> dict[tuple[str, str], int]:
    """Train/a, train/b and val/a are the same picture, the others are not."""
    every = [(subset, name) for subset, names in SUBSETS.items() for name in names]
    return {
        key: offset + (0 if key == ("train", "a") or key in COPIES else n)
        for n, key in enumerate(every, start=1)
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "data", seeds())


@pytest.fixture
def store(data: Path, tmp_path: Path) -> Path:
    dataset = Dataset.import_from(str(data), "coco")
    source = SourceDataset(dataset, root=data)
    embed_source(source, tmp_path / "e.h5", EmbedOptions(), encoder=FakeEncoder(), progress=False)
    return tmp_path / "e.h5"


def other_images(data: Path) -> str:
    write(data, seeds(100))
    return "none of this dataset's 5 images: 5 images whose bytes have changed since"


def one_changed(data: Path) -> str:
    picture(77).save(data / "images" / "train" / "c.png")
    return "does not match 1 of 5 items: "


def the_kept_one_changed(data: Path) -> str:
    picture(77).save(data / "images" / "train" / "a.png")
    return "does not match 1 of 5 items: "


def one_more(data: Path) -> str:
    write(data, {**seeds(), ("val", "new"): 9})
    return "1 item that is not in the store (val/new)"


def renamed(data: Path) -> str:
    content = seeds()
    shutil.rmtree(data)
    write(data, {(subset, f"new_{name}"): seed for (subset, name), seed in content.items()})
    return "none of this dataset's 5 images: 5 items that are not in the store"


CHANGES = [other_images, one_changed, the_kept_one_changed, one_more, renamed]
TRANSFORMS = [
    ("clip_duplicates", {"action": action}) for action in ("separate", "drop", "move", "tag")
] + [("clip_search", {"item": ["train/c"], "k": 5})]


def everything(root: Path) -> set[tuple[str, str, int]]:
    dataset = Dataset.import_from(str(root), "coco")
    return {(item.subset, item.id, len(item.attributes)) for item in dataset}


def files(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("name", "options"), TRANSFORMS)
def test_in_python_it_is_an_error_before_the_first_item(
    data: Path, store: Path, change: object, name: str, options: dict
) -> None:
    message = change(data)
    dataset = Dataset.import_from(str(data), "coco")
    dataset.transform(name, store=str(store), **options)
    items = iter(dataset)
    with pytest.raises(StaleStoreError) as caught:
        next(items)
    assert message in str(caught.value)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["clip_duplicates", "clip_search"])
def test_datum_ends_with_1_and_writes_nothing(
    data: Path, store: Path, tmp_path: Path, change: object, name: str
) -> None:
    message = change(data)
    own = ["--action", "drop"] if name == "clip_duplicates" else ["--item", "train/c"]
    out = tmp_path / "out"
    done = run("datum", "transform", "-t", name, "-o", out, data, "--", "--store", store, *own)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()


@pytest.mark.parametrize(
    ("change", "dropped"),
    [
        (one_changed, COPIES),
        (the_kept_one_changed, {("val", "a")}),
        (one_more, COPIES),
    ],
)
def test_stale_items_are_left_alone_on_purpose(
    data: Path, store: Path, tmp_path: Path, change: object, dropped: set, caplog
) -> None:
    """Where the copy that should stay has changed, another copy stays in its place."""
    change(data)
    before = {(subset, name) for subset, name, _ in everything(data)}
    dataset = Dataset.import_from(str(data), "coco")
    with caplog.at_level("INFO", logger="datumaro_embed"):
        dataset.transform(
            "clip_duplicates",
            store=str(store),
            action="drop",
            skip_stale=True,
            plan=tmp_path / "dropped.csv",
        )
        after = {(item.subset, item.id) for item in dataset}
    assert before - after == dropped
    assert "They are skipped" in caplog.text
    assert f"{len(dropped)} of {len(before)} items dropped" in caplog.text
    with (tmp_path / "dropped.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {(row["subset"], row["id"]) for row in rows} == dropped
    assert {row["action"] for row in rows} == {"drop"}


@pytest.mark.parametrize("change", [other_images, renamed])
def test_a_store_of_nothing_in_the_dataset_is_always_an_error(
    data: Path, store: Path, change: object
) -> None:
    message = change(data)
    dataset = Dataset.import_from(str(data), "coco")
    dataset.transform("clip_duplicates", store=str(store), action="drop", skip_stale=True)
    with pytest.raises(StaleStoreError) as caught:
        list(dataset)
    assert message in str(caught.value)


def a_copy_changed(data: Path) -> None:
    """Of train/a, train/b and val/a, which are equal."""
    picture(77).save(data / "images" / "train" / "b.png")


@pytest.mark.parametrize("minus", [False, True])
def test_the_next_hits_take_the_places_of_stale_ones(
    data: Path, store: Path, tmp_path: Path, minus: bool
) -> None:
    a_copy_changed(data)
    out, hits = tmp_path / "out", tmp_path / "hits"
    own = ["--item", "train/a", "-k", "3", "--skip-stale"]
    done = run(
        "datum", "transform", "-t", "clip_search", "-o", out, data, "--", "--store", store, *own
    )
    assert done.returncode == 0, done.stderr
    kept = {(subset, name) for subset, name, _ in everything(out)}
    assert len(kept) == 3
    assert ("train", "b") not in kept
    done = run("datumaro-embed", "search", store, *own, "--save-to", hits)
    assert done.returncode == 0, done.stderr
    assert done.stderr == (
        "not copied: train/b: the image's bytes have changed since it was embedded\n"
    )
    assert len(list(hits.iterdir())) == len(kept)
    assert all(f"{subset}/{name}" in done.stdout for subset, name in kept)

    flag = ["--item", "train/a", "--not-item"] if minus else ["--item"]
    own = [*flag, "train/b", "--skip-stale"]
    out, hits = tmp_path / "out2", tmp_path / "hits2"
    for done in (
        run(
            "datum", "transform", "-t", "clip_search", "-o", out, data, "--", "--store", store, *own
        ),
        run("datumaro-embed", "search", store, *own, "--save-to", hits),
    ):
        assert done.returncode == 1
        assert "'train/b' cannot be a query: the image's bytes have changed" in done.stderr
    assert not out.exists()
    assert not hits.exists()


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    data: Path, store: Path, tmp_path: Path
) -> None:
    own = ["--store", store, "--action", "drop", "--dry-run", "--csv", tmp_path / "plan.csv"]
    out, before = tmp_path / "out", files(data)
    done = run("datum", "transform", "-t", "clip_duplicates", "-o", out, data, "--", *own)
    assert done.returncode == 0, done.stderr
    assert "2 of 5 items dropped (train 1, val 1)" in done.stdout
    assert "a dry run: no dataset is written" in done.stdout
    assert "train              3      2" in done.stdout
    assert not out.exists()
    assert len((tmp_path / "plan.csv").read_text().splitlines()) == 3
    assert files(data) == before


def test_a_dry_run_from_python_changes_nothing(data: Path, store: Path, capsys) -> None:
    before = everything(data)
    dataset = Dataset.import_from(str(data), "coco")
    dataset.transform("clip_duplicates", store=str(store), action="drop", dry_run=True)
    assert len(list(dataset)) == len(before)
    assert "2 of 5 items dropped" in capsys.readouterr().out


def test_datum_refuses_a_tag_that_the_format_would_lose(
    data: Path, store: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    own = ["--store", store, "--action", "tag"]
    done = run("datum", "transform", "-t", "clip_duplicates", "-o", out, data, "--", *own)
    assert done.returncode == 1
    assert "the attribute 'duplicate_group' of the item is lost" in done.stderr
    assert "Formats that can: datumaro. Or drop" in done.stderr
    assert not out.exists()
    Dataset.import_from(str(data), "coco").export(
        str(tmp_path / "kept"), "datumaro", save_media=True
    )
    kept = tmp_path / "kept"
    done = run("datum", "transform", "-t", "clip_duplicates", "-o", out, kept, "--", *own)
    assert done.returncode == 0, done.stderr
    assert "3 of 5 items tagged 'duplicate_group' (train 2, val 1)" in done.stderr
    assert "2 of 5 items tagged 'duplicate_of' (train 1, val 1)" in done.stderr
    tagged = {
        item.id for item in Dataset.import_from(str(out)) if "duplicate_of" in item.attributes
    }
    assert tagged == {"a", "b"}


def test_existing_and_homeless_outputs_are_refused_before_anything_is_done(
    data: Path, store: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.csv").write_text("mine")
    for name, message in (
        ("mine.csv", "already exists. Choose a path"),
        ("no/a.csv", "does not exist."),
    ):
        own = ["--store", store, "--csv", tmp_path / name]
        out = tmp_path / "out"
        done = run("datum", "transform", "-t", "clip_duplicates", "-o", out, data, "--", *own)
        assert done.returncode == 1
        assert message in done.stderr
        assert not out.exists()
    assert (tmp_path / "mine.csv").read_text() == "mine"


@pytest.mark.parametrize("name", ["clip_duplicates", "clip_search"])
@pytest.mark.parametrize("place", ["data", "", ".", "data/new", "used", "link"])
def test_datum_saves_only_to_a_new_folder_outside_the_dataset(
    data: Path, store: Path, tmp_path: Path, name: str, place: str
) -> None:
    """Datumaro leaves the annotations of a subset that became empty, so its items come back."""
    shutil.copytree(data, tmp_path / "used")
    (tmp_path / "link").symlink_to("data")
    shutil.copy(store, data / "mine.hdf5")
    before = files(tmp_path)
    own = ["--action", "drop"] if name == "clip_duplicates" else ["--item", "train/c", "-k", "1"]
    words = ["transform", "-t", name, "--overwrite", *(["-o", place] if place else []), "data:coco"]
    done = run("datum", *words, "--", "--store", store, *own, cwd=tmp_path)
    assert done.returncode == 1
    assert "is inside the dataset" in done.stderr or "is not empty" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert files(tmp_path) == before
    assert not (data / "new").exists()


def test_datum_saves_to_an_empty_folder(data: Path, store: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    words = ["transform", "-t", "clip_search", "-o", "out", "data:coco", "--", "--store", store]
    done = run("datum", *words, "--item", "train/c", "-k", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {(subset, name) for subset, name, _ in everything(tmp_path / "out")} == {("train", "c")}


@pytest.mark.parametrize("form", ["image_dir", "imagenet"])
@pytest.mark.parametrize("action", ["separate", "move", "tag"])
def test_what_the_format_cannot_hold_is_refused_before_images_are_compared(
    store: Path, tmp_path: Path, form: str, action: str
) -> None:
    """The store has none of these images, which would be the other error."""
    folder = tmp_path / "flat" / ("" if form == "image_dir" else "cats")
    folder.mkdir(parents=True)
    picture(50).save(folder / "a.png")
    own = ["--", "--store", store, "--action", action]
    words = ["transform", "-t", "clip_duplicates", "-o", "out", f"flat:{form}", *own]
    done = run("datum", *words, cwd=tmp_path)
    assert done.returncode == 1
    assert f"The format {form} cannot hold this dataset as planned" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"action": "burn"}, "no action 'burn'"),
        ({"keep_split": "dev"}, "keep_split is 'dev'"),
        ({"threshold": 2}, "at most 1, not 2"),
    ],
)
def test_wrong_arguments_are_refused_before_images_are_compared(
    data: Path, store: Path, wrong: dict, message: str
) -> None:
    other_images(data)
    dataset = Dataset.import_from(str(data), "coco")
    dataset.transform("clip_duplicates", store=str(store), **wrong)
    with pytest.raises(UsageError, match=message):
        list(dataset)


@pytest.mark.parametrize(("name", "options"), TRANSFORMS)
def test_nothing_is_done_by_a_damaged_store(
    data: Path, store: Path, name: str, options: dict
) -> None:
    """Two vectors that are equal by damage are no near-duplicates."""
    with open_store(store) as opened:
        first, second = (opened.embeddings([row]).tobytes() for row in (0, len(opened) - 1))
    content = store.read_bytes()
    store.write_bytes(content.replace(second, first))
    dataset = Dataset.import_from(str(data), "coco")
    dataset.transform(name, store=str(store), skip_stale=True, **options)
    with pytest.raises(StoreCorruptError, match=r"damaged .items/vector"):
        next(iter(dataset))
