"""A run opens no connection and forks no process: an audit hook of Python sees every attempt."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support import SAMPLE

CODE = """
import sys

seen = []

def hook(event, arguments):
    if event in {"socket.connect", "socket.getaddrinfo", "socket.sendto", "os.fork", "os.forkpty"}:
        seen.append((event, str(arguments)))

sys.addaudithook(hook)
from datumaro_embed.cli import main

status = main(["embed", sys.argv[1], "--store", sys.argv[2], "--model", "demo"])
print(status, seen)
"""


def test_embedding_neither_connects_nor_forks(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CODE, str(SAMPLE / "yolo"), str(tmp_path / "e.h5")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout.splitlines()[-1:] == ["0 []"], done.stdout + done.stderr
