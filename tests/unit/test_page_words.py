"""The page has words for what the package writes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from datumaro_embed.auditing.compare import COMPARED
from datumaro_embed.errors import UsageError
from datumaro_embed.flags import AUDIT_KINDS
from datumaro_embed.page.serving import listening_at

TEXT = Path(__file__).parents[2] / "web" / "src" / "text.ts"


def test_every_kind_of_finding_has_a_name() -> None:
    (names,) = re.findall(r"const KINDS: .*?= {(.*?)^};", TEXT.read_text("utf-8"), re.S | re.M)
    named = re.findall(r"(\w+): \"", names)
    assert {*named} == {*AUDIT_KINDS, *COMPARED, "label", "selected", "picked"}


def test_a_port_that_cannot_be_says_which_can() -> None:
    with pytest.raises(UsageError, match=r"^port must be from 0 to 65535 .*, not 80000"):
        listening_at(80_000)
