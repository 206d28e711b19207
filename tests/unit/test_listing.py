"""Tables for people, JSON and CSV for programs; no id can upset a terminal or a parser."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from datumaro_embed import find_duplicates, search
from datumaro_embed.escaping import csv_cell
from datumaro_embed.listing import (
    duplicates_json,
    duplicates_lines,
    hits_json,
    hits_lines,
    write_pairs_csv,
)
from datumaro_embed.records import Hit, ItemKey
from datumaro_embed.retrieval import Hits, SearchResult
from search_support import item, memory_store

EVIL = 'a\x1b[2J\n"b,\udc80\u202e'


def store():
    records = [item("train", EVIL, 0), item("val", "b", 1), item("val", "c")]
    return memory_store(np.array([[1, 0], [1, 0.01], [0, 1]]), records)


def test_hits_are_aligned_and_one_line_each() -> None:
    hits = search(store(), np.array([1.0, 0.0]))
    lines = list(hits_lines(SearchResult(Hits(hits), exact=False)))
    assert len(lines) == 5
    assert lines[0].split() == ["rank", "similarity", "item", "labels", "file"]
    assert lines[1].startswith("   1      1.0000  train/a\\x1b[2J\\n")
    assert len({line.index("cat" if "cat" in line else "dog") for line in lines[1:3]}) == 1
    assert "--exact" in lines[4]
    assert all(line.isprintable() for line in lines)
    nothing = SearchResult(Hits(), exact=True)
    assert list(hits_lines(nothing)) == ["no item matches the filters"]
    (told,) = hits_lines(nothing, min_relevance=3.0)
    assert told == "no item that matches the filters has a relevance of 3 or more"
    (told,) = hits_lines(nothing, min_relevance=3.0, filtered=False)
    assert told == "no item has a relevance of 3 or more"


def test_long_captions_are_cut() -> None:
    hits = [Hit(ItemKey("a", "b"), 0, 0.5, text="x " * 300)]
    found = SearchResult(Hits(hits), exact=True, of="captions")
    assert [*hits_lines(found)][1].split("  ")[-2] == "x " * 39 + "x…"
    assert json.loads(hits_json(found))["hits"][0]["text"] == "x " * 300


def test_hits_as_json() -> None:
    hits = search(store(), np.array([1.0, 0.0]), k=1)
    content = json.loads(hits_json(SearchResult(Hits(hits), exact=True)))
    assert content["exact"] is True
    assert content["hits"] == [
        {
            "rank": 1,
            "similarity": 1.0,
            "subset": "train",
            "id": EVIL,
            "row": 0,
            "split": "train",
            "labels": ["cat"],
            "path": "",
        }
    ]


def test_leakage_comes_first_and_conflicts_are_pointed_out() -> None:
    lines = list(duplicates_lines(find_duplicates(store())))
    assert lines[0] == "3 items, every pair compared, threshold 0.95 (default): 1 pair in 1 group"
    assert lines[1] == "pairs at 0.95 / 0.97 / 0.98 / 0.99: 1 / 1 / 1 / 1"
    assert lines[3] == "LEAKAGE: 1 pair across train, val and test"
    assert any(line.startswith("CONFLICTING LABELS in 1 group") for line in lines)
    assert all(line.isprintable() for line in lines)


def test_long_reports_are_cut_and_say_so() -> None:
    records = [item("train", f"{n:03}") for n in range(100)]
    angles = np.repeat(np.linspace(0, 3, 50), 2)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    lines = list(
        duplicates_lines(find_duplicates(memory_store(vectors, records), threshold=0.9999))
    )
    assert lines[0].endswith("50 pairs in 50 groups")
    assert lines[1] == ""  # no level is at or above the threshold
    assert lines[-1] == "… and 30 more (use --json or --csv FILE to list all)"


def test_duplicates_as_json() -> None:
    content = json.loads(duplicates_json(find_duplicates(store())))
    assert content["n_pairs_at"] == dict.fromkeys(("0.95", "0.97", "0.98", "0.99"), 1)
    assert (content["n_pairs"], content["n_leaks"], len(content["groups"])) == (1, 1, 1)
    (group,) = content["groups"]
    assert group["keep"] == {"subset": "train", "id": EVIL}
    assert [entry["split"] for entry in group["members"]] == ["train", "val"]
    assert content["pairs"][0]["second"] == {"subset": "val", "id": "b"}


def test_duplicates_as_csv(tmp_path: Path) -> None:
    write_pairs_csv(find_duplicates(store()), tmp_path / "pairs.csv")
    with (tmp_path / "pairs.csv").open(newline="", encoding="utf-8") as stream:
        (row,) = csv.DictReader(stream)
    assert row["first_id"] == csv_cell(EVIL).replace("\udc80", "\\udc80")
    assert (row["group"], row["identical"], row["across_splits"]) == ("1", "0", "1")
    assert float(row["similarity"]) > 0.999
