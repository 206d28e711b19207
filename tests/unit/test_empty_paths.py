"""An empty path, as of an unset shell variable, is not the current folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from datumaro_embed import cli, import_vectors, open_store
from datumaro_embed.adapter import import_dataset
from datumaro_embed.errors import UsageError
from datumaro_embed.files import check_output
from datumaro_embed.place import StorePlace

SAID = "The path is empty. Check the shell variables in it."
COMMANDS = [
    ["embed", "", "--store", "s.h5"],
    ["embed", "data", "--store", ""],
    ["embed", "data", "--store", "s.h5", "--model", ""],
    ["info", ""],
    ["verify", ""],
    ["verify", "s.h5", "--dataset", ""],
    ["search", "", "cat"],
    ["search", "s.h5", "cat", "--save-to", ""],
    ["search", "s.h5", "--image", ""],
    ["search", "s.h5", "cat", "--media-root="],
    ["duplicates", "s.h5", "--csv", ""],
    ["audit", "s.h5", "-o", ""],
    ["audit", "s.h5", "--html", ""],
    ["compare", "s.h5", ""],
    ["label", "s.h5", "--labels-file", "", "-o", "f.csv"],
    ["select", "s.h5", "-k", "2", "-o", ""],
    ["explore", "s.h5", "--findings", ""],
    ["apply", "", "data", "-o", "out"],
    ["apply", "f.csv", "", "-o", "out"],
    ["apply", "f.csv", "data", "-o", ""],
    ["apply", "f.csv", "data", "-o", "out", "--plan", ""],
    ["report", "s.h5", "-o", ""],
    ["convert", "s.h5", "--to", "csv", "-o", ""],
    ["merge", "", "-o", "s.h5"],
    ["merge", "s.h5", "-o", ""],
    ["repair", "s.h5", "-o", ""],
    ["compact", ""],
    ["index", ""],
    ["import", "v.npy", "--ids", "", "-o", "s.h5"],
    ["pull", "demo", "-o", ""],
    ["export-model", "", "-o", "out"],
    [
        "import-model",
        "",
        "-o",
        "out",
        "--size",
        "32",
        *["--mean", "0", "0", "0", "--std", "1", "1", "1"],
    ],
    ["calibrate", ""],
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_refuses_it(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith(f": {SAID}\n")
    assert list(tmp_path.iterdir()) == []


def test_python_refuses_it(tmp_path: Path) -> None:
    for call in (
        StorePlace.of,
        open_store,
        import_dataset,
        check_output,
        lambda path: import_vectors(path, tmp_path / "s.h5"),
    ):
        with pytest.raises(UsageError, match="The path is empty"):
            call("")
