"""`explore` on the sample data: a real server, asked as the page asks."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from datumaro.components.dataset import Dataset
from PIL import Image, ImageChops, ImageStat

from datumaro_embed import (
    EmbeddingStore,
    Explorer,
    Findings,
    ItemKey,
    ObjectKey,
    Split,
    apply_findings,
    embed_dataset,
    explore,
    open_store,
    search,
)
from datumaro_embed.encoders import ClipEncoder, FakeEncoder
from datumaro_embed.page.maps import pca
from datumaro_embed.page.serving import listening_at
from explore_support import Client, large_png, wait_for
from support import SAMPLE, picture, run, write_pictures


@pytest.fixture(scope="module")
def place(object_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the store, with its findings beside it."""
    folder = tmp_path_factory.mktemp("explore")
    for path in object_store.parent.iterdir():
        shutil.copy(path, folder)
    return folder / object_store.name


@pytest.fixture(scope="module")
def opened(place: Path) -> Iterator[EmbeddingStore]:
    with open_store(place) as store:
        yield store


@pytest.fixture(scope="module")
def explorer(place: Path) -> Iterator[Explorer]:
    with explore(place) as explorer:
        yield explorer


@pytest.fixture(scope="module")
def page(explorer: Explorer) -> Client:
    client = Client(explorer.url)
    assert client.wait_for_task("audit")["state"] == "done"
    assert client.wait_for_task("encoder")["state"] == "done"
    return client


@pytest.fixture
def own(object_store: Path, tmp_path: Path) -> Path:
    """Return a copy of the store with findings that the test may decide about."""
    for path in object_store.parent.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path / object_store.name


@pytest.mark.slow
def test_the_page_and_its_parts_are_served(page: Client) -> None:
    assert b"assets/app.js" in page.get("")
    assert page.get("assets/app.js")
    assert page.get("assets/app.css")
    page.get("assets/page.html", 404)
    page.get("nothing/here", 404)


def test_the_store_is_counted(page: Client, opened: EmbeddingStore) -> None:
    found = page.json("api/store")
    assert (found["items"], found["objects"]) == (opened.n_rows, len(opened.objects))
    assert found["uuid"] == opened.uuid
    assert found["model"] == "demo"
    assert found["text"]
    assert not found["replaced"]
    assert found["read_only"] == ""
    assert sum(subset["items"] for subset in found["subsets"]) == opened.n_rows
    assert {entry["split"] for entry in found["subsets"]} == {"train", "val"}
    assert sum(entry["objects"] for entry in found["labels"]) == len(opened.objects)
    cats = opened.items.labelled([opened.categories.labels.index("cat")])
    assert {e["name"]: e["items"] for e in found["labels"]}["cat"] == cats.sum()
    findings = Findings.read(f"{opened.path}.findings.csv")
    kinds = {entry["kind"]: entry for entry in found["kinds"]}
    assert sum(entry["findings"] for entry in kinds.values()) == len(findings)
    assert kinds["leak"]["groups"] == len({row.group for row in findings.filter(kind="leak")})


def test_filters_combine(page: Client, opened: EmbeddingStore) -> None:
    names = opened.categories.labels
    wanted = {"cat", "dog"}
    expected = [
        row
        for row in range(opened.n_rows)
        if opened.key(row).subset == "train" and wanted & {*opened.labels_of(row)}
    ]
    assert expected
    assert page.rows(split="train", label=["cat", "dog"], status="ok") == expected
    of_objects = [
        row for row, label in enumerate(opened.objects.labels.tolist()) if names[label] in wanted
    ]
    assert page.rows(of="objects", label=["cat", "dog"]) == of_objects
    assert page.rows(status="unreadable") == []


@pytest.mark.parametrize("text", ["photo_0", "SCENE_0", "4", "no such"])
def test_ids_are_found_by_a_part_of_them(page: Client, opened: EmbeddingStore, text: str) -> None:
    expected = [row for row in range(len(opened)) if text.lower() in opened.key(row).id.lower()]
    assert page.rows(id=text) == expected
    of_objects = [row for row, item in enumerate(opened.objects.item_rows) if item in expected]
    assert page.rows(of="objects", id=text) == of_objects


def test_a_text_orders_all_rows_as_search_does(
    page: Client, opened: EmbeddingStore, demo_as_used: ClipEncoder
) -> None:
    rows, cosines = page.scored(text="a cat", nottext="a dog")
    hits = search(opened, "a cat", minus=["a dog"], k=len(opened), encoder=demo_as_used)
    np.testing.assert_allclose(cosines, [hit.similarity for hit in hits], atol=2e-3)
    assert rows[:5] == [hit.row for hit in hits[:5]]
    assert sorted(rows) == list(range(len(opened)))


def test_rows_are_queries_too(page: Client, opened: EmbeddingStore) -> None:
    for of in ("items", "objects"):
        rows, cosines = page.scored(of=of, like=3)
        assert rows[0] == 3
        vectors = opened.table(of).embeddings().astype(np.float64)
        np.testing.assert_allclose(cosines, (vectors @ vectors[3])[rows], atol=2e-3)
    unlike = page.scored(like=3, unlike=4)
    assert unlike[0].index(4) > page.rows(like=3).index(4)


def test_an_image_dropped_on_the_page_finds_itself(
    page: Client, opened: EmbeddingStore, tmp_path: Path
) -> None:
    path = SAMPLE / "coco" / opened.item(5).path
    answer = page.post("api/image", path.read_bytes())
    rows, cosines = page.scored(image=answer["id"])
    assert rows[0] == 5
    assert cosines[0] > 0.99
    shown = page.picture(f"thumb/query/{answer['id']}/{answer['v']}")
    assert max(shown.size) <= 512
    like, unlike = page.scored(like=6), page.scored(like=6, notimage=answer["id"])
    assert unlike[0].index(5) >= like[0].index(5)
    assert unlike != like
    assert "Drop it on the page again" in page.json("api/rows", 400, image="0" * 32)["error"]
    large_png(tmp_path / "large.png")
    large = page.post("api/image", (tmp_path / "large.png").read_bytes(), 400)
    assert "too many pixels: 20000 x 10000" in large["error"]
    assert "it is a text file" in page.post("api/image", b"no image", 400)["error"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"of": "captions"}, "Choose items or objects"),
        ({"label": "kat"}, "Nearest: 'cat'"),
        ({"like": "69"}, "There is no row 69"),
        ({"like": "-1"}, "There is no row -1"),
        ({"nottext": "a cat"}, "There is no query"),
        ({"like": "1", "unlike": "1"}, "cancel each other out"),
    ],
)
def test_a_bad_query_is_answered_with_a_sentence(page: Client, query, message: str) -> None:
    assert message in page.json("api/rows", 400, **query)["error"]


def test_a_status_that_is_none_is_refused(page: Client) -> None:
    response, body = page.request(f"{page.base}api/rows?status=fine")
    assert response.status == 400
    assert b"There is no status 'fine'" in body


def test_cards_have_boxes_as_fractions(page: Client, opened: EmbeddingStore) -> None:
    cards = page.json("api/cards", rows="7,3")
    assert [card["row"] for card in cards] == [7, 3]
    for card in cards:
        record = opened.item(card["row"])
        assert (card["subset"], card["id"]) == (record.key.subset, record.key.id)
        assert card["v"] == record.content_sha256.hex()[:12]
        assert len(card["boxes"]) == card["n_boxes"] == len(record.objects or ())
        for box, found in zip(card["boxes"], record.objects or (), strict=True):
            np.testing.assert_allclose(
                [box["x"] * record.width, box["y"] * record.height], found.box[:2]
            )
            assert box["label"] == opened.categories.labels[found.label]
            assert opened.objects.key(box["object"]) == ObjectKey(record.key, box["number"])
    (card,) = page.json("api/cards", of="objects", rows="10")
    assert card["object"]["object"] == 10
    assert card["item"] == opened.objects.item_row(10)
    assert card["labels"] == list(opened.objects.labels_of(10))
    page.get("api/cards", 400, rows="69")
    page.get("api/cards", 400, rows=",".join(["1"] * 201))


def test_pictures_are_those_of_their_items(page: Client, opened: EmbeddingStore) -> None:
    card = page.json("api/cards", rows="3")[0]
    with Image.open(SAMPLE / "coco" / opened.item(3).path) as original:
        for size in (160, 320, 640):
            shown = page.picture(f"thumb/items/3/{card['v']}", size=size)
            assert max(shown.size) == min(size, max(original.size))
            expected = original.convert("RGB").resize(shown.size, Image.Resampling.BICUBIC)
            assert max(ImageStat.Stat(ImageChops.difference(shown, expected)).mean) < 6
        full = page.picture(f"image/3/{card['v']}")
        assert full.size == original.size
    page.get(f"thumb/items/3/{card['v']}", 400, size=1000)
    page.get("thumb/items/3/000000000000", 400)


def test_the_picture_of_an_object_is_what_is_around_its_box(
    page: Client, opened: EmbeddingStore
) -> None:
    row = int(np.argmin(opened.objects.areas))
    item = opened.item(opened.objects.item_row(row))
    x, y, w, h = opened.objects.boxes[row]
    shown = page.picture(f"thumb/objects/{row}/{item.content_sha256.hex()[:12]}", size=640)
    margin = 0.15 * max(w, h)
    with Image.open(SAMPLE / "coco" / item.path) as original:
        corners = [max(x - margin, 0), max(y - margin, 0), x + w + margin, y + h + margin]
        expected = original.convert("RGB").crop([round(corner) for corner in corners])
        difference = ImageChops.difference(shown, expected.resize(shown.size))
        assert max(ImageStat.Stat(difference).mean) < 10


def test_everything_about_an_item(page: Client, opened: EmbeddingStore) -> None:
    found = page.json("api/item", row=3)
    record = opened.item(3)
    assert found["path"] == record.path
    assert found["n_annotations"] == len(record.annotations)
    assert found["has_vector"]
    assert found["object_statuses"] == ["ok"] * len(record.objects or ())


def test_codes_name_every_row(page: Client, opened: EmbeddingStore) -> None:
    for of, by in (("items", "split"), ("items", "label"), ("objects", "label")):
        values = np.frombuffer(page.get("api/codes", of=of, by=by), "<u2")
        names = page.json("api/codes", of=of, by=by, names=1)
        table = opened.table(of)
        assert len(values) == len(table)
        for row in range(0, len(table), 7):
            name = names[values[row]]
            split = Split(int(opened.splits[table.item_row(row)])).name.lower()
            assert name == split if by == "split" else name in table.labels_of(row)
    values = np.frombuffer(page.get("api/codes", by="finding"), "<u2")
    names = page.json("api/codes", by="finding", names=1)
    assert {names[value] for value in values} - {""} <= {
        row.kind for row in Findings.read(f"{opened.path}.findings.csv")
    }
    assert values[page.rows(kind="leak")].all()


def test_findings_come_in_groups_by_rank(page: Client, opened: EmbeddingStore) -> None:
    found = page.json("api/groups", kind="leak")
    findings = Findings.read(f"{opened.path}.findings.csv").filter(kind="leak")
    assert found["total"] == len({row.group for row in findings})
    assert [row["index"] for group in found["groups"] for row in group["rows"]]
    for group in found["groups"]:
        keys = {str(opened.key(row["row"])) for row in group["rows"]}
        assert keys == {row.name for row in findings if row.group == group["group"]}
    assert page.rows(kind="leak") == [
        row["row"] for group in found["groups"] for row in group["rows"]
    ]
    mislabels = page.json("api/groups", kind="mislabel", limit=2)
    for group in mislabels["groups"]:
        (row,) = group["rows"]
        item = opened.objects.item_row(row["row"])
        near = page.rows(of="objects", like=row["row"])
        expected = [other for other in near if opened.objects.item_row(other) != item]
        assert set(group["neighbors"][:4]) <= set(expected[:6])
    assert page.json("api/groups", kind="leak", decided="yes")["total"] == 0


def test_an_outline_has_every_group(page: Client) -> None:
    for kind in ("leak", "mislabel"):
        found = page.json("api/groups", kind=kind, limit=100)
        outline = page.json("api/groups", kind=kind, outline=1)
        assert outline["values"] == [group["value"] for group in found["groups"]]
        assert outline["measures"] == [group["measure"] for group in found["groups"]]
        assert outline["decided"] == [False] * found["total"]


def test_decisions_are_on_disk_at_once_and_undone_by_what_was_before(own: Path) -> None:
    with explore(own) as explorer:
        page = Client(explorer.url)
        page.wait_for_task("audit")
        first, second = page.json("api/groups", kind="leak")["groups"][0]["rows"]
        answer = page.decide(
            {"index": first["index"], "of": "items", "row": first["row"], "action": "drop"},
            {"of": "items", "row": second["row"], "action": "subset review later"},
        )
        saved = Findings.read(explorer.findings)
        with open_store(own) as store:
            keys = [store.key(row["row"]) for row in (first, second)]
        assert {row.key: row.action for row in saved if row.action} == {
            keys[0]: "drop",
            keys[1]: "subset review later",
        }
        (picked,) = saved.filter(kind="picked")
        assert picked.content_sha256 == keys_sha(own, keys[1])
        assert answer["decided"] == 2
        assert page.rows(decided="yes") == sorted(row["row"] for row in (first, second))
        assert page.rows(action="drop") == [first["row"]]
        undone = page.decide(*answer["previous"])
        assert undone["decided"] == 0
        assert Findings.read(explorer.findings) == Findings.read(f"{own}.findings.csv")
        assert not Findings.read(explorer.findings).filter(kind="picked")


def keys_sha(store: Path, key: ItemKey) -> str:
    with open_store(store) as opened:
        return opened[key].content_sha256.hex()


def test_a_decision_clears_what_it_contradicts(own: Path) -> None:
    with explore(own) as explorer:
        page = Client(explorer.url)
        page.wait_for_task("audit")
        row = page.rows(kind="leak")[0]
        page.decide({"of": "items", "row": row, "action": "subset other"})
        page.decide({"of": "items", "row": row, "action": "attribute seen=yes"})
        (index,) = [
            each["index"]
            for each in page.json("api/cards", rows=row)[0]["findings"]
            if each["kind"] == "leak"
        ]
        before = page.decide({"index": index, "of": "items", "row": row, "action": "drop"})
        assert {entry["action"] for entry in before["previous"]} == {"", "attribute seen=yes"}
        assert [each.action for each in Findings.read(explorer.findings) if each.action] == ["drop"]


def test_decisions_that_contradict_each_other_in_the_file_are_named(own: Path) -> None:
    with explore(own) as explorer:
        page = Client(explorer.url)
        page.wait_for_task("audit")
        row = page.rows(kind="leak")[0]
        page.decide({"of": "items", "row": row, "action": "drop"})
    path = Path(explorer.findings)
    found = list(Findings.read(path))
    (at,) = [n for n, each in enumerate(found) if each.action]
    found.append(replace(found[at], kind="outlier", action="keep"))
    path.unlink()
    Findings(found).to_csv(path)
    with explore(own) as explorer:
        page = Client(explorer.url)
        (told,) = page.json("api/store")["problems"]
        told = told.removeprefix("`apply` refuses these decisions: ")
        name = f"{found[at].subset}/{found[at].id}"
        assert re.match(rf"line \d+ \({name}\): 'keep' contradicts 'drop' of line \d+ ", told)
        answer = page.decide({"of": "items", "row": row, "action": "drop"})
        assert answer["problems"] == page.json("api/store")["problems"] == []


def test_pictures_of_which_no_copy_stays_are_named(own: Path) -> None:
    with explore(own) as explorer:
        page = Client(explorer.url)
        page.wait_for_task("audit")
        (group, *_) = page.json("api/groups", kind="leak")["groups"]
        first, *others = [{"of": "items", "row": each["row"]} for each in group["rows"]]
        assert page.decide(first | {"action": "drop"})["problems"] == []
        every = page.decide(*(each | {"action": "drop"} for each in others))
        (told,) = every["problems"]
        assert re.match(r"Every copy of '\S+' is dropped\. To keep one, undo", told)
        assert page.json("api/store")["problems"] == [told]
        assert page.decide(first | {"action": "keep"})["problems"] == []


def test_actions_of_a_spreadsheet_have_capitals(own: Path) -> None:
    path = Path(f"{own}.findings.csv")
    found = Findings.read(path)
    group = found.filter(kind="leak")[0].group
    path.unlink()
    Findings(
        replace(row, action=" Drop") if row.kind == "leak" and row.group == group else row
        for row in found
    ).to_csv(path)
    n_dropped = len(found.filter(kind="leak", group=group))
    with explore(own) as explorer:
        page = Client(explorer.url)
        page.wait_for_task("audit")
        (told,) = page.json("api/store")["problems"]
        assert told.startswith("Every copy of ")
        assert len(page.rows(action="drop")) == n_dropped


@pytest.mark.slow
def test_a_picked_image_that_has_a_label_is_relabeled(tmp_path: Path) -> None:
    for number, name in enumerate(("cat/a", "dog/b", "dog/c")):
        path = tmp_path / "data" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(number, (90, 80)).save(path)
    dataset = Dataset.import_from(str(tmp_path / "data"), "imagenet")
    embed_dataset(dataset, tmp_path / "s.h5", encoder=FakeEncoder()).close()
    with explore(tmp_path / "s.h5") as explorer:
        page = Client(explorer.url)
        page.wait_for_task("audit")
        picked = {"of": "items", "row": 0}
        assert page.decide(picked | {"action": "label dog"})["problems"] == []
        page.post("api/apply", {"out": str(tmp_path / "out"), "dry_run": False}, 202)
        task = page.wait_for_task("apply")
        assert task["state"] == "done", task
    assert {path.parent.name for path in (tmp_path / "out").rglob("*.png")} == {"dog"}


def test_columns_that_would_be_lost_are_not_overwritten(own: Path) -> None:
    path = Path(f"{own}.findings.csv")
    titles, *lines = path.read_text("utf-8-sig").splitlines()
    content = "\n".join([f"{titles},note,", *(f"{line},mine," for line in lines)])
    path.write_text(content)
    with explore(own) as explorer:
        page = Client(explorer.url)
        assert "would not keep (note)" in page.json("api/store")["read_only"]
        entry = {"of": "items", "row": page.rows(kind="leak")[0], "action": "drop"}
        assert "would not keep (note)" in page.decide(entry, status=409)["error"]
    assert path.read_text() == content


def test_what_is_dropped_or_picked_settles_other_findings(own: Path) -> None:
    def reviewed(answer: dict) -> dict[str, int]:
        return {kind["kind"]: kind["reviewed"] for kind in answer["kinds"]}

    with explore(own) as explorer:
        page = Client(explorer.url)
        page.wait_for_task("audit")
        groups = page.json("api/groups", kind="mislabel")["groups"]
        first, other = groups[0]["rows"][0], groups[1]["rows"][0]
        same = [each for each in groups if each["rows"][0]["item"] == first["item"]]
        before = reviewed(page.json("api/store"))
        assert before["mislabel"] == 0
        answer = page.decide({"of": "items", "row": first["item"], "action": "drop"})
        assert reviewed(answer)["mislabel"] == len(same)
        again = page.json("api/groups", kind="mislabel")["groups"]
        assert {each["rows"][0]["covered"] for each in again[:1]} == {"drop"}
        outline = page.json("api/groups", kind="mislabel", outline=1)
        assert sum(outline["decided"]) == len(same)
        assert len(page.rows(of="objects", kind="mislabel", decided="no")) == len(groups) - len(
            same
        )
        undone = page.decide(*answer["previous"])
        assert reviewed(undone) == before

        kept = page.decide({"of": other["of"], "row": other["row"], "action": "keep"})
        assert reviewed(kept)["mislabel"] == 1  # picked: it was decided as a whole
        leak = page.json("api/groups", kind="leak")["groups"][0]["rows"][0]
        about = {"index": leak["index"], "of": leak["of"], "row": leak["row"], "action": "keep"}
        after = reviewed(page.decide(about))
        assert after == reviewed(kept)  # the group has another image, and no other kind is settled


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"of": "items", "row": 0, "action": "explode"}, "there is no action 'explode'"),
        ({"of": "items", "row": 69, "action": "drop"}, "There is no row 69"),
        ({"of": "objects", "row": 0, "action": "subset x"}, "is for items"),
        ({"index": 0, "of": "items", "row": 68, "action": "drop"}, "Finding 0 is not of row 68"),
        ({"index": 10**6, "of": "items", "row": 0, "action": "drop"}, "Finding 1000000 is not"),
        ({"of": "captions", "row": 0, "action": "drop"}, "A decision needs a table"),
        ({"of": "items", "row": "0", "action": "drop"}, "A decision needs a table"),
        ({"of": "items", "row": True, "action": "drop"}, "Expected `int`, got `bool` - at `$.row`"),
        ({"of": "items", "action": "drop"}, "missing required field `row`"),
        ({"of": "items", "row": 0, "action": "subset a/b"}, "no subset can be called"),
    ],
)
def test_one_bad_decision_undoes_all_of_its_request(
    page: Client, explorer: Explorer, entry: dict, message: str
) -> None:
    before = explorer.findings.read_bytes()
    good = {"of": "items", "row": 1, "action": "drop"}
    assert message in page.decide(good, entry, status=400)["error"]
    assert explorer.findings.read_bytes() == before
    assert page.rows(decided="yes") == []
    assert not page.json("api/cards", rows=1)[0]["action"]


@pytest.mark.slow
def test_without_findings_an_audit_makes_them_and_keeps_what_was_picked(own: Path) -> None:
    expected = Findings.read(f"{own}.findings.csv")
    Path(f"{own}.findings.csv").unlink()
    with explore(own) as explorer:
        page = Client(explorer.url)
        page.decide({"of": "items", "row": 1, "action": "drop"})
        assert page.json("api/progress")["audit"]["state"] == "running"
        assert page.wait_for_task("audit")["state"] == "done"
        assert page.json("api/store")["decided"] == 1
    saved = Findings.read(f"{own}.findings.csv")
    assert saved.filter(lambda row: row.kind != "picked") == expected
    assert [row.action for row in saved.filter(kind="picked")] == ["drop"]


@pytest.mark.slow
def test_an_explorer_that_cannot_save_findings_does_not_say_that_there_are_none(own: Path) -> None:
    Path(f"{own}.findings.csv").unlink()
    with explore(own) as first, explore(own) as second:
        assert first.read_only == ""
        assert "Another explorer has" in second.read_only
        task = Client(second.url).wait_for_task("audit")
        assert task["state"] == "failed"
        assert "there are no findings, and none can be saved. Another explorer has" in task["note"]
        assert Client(first.url).wait_for_task("audit")["state"] == "done"


@pytest.mark.slow
def test_without_images_an_audit_finds_equal_files_and_what_vectors_tell(
    object_store: Path, tmp_path: Path
) -> None:
    shutil.copytree(SAMPLE / "coco", tmp_path / "data")
    twin = tmp_path / "data/images/train/scene_002.jpg"
    shutil.copy(tmp_path / "data/images/train/scene_003.jpg", twin)
    command = (
        "embed",
        f"{tmp_path / 'data'}:coco",
        "--store",
        tmp_path / "s.h5",
        "--model",
        "demo",
    )
    assert run("datumaro-embed", *command).returncode == 0
    shutil.rmtree(tmp_path / "data")
    with explore(tmp_path / "s.h5") as explorer:
        client = Client(explorer.url)
        assert client.wait_for_task("audit")["state"] == "done"
        kinds = {entry["kind"]: entry["findings"] for entry in client.json("api/store")["kinds"]}
        assert kinds["duplicate"] == 2


def test_a_link_to_a_findings_file_stays_a_link(own: Path, tmp_path: Path) -> None:
    real, link = tmp_path / "real.csv", tmp_path / "link.csv"
    Path(f"{own}.findings.csv").rename(real)
    link.symlink_to(real.name)
    with explore(own, findings=link) as explorer, explore(own, findings=real) as second:
        assert "Another explorer has" in second.read_only
        Client(explorer.url).decide({"of": "items", "row": 1, "action": "drop"})
    assert link.is_symlink()
    assert [row.action for row in Findings.read(real)].count("drop") == 1


def test_apply_carries_out_what_was_decided(own: Path, tmp_path: Path) -> None:
    with explore(own) as explorer:
        page = Client(explorer.url)
        page.wait_for_task("audit")
        page.decide({"of": "items", "row": 1, "action": "drop"})
        command = page.json("api/command")["command"]
        assert command == (f"datumaro-embed apply {explorer.findings} {SAMPLE / 'coco'} -o OUT")
        out = tmp_path / "clean"
        page.post("api/apply", {"out": str(out)}, 202)
        assert page.wait_for_task("apply")["state"] == "done"
        assert "1 of 69 items dropped (train 1)" in page.json("api/plan")["plan"][0]
        assert not out.exists()
        page.post("api/apply", {"out": str(out), "dry_run": False}, 202)
        assert page.wait_for_task("apply")["state"] == "done"
        assert "equal to the plan: 68 items" in page.json("api/plan")["verified"]
        page.post("api/apply", {"out": str(out), "dry_run": False}, 202)
        ended = page.wait_for_task("apply")
        assert ended["state"] == "failed"
        assert "exists. Choose another path" in ended["note"]
    assert len(Dataset.import_from(str(out), "coco")) == 68
    kept = apply_findings(Dataset.import_from(str(SAMPLE / "coco")), f"{own}.findings.csv")
    assert len(kept) == 68


def test_parts_of_an_answer_do_not_wait_for_each_other() -> None:
    async def delays() -> bool:
        found = asyncio.get_running_loop().create_future()

        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connected = writer.get_extra_info("socket")
            found.set_result(not connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listening = listening_at(0)
        async with await asyncio.start_server(answer, sock=listening):
            _, writer = await asyncio.open_connection(*listening.getsockname())
            has_delay = await found
            writer.close()
            await writer.wait_closed()
            return has_delay

    assert not asyncio.run(delays())


def test_a_notebook_shows_the_page_in_a_frame(explorer: Explorer, page: Client) -> None:
    assert f'src="{explorer.url}"' in explorer._repr_html_()
    response, _ = page.request(page.base)
    assert (
        "frame-ancestors 'self' http://localhost:*" in response.headers["Content-Security-Policy"]
    )


@pytest.mark.slow
def test_a_directory_without_objects_and_without_its_model(tmp_path: Path) -> None:
    root = write_pictures(tmp_path / "data", 7, (40, 30))
    dataset = Dataset.import_from(str(root), "coco")
    options = {"encoder": FakeEncoder(), "commit_rows": 3, "progress": False}
    with embed_dataset(dataset, f"{tmp_path}/store/", **options) as store:
        assert len(store.parts) == 3
    with explore(tmp_path / "store") as explorer:
        page = Client(explorer.url)
        found = page.json("api/store")
        assert (found["items"], found["objects"], found["text"]) == (7, 0, False)
        assert page.rows(id="5") == [5]
        card = page.json("api/cards", rows=5)[0]
        (box,) = card["boxes"]
        assert (box["object"], box["label"]) == (None, "thing")
        assert [box[side] for side in "xywh"] == pytest.approx([1 / 40, 2 / 30, 3 / 40, 4 / 30])
        assert page.picture(f"thumb/items/5/{card['v']}").size == (40, 30)
        assert page.rows(like=5)[0] == 5
        page.get("api/rows", 400, of="objects")
        assert page.wait_for_task("encoder")["state"] == "failed"
        assert "There is no model 'fake'" in page.json("api/rows", 400, text="a cat")["error"]
        page.wait_for_task("audit")
        assert explorer.findings == tmp_path / "store.findings.csv"


def test_the_command_says_where_and_ends_with_its_signal(own: Path) -> None:
    done = run("datumaro-embed", "explore", own, "--no-browser", "--port", "99999")
    assert done.returncode == 1
    assert "--port is 99999" in done.stderr
    done = run("datumaro-embed", "explore", own.parent / "none.h5", "--no-browser")
    assert done.returncode == 1
    assert "none.h5" in done.stderr


def places_on_map(page: Client, of: str) -> tuple[str, bool, np.ndarray]:
    """Wait for a map: its method, whether it is final, and (n, 2) places of all rows in order."""

    def is_there() -> bool:
        answers[:] = [page.request(f"{page.base}api/map?of={of}")]
        return answers[0][0].status == 200

    answers: list = []
    wait_for(is_there)
    response, body = answers[0]
    count = np.frombuffer(body[:4], "<i4")[0]
    assert np.frombuffer(body[4 : 4 + 4 * count], "<i4").tolist() == list(range(count))
    places = np.frombuffer(body[4 + 4 * count :], "<f4").reshape(2, -1).T
    assert np.abs(places).max() == pytest.approx(1)
    return response.headers["X-Method"], response.headers["X-Final"] == "1", places


def test_the_map_is_a_pca_at_first(page: Client, opened: EmbeddingStore) -> None:
    method, is_final, places = places_on_map(page, "objects")
    assert (method, is_final) == ("pca", False)
    vectors = opened.objects.embeddings().astype(np.float64)
    expected = pca(vectors)
    near = [np.abs(a - a[0]).sum(axis=1).argsort()[:5].tolist() for a in (places, expected)]
    assert near[0] == near[1]


@pytest.mark.slow
def test_the_map_becomes_a_umap(page: Client, opened: EmbeddingStore) -> None:
    first = places_on_map(page, "items")[2]
    wait_for(lambda: places_on_map(page, "items")[1])
    method, _, places = places_on_map(page, "items")
    assert method == "umap"
    assert len(places) == len(first) == len(opened)
    assert not np.allclose(places, first)
