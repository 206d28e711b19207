"""Fixtures for runs of `crash.runs.source`."""

from __future__ import annotations

from pathlib import Path

import pytest

from crash.runs import QuickFiles, content, embed, source
from datumaro_embed import open_store


@pytest.fixture(params=["store.h5", "store"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return where a store will be, as a file and as a directory."""
    return tmp_path / request.param


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the content of a store that one undisturbed run made."""
    path = tmp_path_factory.mktemp("whole") / "store.h5"
    embed(path, source(), QuickFiles())
    with open_store(path) as store:
        return content(store)
