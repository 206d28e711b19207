"""Failures are grouped by what went wrong, whatever the message says of the one item."""

from __future__ import annotations

import pytest
from tqdm import tqdm

from datumaro_embed import ItemKey, ItemRecord, Status
from datumaro_embed.causes import cause_of, detail_of
from datumaro_embed.pipeline.progress import Progress


@pytest.mark.parametrize(
    ("one", "other", "cause"),
    [
        ("damaged PNG: broken at 0x12", "damaged PNG: chunk 3 is short", "damaged PNG"),
        ("too many bytes: 12, the limit is 8", "too many bytes: 9, the limit is 8", None),
        (
            "image file is truncated (12 bytes not processed)",
            "image file is truncated (7 bytes not processed)",
            "image file is truncated",
        ),
        (
            "cannot identify image file <_io.BytesIO object at 0x7f01>",
            "cannot identify image file <_io.BytesIO object at 0x7fff>",
            "cannot identify image file",
        ),
        (r"broken PNG file (chunk b'\x00')", r"broken PNG file (chunk b'IDAT')", None),
        ("cannot open 'a.png' at 4", "cannot open 'b.png' at 17", "cannot open … at N"),
        ("KeyError: 'a'", "KeyError: 'b'", "KeyError: …"),
    ],
)
def test_what_varies_is_no_part_of_the_cause(one: str, other: str, cause: str | None) -> None:
    assert cause_of(one) == cause_of(other)
    assert cause is None or cause_of(one) == cause


@pytest.mark.parametrize(
    "error",
    [
        "the file is empty",
        "16-bit JPEG2000 isn't read, and can't be",
        "it is HEIC. Run pip install datumaro-embed[heif]",
        "ValueError: not an image",
        "8",
    ],
)
def test_what_tells_causes_apart_stays(error: str) -> None:
    assert cause_of(error) in {error, "N"}
    assert len({cause_of(text) for text in (error, "the file is gone")}) == 2


def test_details_are_what_the_cause_leaves_out() -> None:
    assert detail_of("damaged PNG: broken", "damaged PNG") == "broken"
    assert detail_of("the file is empty", "the file is empty") == ""
    assert len(detail_of("x" * 500, "y")) == 121


def test_a_run_counts_causes_and_shows_three_items_of_each() -> None:
    with tqdm(total=100, disable=True) as bar:
        done = Progress(bar)
        for number in range(100):
            error = f"damaged PNG: broken at {number:#x}" if number % 2 else "the file is empty"
            key = ItemKey("train", f"{number:02}")
            done.note(ItemRecord(key, status=Status.UNREADABLE, error=error))
    assert [*done.failures[Status.UNREADABLE].lines("", times=" × ")] == [
        "50 × damaged PNG (train/01: broken at 0x1, train/03: broken at 0x3, "
        "train/05: broken at 0x5, …)",
        "50 × the file is empty (train/00, train/02, train/04, …)",
    ]
