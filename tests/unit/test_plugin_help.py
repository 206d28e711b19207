"""The help of our transforms reads as it is written: under `datum`, and in Python."""

from __future__ import annotations

import inspect
import re
from importlib.metadata import entry_points

import pytest

import datumaro_embed_bridge

OURS = [
    entry
    for entry in entry_points(group="datumaro.plugins")
    if entry.module.startswith("datumaro_embed.")
]


@pytest.mark.parametrize("entry", OURS, ids=lambda entry: entry.name)
def test_help_is_the_docstring_without_markup(entry) -> None:
    plugin = entry.load()
    written = inspect.getdoc(plugin)
    help_text = plugin.build_cmdline_parser().format_help()
    assert written in help_text
    assert not re.search(r"\|[ns]|%\(", help_text)
    assert max(map(len, written.splitlines())) <= 80
    assert f"datum transform -t {entry.name} " in help_text


@pytest.mark.parametrize("entry", OURS, ids=lambda entry: entry.name)
def test_examples_in_help_can_be_parsed(entry) -> None:
    """What the help tells to type after ``--`` is accepted by the parser that prints it."""
    parser = entry.load().build_cmdline_parser()
    examples = re.findall(r"-- \\\n\s+(.*)", parser.format_help())
    assert examples
    for example in examples:
        words = [quoted or plain for quoted, plain in re.findall(r'"([^"]*)"|(\S+)', example)]
        parser.parse_args(words)


@pytest.mark.parametrize(
    ("words", "ours"),
    [
        (["datum", "transform", "-t", "clip_embed", "-o", "out", "data"], True),
        (["datum", "--loglevel", "info", "transform", "-tclip_search", "data"], True),
        (["datum", "transform", "data", "--transform=clip_duplicates"], True),
        (["datum", "transform", "-t", "rename", "clip_data:coco"], False),
        (["datum", "stats", "clip_embed"], False),
        (["train.py"], False),
        ([], False),
    ],
)
def test_only_our_transforms_condense_datumaros_warnings(words: list[str], ours: bool) -> None:
    assert datumaro_embed_bridge.runs_our_transform(words) is ours
