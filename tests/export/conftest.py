"""The export tests: skipped, with the reason, where the export extra is not installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from datumaro_embed.exporting import export_model

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.export)


@pytest.fixture(scope="session", autouse=True)
def _needs_the_export_extra() -> None:
    for package in ("torch", "transformers", "optimum.intel"):
        pytest.importorskip(package, reason="needs datumaro-embed[export]")


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random-weight CLIP checkpoint."""
    from checkpoints import write_clip

    return write_clip(tmp_path_factory.mktemp("checkpoint") / "tiny-clip")


@pytest.fixture(scope="session")
def model_dir(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a model directory."""
    return export_model(checkpoint, tmp_path_factory.mktemp("models") / "tiny")
