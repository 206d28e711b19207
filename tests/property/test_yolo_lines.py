"""Label files with any lines: every image is a row, and every box that is well formed is on it."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from datumaro_embed.adapter import import_dataset
from support import assert_all_accounted

WIDTH, HEIGHT = 40, 30
NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?"
BOX = re.compile(rf"([0-2])\s+({NUMBER})\s+({NUMBER})\s+({NUMBER})\s+({NUMBER})", re.ASCII)
NAMES = ["a", "b.c", "Ä b", "1", "train", "x.jpg"]

numbers = st.one_of(
    st.floats(-2, 2).map(repr),
    st.floats(0, 1).map("{:.6f}".format),
    st.sampled_from(["9e-05", ".5", "1", "+.25", "nan", "inf", "1e999", "0x1", "1_0", "", "½"]),
)
fields = st.lists(numbers, max_size=9)
boxes = st.tuples(st.integers(0, 3), *[st.floats(0, 1)] * 4).map(lambda box: [*map(repr, box)])
separators = st.sampled_from([" ", "  ", "\t", " \t ", ","])
lines = st.one_of(
    st.tuples(separators, st.one_of(fields, boxes)).map(lambda pair: pair[0].join(pair[1])),
    st.text(max_size=12),
    st.sampled_from(["", " ", "0 .5 .5 .2 .2", " 1 .5 .5 .2 .2 ", "2 1e-3 .5 .1 .1\t# note"]),
)
ends = st.sampled_from(["\n", "\r\n", "\n\n"])
texts = st.tuples(st.lists(lines, max_size=6), ends).map(lambda pair: pair[1].join(pair[0]))
contents = st.one_of(
    texts.map(lambda text: text.encode("utf-8", "surrogatepass")),
    texts.map(lambda text: text.encode("utf-8-sig", "surrogatepass")),
    texts.map(lambda text: text.encode("utf-16", "surrogatepass")),
    st.binary(max_size=40),
    st.none(),
)
datasets = st.dictionaries(
    st.tuples(st.sampled_from(["train", "val", ""]), st.sampled_from(NAMES)),
    contents,
    min_size=3,
    max_size=8,
)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "image.png"
    Image.new("RGB", (WIDTH, HEIGHT)).save(path)
    return path


@settings(deadline=None, max_examples=50)
@given(dataset=datasets)
def test_any_label_files(image: Path, dataset: dict[tuple[str, str], bytes | None]) -> None:
    with TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "data.yaml").write_text("names: [a, b, c]\n")
        _write(root, image, {**dataset, ("train", "always"): b"0 .5 .5 .2 .2"})
        imported = import_dataset(str(root))  # raises nothing at all
        assert_all_accounted(root, imported)
        rows = {(item.key.subset, item.key.id): item for item in imported.source}
        assert len(rows) == len({*dataset, ("train", "always")})
        for (subset, name), content in dataset.items():
            item = rows[subset or "default", name].item
            found = [(ann.label, ann.get_bbox()) for ann in item.annotations]
            for label, box in _boxes(content or b""):
                assert (label, pytest.approx(box, abs=0.011, rel=1e-6)) in found


def _write(root: Path, image: Path, dataset: dict[tuple[str, str], bytes | None]) -> None:
    for (subset, name), content in dataset.items():
        for kind in ("images", "labels"):
            (root / kind / subset).mkdir(parents=True, exist_ok=True)
        (root / "images" / subset / f"{name}.png").hardlink_to(image)
        if content is not None:
            (root / "labels" / subset / f"{name}.txt").write_bytes(content)


def _boxes(content: bytes) -> list[tuple[int, list[float]]]:
    """Return the boxes that a reader who knows no more than the format finds."""
    encoding = "utf-16" if content[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    matches = (
        BOX.fullmatch(line.strip()) for line in content.decode(encoding, "replace").splitlines()
    )
    found = []
    for match in filter(None, matches):
        x, y, w, h = (float(match[number]) for number in (2, 5, 8, 11))
        box = [(x - w / 2) * WIDTH, (y - h / 2) * HEIGHT, w * WIDTH, h * HEIGHT]
        if max(map(abs, box)) < 1e15:
            found.append((int(match[1]), box))
    return found
