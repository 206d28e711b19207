"""What is generated from the code is what the code generates now, and what docs show runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from support import REPO, SAMPLE, run, run_script

pytestmark = pytest.mark.slow


def test_the_command_pages_are_up_to_date() -> None:
    done = run(sys.executable, REPO / "scripts" / "docs" / "make_commands.py", "--check")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(not (REPO / ".ci").exists(), reason="a source archive has no benchmarks/")
def test_every_path_of_a_script_or_benchmark_exists() -> None:
    places = ["*", ".ci/*", "examples/*", "models/*/*", "sample_data/*"]
    places += [f"{folder}/**/*" for folder in ("benchmarks", "docs", "scripts", "src", "tests")]
    kinds = {"", ".Dockerfile", ".json", ".md", ".py", ".toml", ".yaml"}
    files = {file for place in places for file in REPO.glob(place) if file.suffix in kinds}
    gone = [
        f"{file.relative_to(REPO)}: {path}"
        for file in sorted(filter(Path.is_file, files))
        for path in re.findall(r"(?<![\w./-])(?:scripts|benchmarks)/[\w./-]*\w", file.read_text())
        if not (REPO / path).exists() and not (file.parent / path).exists()
    ]
    assert gone == []


@pytest.mark.parametrize(
    ("page", "extra"),
    [
        ("coming-from-explore-prune.md", "datumaro"),
        ("distributed.md", "ray"),
        ("experimental.md", "polars"),
        ("exports.md", "datumaro"),
        ("findings.md", "datumaro"),
    ],
)
def test_python_shown_in_docs_runs(page: str, extra: str, tmp_path: Path) -> None:
    pytest.importorskip(extra, reason=f"{extra} is not installed")
    (tmp_path / "sample_data").symlink_to(SAMPLE)
    markdown = (REPO / "docs" / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", markdown, flags=re.MULTILINE | re.DOTALL)
    assert blocks
    script = tmp_path / "block.py"
    for block in blocks:
        script.write_text(block, encoding="utf-8")
        done = run(sys.executable, script, cwd=tmp_path) if extra == "ray" else run_script(script)
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_the_extensions_shown_in_docs_keep_the_contracts(tmp_path: Path) -> None:
    """The page's blocks are one program, and its last one is collected by pytest."""
    (tmp_path / "sample_data").symlink_to(SAMPLE)
    markdown = (REPO / "docs" / "extending.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", markdown, flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "test_mine.py").write_text("\n".join(blocks))
    done = run(sys.executable, "-m", "pytest", "-q", "test_mine.py", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Run the examples in their order in one folder, and return what each printed."""
    folder = tmp_path_factory.mktemp("examples")
    printed = {}
    for example in sorted((REPO / "examples").glob("[0-9]*.py")):
        done = run_script(example, "--folder", folder)
        assert done.returncode == 0, f"{example.name}: {done.stderr}"
        printed[example.name] = done.stdout
    return printed


def test_example_embed(outputs: dict[str, str]) -> None:
    assert outputs["1_embed.py"].startswith("69 items, ")
    assert "0 failed" in outputs["1_embed.py"]
    assert "train/photo_08  annotations 1  " in outputs["1_embed.py"]


def test_example_search(outputs: dict[str, str]) -> None:
    lines = outputs["2_search.py"].splitlines()
    assert [line.split()[0] for line in lines] == ["text"] * 3 + ["picture"] * 3 + ["example"] * 3
    assert "1.000  train/photo_01" in lines[3]
    assert all("  val/" in line for line in lines[6:])


def test_example_clean(outputs: dict[str, str]) -> None:
    before, after = re.search(r"(\d+) items before, (\d+) after", outputs["3_clean.py"]).groups()  # type: ignore[union-attr]
    assert int(before) == 69
    assert 0 < int(after) < 69


def test_example_export(outputs: dict[str, str]) -> None:
    assert "69 with a picture" in outputs["4_export.py"]
    assert "imported again: 69 items, imported" in outputs["4_export.py"]
