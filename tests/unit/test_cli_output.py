"""No name of a dataset moves the terminal's cursor, begins a line or hides one."""

from __future__ import annotations

import ast
import logging
import pickle
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import datumaro_embed
from datumaro_embed import (
    AnnotationRecord,
    Categories,
    ItemKey,
    ItemRecord,
    Status,
    find_duplicates,
)
from datumaro_embed.cli import main
from datumaro_embed.errors import DatumaroEmbedError, UsageError
from datumaro_embed.logs import log, plain_warnings
from store_support import create_store

HOSTILE = "a\x1b[2J\r\nstore  sound\x07\x9b31m\u202e\u2028end"
"""Clears the screen, begins a line that looks like ours, rings, colours, turns text around."""


def hostile_store(folder: Path) -> Path:
    path = folder / f"{HOSTILE}.h5"
    with create_store(path, dim=2, run_fingerprint=HOSTILE) as writer:
        for number in range(3):
            failed = number == 2
            annotations = (AnnotationRecord("bbox", label=number % 2, coords=(1, 2, 3, 4)),)
            record = ItemRecord(
                ItemKey(HOSTILE, f"{HOSTILE}{number}"),
                path=f"{HOSTILE}.png",
                status=Status.UNREADABLE if failed else Status.OK,
                error=HOSTILE if failed else "",
                annotations=annotations,
            )
            writer.append(record, None if failed else np.array([1.0, 0.0]))
        writer.set_categories(Categories((HOSTILE, f"{HOSTILE}!")))
        writer.seal({"model": {"name": HOSTILE, "source": HOSTILE}, "media_root": str(folder)})
    return path


def assert_harmless(text: str) -> None:
    assert [line for line in text.split("\n") if not line.isprintable()] == []
    assert "\nstore  sound" not in text


@pytest.mark.parametrize(
    "words",
    [
        ["info", "{store}", "--items", "3", "--failed"],
        ["verify", "{store}"],
        ["search", "{store}", "--item", "{key}"],
        ["search", "{store}", "--item", "{key}", "--save-to", "{out}"],
        ["search", "{store}", "--item", "{key}", "--json"],
        ["search", "{store}", "--item", "{key}x"],
        ["search", "{store}", "--item", "{key}", "--label", "\x1b[2J"],
        ["duplicates", "{store}"],
        ["duplicates", "{store}", "--json"],
        ["convert", "{store}", "--to", "npy", "-o", "{out}"],
        ["convert", "{store}", "--to", "coco", "-o", "{store}"],
        ["merge", "{store}", "-o", "{out}.h5"],
        ["repair", "{store}", "-o", "{out}.h5"],
        ["info", "{out}"],
        ["index", "{store}"],
        ["embed", "{out}", "--store", "{out}.h5", "--model", "demo"],
        ["embed", "{out}", "--store", "{out}.h5", "--model", "{out}"],
        ["pull", "{out}"],
        ["import", "{out}", "-o", "{out}.h5"],
    ],
    ids=lambda words: " ".join(words),
)
def test_commands_print_no_control_characters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: Sequence[str]
) -> None:
    store, out = hostile_store(tmp_path), tmp_path / f"out{HOSTILE}"
    names = {"store": store, "out": out, "key": f"{HOSTILE}/{HOSTILE}0"}
    main([word.format(**names) for word in words])
    said = capsys.readouterr()
    assert said.out or said.err
    assert_harmless(said.out)
    assert_harmless(said.err)


def test_only_one_module_of_the_command_line_prints() -> None:
    """A new command cannot forget to escape."""
    folder = Path(datumaro_embed.__file__).parent / "cli"
    printing = {
        path.name
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Name) and node.id == "print"
    }
    assert printing == {"console.py"}


def test_errors_name_parameters_and_the_command_line_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = hostile_store(tmp_path)
    with pytest.raises(UsageError) as caught:
        find_duplicates(store, threshold=2)
    assert str(caught.value) == "threshold must be above 0 and at most 1, not 2. Try 0.95."
    assert pickle.loads(pickle.dumps(caught.value)).with_flags() == caught.value.with_flags()
    assert main(["duplicates", str(store), "--threshold", "2"]) == 1
    assert "datumaro-embed: --threshold must be above 0" in capsys.readouterr().err
    assert main(["search", str(store), "a", "-k", "0"]) == 1
    assert "datumaro-embed: -k must be at least 1" in capsys.readouterr().err
    error = UsageError("Use ``skip_stale``; `code`, ``X y`` and ``a/b`` stay.")
    assert str(error) == "Use skip_stale; `code`, ``X y`` and ``a/b`` stay."
    assert error.with_flags() == "Use --skip-stale; `code`, ``X y`` and ``a/b`` stay."


def test_errors_and_log_lines_escape_what_they_name(caplog: pytest.LogCaptureFixture) -> None:
    error: DatumaroEmbedError = UsageError(f"There is no '{HOSTILE}'. Look.", name=HOSTILE)
    assert_harmless(str(error))
    assert error.message == f"There is no '{HOSTILE}'. Look."
    with caplog.at_level(logging.INFO, "datumaro_embed"):
        log.info("%s has rows", HOSTILE)
        logging.getLogger("datumaro_embed").warning(HOSTILE)
    assert len(caplog.messages) == 2
    assert_harmless("\n".join(caplog.messages))


def test_a_terminal_without_unicode_is_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io
    import sys

    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert main(["info", str(hostile_store(tmp_path))]) == 0
    sys.stdout.flush()
    assert re.search(rb"embeddings +3 \\xd7 2", raw.getvalue())


def test_warnings_have_no_prefix_where_nobody_configures_logging(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with plain_warnings():
        logging.warning("one of a library")  # installs a handler where there is none
        log.warning("ours")
    assert capsys.readouterr().err == "one of a library\nours\n"
    assert logging.getLogger().handlers == []
