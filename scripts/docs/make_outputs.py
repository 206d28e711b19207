"""Run the commands that docs/audit.md, duplicates.md and search.md show, and write what they print.

    python scripts/docs/make_outputs.py

Blocks marked ``shell-session`` are made anew: each line that begins with ``$`` is run, all of a
page in one folder, beside a link to `sample_data`. Run again when the demo model changes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).parents[2]
PAGES = ("audit.md", "duplicates.md", "search.md")
_BLOCK = re.compile(r"(?<=^```shell-session\n).*?(?=^```$)", flags=re.MULTILINE | re.DOTALL)


def with_outputs(markdown: str, folder: Path) -> str:
    """Return the page with the output of every command below it."""

    def made_anew(block: re.Match[str]) -> str:
        commands = [line[2:] for line in block[0].splitlines() if line.startswith("$ ")]
        return "\n".join(f"$ {command}\n{_run(command, folder)}" for command in commands)

    return _BLOCK.sub(made_anew, markdown)


def _run(command: str, folder: Path) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{command}: {done.stderr}")
    return done.stdout


def main() -> None:
    """Rewrite the pages."""
    for name in PAGES:
        page = REPO / "docs" / name
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "sample_data").symlink_to(REPO / "sample_data")
            page.write_text(with_outputs(page.read_text("utf-8"), Path(folder)), "utf-8")
        print(page.relative_to(REPO))


if __name__ == "__main__":
    main()
