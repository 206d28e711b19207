"""Print every runnable block of a Markdown file as one shell script.

    python scripts/docs/readme_commands.py README.md | bash -euo pipefail

Blocks marked ``sh`` are printed as they are; ``python`` blocks are fed to python. Other blocks
(``text``, ``console``) are for reading. CI runs the result in a fresh clone, so what README.md
shows is what works.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

_BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


def script(markdown: str) -> str:
    """Return the shell script."""
    parts = []
    for language, body in _BLOCK.findall(markdown):
        parts.append(body if language == "sh" else f"python - <<'PYTHON'\n{body}PYTHON\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(script(Path(sys.argv[1]).read_text(encoding="utf-8")))
