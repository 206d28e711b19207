"""Write docs/commands.md from the parser itself; `--check` only tells whether it is up to date.

    python scripts/docs/make_commands.py [--check]

Built from the parser's arguments rather than from its help text, which Python's versions word and
wrap differently.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from datumaro_embed.cli import GROUPS, build_parser

TARGET = Path(__file__).parents[2] / "docs" / "commands.md"


def page() -> str:
    """Return the whole page."""
    parser = build_parser()
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    lines = [
        "# Commands",
        "",
        "<!-- Made by scripts/docs/make_commands.py; a test compares. -->",
        "",
        "`datumaro-embed COMMAND --help` prints the same text. Exit status: 0 done, 1 failed (one",
        "line gives the cause and the next step), 2 wrong usage, 3 unfinished store, 130 or 143",
        "interrupted.",
    ]
    for title, group in GROUPS.items():
        lines += ["", f"| {title} | |", "|---|---|"]
        lines += [f"| [`{name}`](#{name}) | {_cell(line)} |" for name, (line, *_) in group.items()]
    for name, command in commands.choices.items():
        lines += ["", f"## {name}", "", *_command(name, command)]
    return "\n".join(lines) + "\n"


def _command(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    actions = [a for a in parser._actions if not isinstance(a, argparse._HelpAction)]
    yield f"    datumaro-embed {name} {' '.join(_usage(actions))}"
    yield ""
    yield _text(parser, parser.description or "")
    if actions:
        yield ""
        yield "| argument | |"
        yield "|---|---|"
    groups = {a: group.title for group in parser._action_groups[2:] for a in group._group_actions}
    for action in actions:
        only = f"{groups[action]}: " if action in groups else ""
        yield f"| `{_cell(_invocation(action))}` | {_cell(only + _help(parser, action))} |"
    if parser.epilog:
        yield ""
        yield _text(parser, parser.epilog)


def _usage(actions: list[argparse.Action]) -> Iterator[str]:
    for action in actions:
        if action.option_strings and action.required:
            yield _invocation(action).split(", ")[0].split(" ")[0] + " " + _value(action)
    if any(action.option_strings and not action.required for action in actions):
        yield "[OPTIONS]"
    for action in actions:
        if not action.option_strings:
            value = _value(action)
            yield {"*": f"[{value} …]", "+": f"{value} …", "?": f"[{value}]"}.get(
                str(action.nargs), value
            )


def _invocation(action: argparse.Action) -> str:
    if not action.option_strings:
        return _value(action)
    names = ", ".join(action.option_strings)
    return names if action.nargs == 0 else f"{names} {_value(action)}"


def _value(action: argparse.Action) -> str:
    if isinstance(action.metavar, str):
        return action.metavar
    if action.choices is not None:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return action.dest if not action.option_strings else action.dest.upper()


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """Give an argument's help with its defaults filled in."""
    return parser._get_formatter()._expand_help(action) if action.help else ""


def _text(parser: argparse.ArgumentParser, text: str) -> str:
    return text % {"prog": parser.prog} if "%(" in text else text


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> int:
    """Write the page, or compare it."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--check", action="store_true")
    wanted = page()
    if arguments.parse_args().check:
        if TARGET.exists() and TARGET.read_text(encoding="utf-8") == wanted:
            return 0
        print(f"{TARGET.name} is out of date: run python scripts/docs/make_commands.py")
        return 1
    TARGET.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
