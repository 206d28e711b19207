"""docs/tour.md: every command is run, and the review is done in a browser."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from chromium import EXECUTABLE
from support import REPO, run

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(EXECUTABLE is None, reason="Chromium is not installed"),
]


def test_the_tour(tmp_path: Path) -> None:
    script = REPO / "scripts" / "docs" / "make_outputs.py"
    done = run(sys.executable, script, "--folder", tmp_path, "tour.md")
    assert done.returncode == 0, done.stderr

    def parts(path: Path) -> tuple[str, str]:
        """Give the page before and after the review, without times."""
        text = re.sub(r"\d+(\.\d+)? (s|images/s)\b", "", path.read_text("utf-8"))
        before, _, after = text.partition("## 4. Apply")
        return before, after

    before, after = parts(tmp_path / "tour.md")
    assert after == parts(REPO / "docs" / "tour.md")[1]
    assert "2 of 69 items dropped (train 2)" in after
    assert re.search("leak +4 +drop 2 +train/", before)
    for copy, other in (("photo_02", "photo_06"), ("scene_012", "scene_041")):
        assert re.search(f"train/{copy} +the same picture as val/{other}", before)
    for name in re.findall(r"images/(tour-\w+\.webp)", before):
        with Image.open(REPO / "docs" / "images" / name) as old, Image.open(tmp_path / name) as new:
            assert old.size == new.size
