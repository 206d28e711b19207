"""What a query may be, how several combine, and whose model may embed it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datumaro_embed import (
    ItemKey,
    build_index,
    import_vectors,
    open_store,
    search,
    search_vectors,
)
from datumaro_embed.encoders import FakeEncoder
from datumaro_embed.errors import (
    ItemFailedError,
    ItemNotFoundError,
    ModelMismatchError,
    ModelNotFoundError,
    StoreIndexError,
    StoreNotFoundError,
    UsageError,
)
from datumaro_embed.records import Status
from datumaro_embed.retrieval import Filters, SearchOptions, compose, run_search
from datumaro_embed.similarity import graph_path
from datumaro_embed.store import EmbeddingStore
from search_support import fake_store, item, memory_store
from support import picture

Made = tuple[EmbeddingStore, FakeEncoder]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    """Texts ``0`` to ``5`` of train, by a FakeEncoder."""
    store, encoder = fake_store(tmp_path / "e.h5")
    with store:
        yield store, encoder


def test_compose_is_the_mean_of_unit_vectors_less_the_others() -> None:
    combined = compose([[3.0, 0.0], [0.0, 0.5]], [[0.0, 2.0]])
    expected = np.array([0.5, 0.5 - 1.0])
    np.testing.assert_allclose(combined, expected / np.linalg.norm(expected), rtol=1e-12)


@pytest.mark.parametrize(
    ("plus", "minus", "message"),
    [([], [], "no query"), ([[1.0, 0.0]], [[2.0, 0.0]], "cancel"), ([[0.0, 0.0]], [], "zero")],
)
def test_queries_that_leave_nothing_are_refused(plus: list, minus: list, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compose(plus, minus)


def test_a_text_finds_itself(made: Made) -> None:
    store, encoder = made
    hits = search(store, "3", k=2, encoder=encoder)
    assert hits[0].key == ItemKey("train", "3")
    assert hits[0].similarity == pytest.approx(1, abs=1e-3)
    assert hits[1].similarity < 0.99


def test_every_kind_of_query(made: Made, tmp_path: Path) -> None:
    store, encoder = made
    picture(1).save(tmp_path / "p.png")
    vector = encoder.embed_images([picture(1)])[0]
    by_vector = search(store, vector, k=6)
    for query in (tmp_path / "p.png", Image.open(tmp_path / "p.png"), picture(1)):
        found = search(store, query, k=6, encoder=encoder)
        assert [hit.row for hit in found] == [hit.row for hit in by_vector]
    assert search(store, ItemKey("train", "4"), k=1)[0].key.id == "4"


def test_several_queries_and_what_to_be_unlike(made: Made) -> None:
    store, encoder = made
    both = {hit.key.id for hit in search(store, "1", ItemKey("train", "2"), k=2, encoder=encoder)}
    assert both == {"1", "2"}
    less = search(store, "1", "2", k=6, minus=["2", ItemKey("train", "5")], encoder=encoder)
    assert less[0].key.id == "1"
    assert less[-1].key.id == "5"


def test_a_store_is_also_a_path(made: Made) -> None:
    store, _ = made
    assert search(store.path, ItemKey("train", "4"), k=1)[0].key.id == "4"
    with pytest.raises(StoreNotFoundError):
        search("nowhere.h5", ItemKey("train", "4"))


def test_another_model_is_refused_and_both_are_named(made: Made) -> None:
    store, encoder = made
    other = FakeEncoder(seed=1)
    with pytest.raises(ModelMismatchError) as caught:
        search(store, "1", encoder=other)
    for fingerprint in (encoder.fingerprint, other.fingerprint):
        assert fingerprint[:12] in str(caught.value)
    assert caught.value.model_fingerprint == other.fingerprint
    with pytest.raises(ModelMismatchError, match=r"of model fake .* not of demo"):
        search(store, "1", model="demo")


def test_the_model_of_the_store_is_looked_for(made: Made) -> None:
    store, _ = made
    with pytest.raises(ModelNotFoundError, match="'fake' on this machine") as caught:
        search(store, "1")
    assert "or try" not in str(caught.value).lower()  # another model cannot search this store


def test_a_store_of_no_known_model_is_still_searched_by_item() -> None:
    store = memory_store(np.eye(3), [item("train", name) for name in "abc"])
    assert search(store, ItemKey("train", "b"), k=1)[0].key.id == "b"
    with pytest.raises(UsageError, match="does not record its model"):
        search(store, "a text")


def test_imported_vectors_have_no_model(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.eye(3, dtype=np.float32))
    (tmp_path / "ids.txt").write_text("a\nb\nc\n")
    import_vectors(tmp_path / "v.npy", tmp_path / "s.h5", ids=tmp_path / "ids.txt")
    with open_store(tmp_path / "s.h5") as store:
        assert search(store, ItemKey("default", "b"), k=1)[0].key.id == "b"
        for model in (None, "demo"):
            unknown = r"are imported and their model is unknown, .*Query with items\."
            with pytest.raises(UsageError, match=unknown):
                search(store, "a text", model=model)


@pytest.mark.parametrize(
    ("query", "error", "message"),
    [
        ("", UsageError, "A query is empty"),
        (" \n", UsageError, "A query is empty"),
        (np.ones(3), UsageError, "length 16"),
        (
            ["a", "b"],
            UsageError,
            r"cannot be of type list\. Give a str .*Path .*ItemKey .*length 16; sev",
        ),
        ([[1.0], 2.0], UsageError, "cannot be of type list"),
        (None, UsageError, "cannot be of type NoneType"),
        (5, UsageError, "cannot be of type int"),
        (np.zeros(16), UsageError, "zero"),
        (Path("nowhere.png"), UsageError, "no image file"),
        (ItemKey("train", "9"), ItemNotFoundError, "No item 'train/9'"),
        (ItemKey("dev", "xyz" * 9), ItemNotFoundError, "SUBSET/ID. .*info STORE --items N` prints"),
    ],
)
def test_wrong_queries(made: Made, query, error, message: str) -> None:
    store, encoder = made
    with pytest.raises(error, match=message):
        search(store, query, encoder=encoder)


def test_one_name_is_as_good_as_a_list_of_one(made: Made) -> None:
    store, encoder = made
    key = ItemKey("train", "5")
    one = search(store, "1", k=6, minus=key, subsets="train", splits="train", encoder=encoder)
    assert one == search(store, "1", k=6, minus=[key], encoder=encoder)
    assert one != search(store, "1", k=6, encoder=encoder)


@pytest.mark.parametrize("by_index", [False, True])
@pytest.mark.parametrize(("n_stale", "n_found"), [(2, 3), (4, 2), (6, 0)])
def test_hits_that_are_passed_over_make_room_for_the_next(
    made: Made, n_stale: int, n_found: int, by_index: bool
) -> None:
    store, _ = made
    if by_index:
        build_index(store)
    query = [ItemKey("train", "0")]
    every = run_search(store, query, SearchOptions(k=6, exact=True)).hits
    stale = {hit.key for hit in every[:n_stale]}
    found = run_search(store, query, SearchOptions(k=3), keep=lambda hit: hit.key not in stale)
    assert [hit.key for hit in found.hits] == [hit.key for hit in every[n_stale:]][:3]
    assert len(found.hits) == n_found


def test_a_file_that_is_no_image_is_named(made: Made, tmp_path: Path) -> None:
    store, encoder = made
    (tmp_path / "x.png").write_text("no image")
    with pytest.raises(ItemFailedError, match=r"x\.png' cannot be embedded: .*Give another image"):
        search(store, tmp_path / "x.png", encoder=encoder)


def test_no_query_and_no_k(made: Made) -> None:
    with pytest.raises(UsageError, match="There is no query"):
        search(made[0])
    with pytest.raises(UsageError, match="k must be at least 1, not 0"):
        search(made[0], np.ones(16), k=0)


def test_failed_items_are_never_found_nor_asked_for() -> None:
    records = [item("train", "a"), item("train", "b", status=Status.MISSING)]
    store = memory_store(-np.ones((2, 4)), records)
    assert [hit.key.id for hit in search(store, np.ones(4))] == ["a"]
    with pytest.raises(ItemFailedError, match=r"train/b has no vector \(missing: broken\)"):
        search(store, ItemKey("train", "b"))


def test_hits_tell_split_labels_and_path() -> None:
    record = item("val", "a", 2, 0, 0, path="images/a.png")
    (hit,) = search(memory_store(np.ones((1, 4)), [record]), np.ones(4))
    assert (hit.split.name, hit.labels, hit.path) == ("VAL", ("car", "cat"), "images/a.png")


def test_an_index_is_used_where_it_can_answer(made: Made) -> None:
    store, encoder = made
    query = encoder.embed_texts(["2"])[0]
    exact = run_search(store, [query], SearchOptions())
    assert exact.exact
    assert "6 rows in" in build_index(store)
    assert "up to date" in build_index(store)
    by_index = run_search(store, [query], SearchOptions())
    assert not by_index.exact
    assert not run_search(store, [query], SearchOptions(filters=Filters(labels=[]))).exact
    assert by_index.hits == exact.hits
    assert run_search(store, [query], SearchOptions(exact=True)).exact
    assert search(store, query, splits=["train"]) == exact.hits
    assert search_vectors(store, query[None])[0] == exact.hits


def test_a_stale_index_is_an_error_until_it_is_made_again(made: Made, tmp_path: Path) -> None:
    store, _ = made
    other, _ = fake_store(tmp_path / "other.h5")
    with other:
        build_index(other)
        graph_path(other.path).rename(graph_path(store.path))
    with pytest.raises(StoreIndexError, match="belongs to another store"):
        search(store, np.ones(16))
    assert search(store, np.ones(16), exact=True)
    assert search(store, np.ones(16), splits=["train"])  # a filtered search needs no index
    assert "6 rows in" in build_index(store)
    assert search(store, np.ones(16))
    spoilt = tmp_path / "spoilt"
    spoilt.write_bytes(b"not an index")
    spoilt.replace(graph_path(store.path))  # after one was used: it is looked at again
    with pytest.raises(StoreIndexError, match="not an index of this version"):
        search(store, np.ones(16))


def test_nothing_to_index_is_refused(tmp_path: Path) -> None:
    store = memory_store(np.ones((1, 4)), [item("train", "a", status=Status.MISSING)])
    with pytest.raises(UsageError, match="nothing to index"):
        build_index(store)
