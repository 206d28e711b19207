"""The page has words for what the package writes."""

from __future__ import annotations

import re
from pathlib import Path

from datumaro_embed.auditing.compare import COMPARED
from datumaro_embed.flags import AUDIT_KINDS

TEXT = Path(__file__).parents[2] / "web" / "src" / "text.ts"


def test_every_kind_of_finding_has_a_name() -> None:
    (names,) = re.findall(r"const KINDS: .*?= {(.*?)^};", TEXT.read_text("utf-8"), re.S | re.M)
    named = re.findall(r"(\w+): \"", names)
    assert {*named} == {*AUDIT_KINDS, *COMPARED, "label", "selected", "picked"}
