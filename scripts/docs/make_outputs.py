"""Run the commands that pages of docs/ show, and write what they print.

    python scripts/docs/make_outputs.py [--folder DIR] [PAGE.md ...]

Blocks marked ``shell-session`` are made anew: each line that begins with ``$`` is run, all of a
page in one folder, beside a link to `sample_data`. `explore` is opened in headless Chromium, and
the review of the tour is done by keyboard, with pictures. Run again when the demo model changes.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).parents[2]
sys.path.insert(0, str(REPO / "tests"))

from chromium import Page, open_page  # noqa: E402

PAGES = ("audit.md", "duplicates.md", "search.md", "tour.md")
_BLOCK = re.compile(r"(?<=^```shell-session\n).*?(?=^```$)", flags=re.MULTILINE | re.DOTALL)
_PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
_QUALITY = 82


def with_outputs(markdown: str, folder: Path, images: Path) -> str:
    """Return the page with the output of every command below it."""

    def made_anew(block: re.Match[str]) -> str:
        commands = [line[2:] for line in block[0].splitlines() if line.startswith("$ ")]
        return "\n".join(f"$ {command}\n{run(command)}" for command in commands)

    def run(command: str) -> str:
        if command.startswith("datumaro-embed explore "):
            return _explore(command, folder, images)
        return _run(command, folder)

    return _BLOCK.sub(made_anew, markdown)


def _run(command: str, folder: Path) -> str:
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": _PATH},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{command}: {done.stderr}")
    return done.stdout


def _explore(command: str, folder: Path, images: Path) -> str:
    """Do what the tour says: accept both leaks, keep two labels, end the explorer."""
    words = [*shlex.split(command), "--no-browser"]
    env = {**os.environ, "PATH": _PATH}
    with subprocess.Popen(words, cwd=folder, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            address = re.search(r"http://\S+", process.stdout.readline())
            assert address
            with open_page() as page:
                _review(page, address[0], images)
        finally:
            process.terminate()
    return ""


def _review(page: Page, url: str, images: Path) -> None:
    def press(key: str, reviewed: str) -> None:
        page.key(key)
        shown = "document.querySelector('.bar output')?.textContent"
        page.wait_for(f"({shown} ?? '').startsWith('{reviewed} of')")

    def photograph(name: str) -> None:
        page.wait_for("!document.querySelector('.finding .waiting, .context .waiting')")
        page.wait_for("[...document.images].every(image => image.complete)")
        page.screenshot(images / name, quality=_QUALITY)

    page.go(url, width=1400, height=900)
    page.wait_for("document.querySelector('.tile img')")
    press("r", "0")
    page.wait_for("document.querySelector('.finding img')")
    photograph("tour-leak.webp")
    press("a", "1")
    press("a", "2")
    page.key("n")
    page.wait_for("document.querySelector('.near img')")
    press("Escape", "2")  # the labels of a dropped image are settled
    photograph("tour-label.webp")
    press("x", "3")
    press("x", "4")


def main() -> None:
    """Rewrite the pages."""
    parser = argparse.ArgumentParser()
    parser.add_argument("pages", nargs="*", default=PAGES, metavar="PAGE.md")
    parser.add_argument(
        "--folder", type=Path, help="write pages and pictures here, and not to docs/"
    )
    chosen = parser.parse_args()
    docs = REPO / "docs"
    for name in chosen.pages:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "sample_data").symlink_to(REPO / "sample_data")
            images = chosen.folder or docs / "images"
            made = with_outputs((docs / name).read_text("utf-8"), Path(folder), images)
        out = (chosen.folder or docs) / name
        out.write_text(made, "utf-8")
        print(out)


if __name__ == "__main__":
    main()
