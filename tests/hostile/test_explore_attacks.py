"""What must not get into, or out of, `explore`: a real server, asked by what is not our page."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datumaro_embed import (
    AnnotationRecord,
    Categories,
    Explorer,
    Findings,
    ItemKey,
    ItemRecord,
    ObjectRecord,
    Split,
    explore,
    open_store,
)
from datumaro_embed.errors import OutputFolderError, UsageError
from explore_support import Client, large_png
from report_stores import HOSTILE
from store_support import create_store
from support import picture

NAMES = ("עברית ‮", "🦒🏳️‍🌈", *HOSTILE)
LONG_ID = "x" * 1000
N_OBJECTS = 10_000
SECRET = b"secret"
OTHER = hashlib.sha256(b"what was embedded").digest()


def record(root: Path, key: ItemKey, path: str, **facts) -> ItemRecord:
    """Make the record of a file that is what was embedded, wherever it lies."""
    file = root / path
    sha = hashlib.sha256(file.read_bytes()).digest() if file.is_file() else bytes(32)
    return ItemRecord(key, Split.TRAIN, path, **{"content_sha256": sha, **facts})


def fill(folder: Path) -> Path:
    """Write a media root with what lies beside it, and a store of files that nobody may see."""
    root = folder / "media"
    root.mkdir()
    picture(1).save(root / "good.png")
    picture(2).save(root / "other.png")
    picture(3).save(folder / "outside.png")
    (root / "link.png").symlink_to(folder / "outside.png")
    (root / "folder").symlink_to(folder)
    large_png(root / "large.png")
    os.mkfifo(root / "pipe.png")
    files = {
        "0 good": "good.png",
        "1 up": "../outside.png",
        "2 absolute": str(folder / "outside.png"),
        "3 link": "link.png",
        "4 linked folder": "folder/outside.png",
        "5 large": "large.png",
        "6 pipe": "pipe.png",
        "7 other": "other.png",
        "8 none": "",
        "9 embedded link": "link.png",
    }
    wrong = {name: {"content_sha256": OTHER} for name in ("3 link", "4 linked folder")}
    rng = np.random.default_rng(0)
    with create_store(folder / "e.h5", dim=8) as writer:
        writer.set_categories(Categories(NAMES))
        keys = [*(ItemKey("train", key) for key in files), ItemKey("train", LONG_ID)]
        hostile = [ItemKey(HOSTILE[0], name) for name in sorted(NAMES)]
        for key in sorted([*keys, *hostile]):
            path = files.get(key.id, "")
            n = N_OBJECTS if key.id == "7 other" else 1
            made = tuple(
                ObjectRecord(0, (1, 2, 3, 4), annotations=(i,), vector=unit(rng)) for i in range(n)
            )
            boxes = tuple(AnnotationRecord("bbox", 0, coords=(1, 2, 3, 4)) for _ in range(n))
            facts = {"annotations": boxes, "objects": made, "attributes": {HOSTILE[0]: HOSTILE[1]}}
            facts |= wrong.get(key.id, {})
            writer.append(record(root, key, path, **facts), unit(rng))
        writer.seal({"media_root": str(root)})
    Findings().to_csv(folder / "e.h5.findings.csv")
    return folder / "e.h5"


def unit(rng: np.random.Generator) -> np.ndarray:
    vector = rng.standard_normal(8)
    return vector / np.linalg.norm(vector)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def explorer(store: Path) -> Iterator[Explorer]:
    with explore(store, framed=False) as explorer:
        yield explorer


@pytest.fixture(scope="module")
def page(explorer: Explorer) -> Client:
    return Client(explorer.url)


# Requests ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "", "[::1]:80"]
)
def test_a_foreign_host_is_answered_nothing(page: Client, host: str) -> None:
    headers = {"Host": host.format(port=page.port)}
    response, body = page.request(f"{page.base}api/store", headers=headers)
    assert response.status in (400, 421)
    assert b"uuid" not in body


def test_localhost_is_us_too(page: Client) -> None:
    headers = {"Host": f"localhost:{page.port}"}
    assert page.request(f"{page.base}api/store", headers=headers)[0].status == 200


def test_without_the_token_there_is_nothing(page: Client) -> None:
    token = page.base.strip("/")
    wrong = "A" * len(token)
    for path in (
        *("/", "/api/store", f"/{wrong}/api/store", f"/{token[:-1]}/api/store"),
        *(f"/{token}", f"/{token}x/api/store", f"/{wrong}/../{token}/api/store", f"//{token}/"),
    ):
        response, body = page.request(path)
        assert response.status == 404, path
        assert b"uuid" not in body


@pytest.mark.parametrize(
    "path",
    [
        *("assets/../page.html", "assets/..%2f..%2fapp.py", "assets/%2e%2e/page.html"),
        *("assets//etc/passwd", "assets/%2Fetc%2Fpasswd", "../../etc/passwd", "assets/app.js%00"),
        *("thumb/items/../../etc/passwd", "thumb/items/-1/x", "thumb/items/0x0/x"),
        *("image/1e3/x", "image/%30%00/x", "thumb/captions/0/x", "thumb/query/../x"),
    ],
)
def test_no_path_leads_elsewhere(page: Client, path: str) -> None:
    response, body = page.request(f"{page.base}{path}")
    assert response.status in (400, 404)
    assert b"root:" not in body
    assert b"def " not in body


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://{host}"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": ""}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "image/png"}, 415),
    ],
)
def test_no_other_page_decides(page: Client, explorer: Explorer, headers, status: int) -> None:
    before = explorer.findings.read_bytes()
    sent = {name: value.format(host=page.host) for name, value in headers.items()}
    content = {"set": [{"of": "items", "row": 0, "action": "drop"}]}
    page.post("api/decide", content, status, **sent)
    response, _ = page.request(f"{page.base}api/decide")
    assert response.status == 405
    assert explorer.findings.read_bytes() == before


def test_bodies_have_a_limit(page: Client) -> None:
    headers = {"Origin": f"http://{page.host}", "Content-Type": "application/json"}
    for length, status in ((str(2**24 + 1), 413), ("-1", 400), ("x", 400)):
        response, _ = page.request(
            f"{page.base}api/decide", method="POST", headers=headers | {"Content-Length": length}
        )
        assert response.status == status
    chunked = headers | {"Transfer-Encoding": "chunked"}
    response, _ = page.request(f"{page.base}api/decide", method="POST", headers=chunked)
    assert response.status == 411


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"\xff", b'{"set": 1}', b'{"set": [1]}', b"[" * 100_000, b'{"set":[{}]}'],
)
def test_a_body_that_is_none_is_a_sentence(page: Client, body: bytes) -> None:
    headers = {"Origin": f"http://{page.host}", "Content-Type": "application/json"}
    response, answer = page.request(
        f"{page.base}api/decide", method="POST", body=body, headers=headers
    )
    assert response.status == 400
    assert b'{"error":' in answer


def test_every_answer_has_the_headers(page: Client) -> None:
    for path, host in ((page.base, page.host), ("/", page.host), (page.base, "evil.example")):
        response, _ = page.request(path, headers={"Host": host})
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert policy.endswith("frame-ancestors 'self'")
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert response.headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in response.headers


# Pictures ----------------------------------------------------------------------------------------


def refused(page: Client, name: str, **query) -> str:
    """Ask for an item's picture, and give the reason why there is none."""
    (card,) = page.json("api/cards", rows=page.rows(id=name)[0])
    reasons = {
        page.json(f"{path}/{card['v'] or 'x'}", 404 if card["v"] else 400, **query)["error"]
        for path in (f"thumb/items/{card['row']}", f"image/{card['row']}")
    }
    (reason,) = reasons
    return reason


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("1 up", "leads out of the media root"),
        ("2 absolute", "leads out of the media root"),
        ("3 link", "has changed since it was embedded"),
        ("4 linked folder", "has changed since it was embedded"),
        ("5 large", "too many pixels: 20000 x 10000"),
    ],
)
def test_no_file_outside_the_root_and_no_bomb_is_shown(page: Client, name, reason: str) -> None:
    assert reason in refused(page, name)


def test_a_link_shows_what_was_embedded(page: Client, store: Path) -> None:
    (card,) = page.json("api/cards", rows=page.rows(id="9 embedded link")[0])
    shown = Image.open(BytesIO(page.get(f"image/{card['row']}/{card['v']}"))).convert("RGB")
    outside = Image.open(store.parent / "outside.png").convert("RGB")
    assert np.abs(np.subtract(shown, outside, dtype=int)).mean() < 10


def test_pipes_and_nothing_have_no_picture(page: Client) -> None:
    for name in ("6 pipe", "8 none"):
        assert "another picture" in refused(page, name)  # no content hash, so no address


def test_a_picture_that_has_changed_is_not_shown(store: Path, tmp_path: Path) -> None:
    root = tmp_path / "media"
    shutil.copytree(store.parent / "media", root, symlinks=True, ignore=lambda *_: ["pipe.png"])
    with explore(store, media_root=root, findings=tmp_path / "f.csv") as explorer:
        page = Client(explorer.url)
        (card,) = page.json("api/cards", rows=page.rows(id="0 good")[0])
        path = f"thumb/items/{card['row']}/{card['v']}"
        first = page.get(path)
        os.utime(root / "good.png", (1, 1))  # touched, and the same
        assert page.get(path) == first
        shutil.copy(root / "other.png", root / "good.png")
        assert "has changed since" in page.json(path, 404)["error"]
        (root / "good.png").unlink()
        assert "there is no file" in page.json(path, 404)["error"]
        (root / "good.png").symlink_to(store.parent / "outside.png")
        assert "has changed since" in page.json(path, 404)["error"]
        (root / "good.png").unlink()
        (root / "good.png").symlink_to(store.parent / "gone.png")
        assert "the link leads to no file" in page.json(path, 404)["error"]
        (root / "good.png").unlink()
        (root / "good.png").symlink_to(store.parent / "media" / "good.png")
        assert page.get(path) == first
        picture(1).save(tmp_path / "back.png")
        (tmp_path / "back.png").replace(root / "good.png")
        assert page.get(path) == first
        assert page.json("api/cards", rows=card["row"]) == [card]


# Texts and sizes ---------------------------------------------------------------------------------


def test_markup_is_text(page: Client) -> None:
    response, _ = page.request(f"{page.base}api/store")
    assert response.headers["Content-Type"] == "application/json"
    labels = [entry["name"] for entry in page.json("api/store")["labels"]]
    assert tuple(labels) == NAMES
    rows = page.rows(subset=HOSTILE[0])
    cards = page.json("api/cards", rows=",".join(map(str, rows)))
    assert [card["id"] for card in cards] == sorted(NAMES)
    for name in NAMES:
        assert {card["row"] for card in cards if name in card["id"]} <= {*page.rows(id=name)}
        assert page.rows(label=name) == ([] if name != NAMES[0] else page.rows())
    item = page.json("api/item", row=rows[0])
    assert item["attributes"] == {HOSTILE[0]: HOSTILE[1]}


def test_hostile_names_come_back_from_the_findings(page: Client, explorer: Explorer) -> None:
    rows = page.rows(subset=HOSTILE[0])
    answer = page.decide(
        *({"of": "items", "row": row, "action": f"label {NAMES[0]}"} for row in rows)
    )
    saved = Findings.read(explorer.findings)
    assert sorted(row.id for row in saved) == sorted(NAMES)
    assert {row.action for row in saved} == {f"label {NAMES[0]}".strip()}
    page.decide(*answer["previous"])


def test_a_long_id_is_one_card(page: Client) -> None:
    (row,) = page.rows(id=LONG_ID)
    assert page.json("api/cards", rows=row)[0]["id"] == LONG_ID
    assert page.rows(id=f"{LONG_ID}x") == []


@pytest.mark.slow
def test_a_label_with_10_000_objects(page: Client, store: Path) -> None:
    with open_store(store) as opened:
        n_objects = len(opened.objects)
    rows = page.rows(of="objects", label=NAMES[0])
    assert len(rows) == n_objects > N_OBJECTS
    (card,) = page.json("api/cards", rows=page.rows(id="7 other")[0])
    assert card["n_boxes"] == N_OBJECTS
    assert len(card["boxes"]) == 200
    item = page.json("api/item", row=card["row"])
    assert item["n_annotations"] == N_OBJECTS
    assert len(item["annotations"]) == 500
    entries = ({"of": "objects", "row": row, "action": "drop"} for row in rows)
    answer = page.decide(*entries)
    assert answer["decided"] == n_objects
    assert page.decide(*answer["previous"])["decided"] == 0


# Files beside ------------------------------------------------------------------------------------


def copied(store: Path, folder: Path) -> Path:
    """Copy a store and its findings."""
    for path in (store, Path(f"{store}.findings.csv")):
        shutil.copy(path, folder)
    return folder / store.name


def test_a_taken_port_is_an_error_that_says_what_to_do(store: Path, tmp_path: Path) -> None:
    own = copied(store, tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"Port {port} cannot be used .*Choose another port"):
            explore(own, port=port)
    with explore(own):  # the first attempt has let go of everything
        pass


def test_a_second_explorer_on_one_file_only_reads(store: Path, tmp_path: Path) -> None:
    own = copied(store, tmp_path)
    entry = {"of": "items", "row": 0, "action": "drop"}
    with explore(own) as first:
        with explore(own) as second:
            other = Client(second.url)
            assert "Another explorer" in other.json("api/store")["read_only"]
            assert "Another explorer" in other.decide(entry, status=409)["error"]
            assert other.rows(id="good") == [Client(first.url).rows(id="good")[0]]
        assert Client(first.url).decide(entry)["decided"] == 1
    with explore(own) as third:
        page = Client(third.url)
        assert page.json("api/store")["decided"] == 1
        assert page.json("api/store")["read_only"] == ""
    assert not Path(f"{own}.findings.csv.lock").exists()


def test_findings_of_another_store_are_refused(store: Path, tmp_path: Path) -> None:
    own = copied(store, tmp_path)
    with explore(own, findings=tmp_path / "mine.csv") as explorer:
        Client(explorer.url).decide({"of": "items", "row": 0, "action": "drop"})
    text = (tmp_path / "mine.csv").read_text("utf-8-sig")
    with open_store(own) as opened:
        changed = text.replace(opened.uuid, "0" * 32)
    (tmp_path / "mine.csv").write_text(changed)
    with pytest.raises(UsageError, match="has findings of another store"):
        explore(own, findings=tmp_path / "mine.csv")
    assert (tmp_path / "mine.csv").read_text() == changed


def test_a_store_replaced_while_it_is_open_takes_no_decisions(store: Path, tmp_path: Path) -> None:
    own = copied(store, tmp_path)
    entry = {"of": "items", "row": 0, "action": "drop"}
    with explore(own) as explorer:
        page = Client(explorer.url)
        os.utime(own)  # touched, and the same
        page.decide(entry)
        assert not page.json("api/store")["replaced"]
        with create_store(tmp_path / "new.h5", dim=8) as writer:
            writer.append(ItemRecord(ItemKey("a", "b")), np.ones(8) / 8**0.5)
            writer.seal({})
        (tmp_path / "new.h5").replace(own)
        assert page.json("api/store")["replaced"]
        assert "is another store" in page.decide(entry, status=409)["error"]
        assert len(page.rows()) > 1  # what is open stays as it was
    assert [row.action for row in Findings.read(f"{own}.findings.csv")] == ["drop"]


def test_a_findings_file_changed_by_another_program_is_not_overwritten(
    store: Path, tmp_path: Path
) -> None:
    own = copied(store, tmp_path)
    path = Path(f"{own}.findings.csv")
    with explore(own) as explorer:
        page = Client(explorer.url)
        page.wait_for_task("audit")
        path.write_text(f"{path.read_text()}\n")
        answer = page.decide({"of": "items", "row": 0, "action": "drop"}, status=409)
        assert "Another program has changed" in answer["error"]
        assert page.rows(decided="yes") == []
    assert path.read_text().endswith("\n\n")


def test_a_place_that_cannot_be_written_is_read_only(store: Path, tmp_path: Path) -> None:
    own = copied(store, tmp_path)
    (tmp_path / "f.csv.lock").mkdir()
    with explore(own, findings=tmp_path / "f.csv") as explorer:
        page = Client(explorer.url)
        assert "Decisions cannot be saved here" in page.json("api/store")["read_only"]
        page.decide({"of": "items", "row": 0, "action": "drop"}, status=409)
    assert not (tmp_path / "f.csv").exists()
    with pytest.raises(OutputFolderError, match="does not exist"):
        explore(own, findings=tmp_path / "missing" / "f.csv")
    assert not (tmp_path / "missing").exists()
