"""What can go wrong around a pull: killed, disk full, a moved branch, odd caches, a proxy.

Nothing half installed, nothing left behind, and the same command succeeds afterwards.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from datumaro_embed.models import load_manifest
from hub_server import COMMIT, HubServer
from support import run

pytestmark = pytest.mark.slow

TINY = Path(__file__).parents[1] / "golden" / "hub" / "tiny-clip"
LARGE = "onnx/vision_model.onnx"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """Serve a copy of the tiny CLIP to processes with caches of their own."""
    repository = Path(shutil.copytree(TINY, tmp_path / "repository"))
    for name in ("out", "tmp"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "30")
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    with HubServer({"org/tiny": repository}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def pulls(target: Path, *options: str) -> None:
    """Pull, and check that the model is whole and nothing else is beside it."""
    target.parent.mkdir(exist_ok=True)
    done = run("datumaro-embed", "pull", "org/tiny", "-o", target, *options)
    assert done.returncode == 0, done.stderr
    assert load_manifest(target).dim == 16
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def fails(done: subprocess.CompletedProcess[str], target: Path, why: str) -> None:
    """Check that a pull is one line, and left nothing."""
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert why in done.stderr
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_pull_that_is_stopped_in_a_download(
    tmp_path: Path, hub: HubServer, number: signal.Signals
) -> None:
    hub.faults[LARGE] = "stall"
    target = tmp_path / "out" / "m"
    command = [sys.executable, "-m", "datumaro_embed.cli", "pull", "org/tiny", "-o", str(target)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 300
        while not any(r.startswith("GET") and r.endswith(LARGE) for r in hub.requests):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(number)
        status = process.wait(300)
        assert process.stderr is not None
        said = process.stderr.read()
    expected = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    assert status == expected, said
    assert not target.exists()
    left = [*(tmp_path / "tmp").iterdir(), *target.parent.iterdir()]
    assert bool(left) == (number == signal.SIGKILL)
    if number != signal.SIGKILL:
        assert len(said.splitlines()) == 1
        assert list(target.parent.iterdir()) == []
    hub.faults.clear()
    pulls(target)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_no_room_for_the_download(tmp_path: Path, hub: HubServer) -> None:
    target = tmp_path / "out" / "m"
    code = (
        "import resource, sys\n"
        "from datumaro_embed.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        f"sys.exit(main(['pull', 'org/tiny', '-o', {str(target)!r}]))"
    )
    done = run(sys.executable, "-c", code)
    fails(done, target, f"Cannot download {LARGE} of org/tiny: OSError: [Errno 27]")
    assert "free disk space" in done.stderr
    pulls(target)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk(
    tmp_path: Path, hub: HubServer, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the model, then that of the cache, and that of temporary files."""
    (small_disk / "models").mkdir()
    done = run("datumaro-embed", "pull", "org/tiny", "-o", small_disk / "models" / "m")
    fails(done, small_disk / "models" / "m", "Disk full")
    done = run(
        *("datumaro-embed", "pull", "org/tiny", "-o", small_disk / "models" / "m"),
        *("--precision", "fp16"),
    )
    fails(done, small_disk / "models" / "m", "Disk full")
    monkeypatch.setenv("HF_HOME", str(small_disk / "hf"))
    target = tmp_path / "out" / "m"
    done = run("datumaro-embed", "pull", "org/tiny", "-o", target)
    fails(done, target, "No space left on device")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    pulls(target)
    monkeypatch.setenv("TMPDIR", str(small_disk))
    shutil.rmtree(small_disk / "hf")
    with (small_disk / "fill").open("wb", buffering=0) as file:
        with suppress(OSError):
            while file.write(bytes(4096)):
                pass
        file.truncate(file.tell() - 8192)  # Python does not use one that is wholly full
    done = run(sys.executable, "-m", "datumaro_embed.cli", "pull", "org/tiny", "-o", f"{target}2")
    assert f"Disk full (No space left on device) at '{small_disk}'" in done.stderr


def test_a_branch_that_moves(tmp_path: Path, hub: HubServer) -> None:
    target = tmp_path / "out" / "m"
    pulls(target)
    first = load_manifest(target)
    hub.commit = COMMIT[::-1]
    folder = hub.repositories["org/tiny"]
    shutil.copyfile(folder / "onnx" / "vision_model_fp16.onnx", folder / LARGE)
    pulls(target, "--overwrite")
    second = load_manifest(target)
    assert (first.revision, second.revision) == (COMMIT, COMMIT[::-1])
    assert first.fingerprint != second.fingerprint
    (tmp_path / "other").mkdir()
    done = run(
        "datumaro-embed", "pull", "org/tiny", "--revision", COMMIT, "-o", tmp_path / "other" / "m"
    )
    fails(done, tmp_path / "other" / "m", "repository or revision does not exist")


def test_caches_that_are_links(tmp_path: Path, hub: HubServer) -> None:
    for name in ("hf", "cache"):
        (tmp_path / "elsewhere" / name).mkdir(parents=True)
        (tmp_path / name).symlink_to(tmp_path / "elsewhere" / name)
    done = run("datumaro-embed", "pull", "org/tiny")
    assert done.returncode == 0, done.stderr
    assert load_manifest(Path(done.stdout.strip())).dim == 16
    assert (tmp_path / "elsewhere" / "cache" / "datumaro-embed" / "models" / "tiny").is_dir()
    pulls(tmp_path / "out" / "m")


def test_a_cache_without_links(
    tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without links to blobs, an offline pull does not know the digests, and must not guess."""
    hf = tmp_path / "hf"
    pulls(tmp_path / "out" / "links")
    linked = Path(shutil.copytree(hf, tmp_path / "linked", symlinks=True))
    shutil.copytree(hf, tmp_path / "plain", symlinks=False)
    shutil.rmtree(hf)
    monkeypatch.setenv("HF_HUB_DISABLE_SYMLINKS", "1")
    pulls(tmp_path / "disabled" / "m")
    monkeypatch.delenv("HF_HUB_DISABLE_SYMLINKS")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for cache in (hf, tmp_path / "plain"):
        monkeypatch.setenv("HF_HOME", str(cache))
        before = sorted(cache.rglob("*"))
        pulls(tmp_path / f"from-{cache.name}" / "m")
        assert sorted(cache.rglob("*")) == before
    monkeypatch.setenv("HF_HOME", str(linked))
    target = tmp_path / "out" / "links"
    shutil.rmtree(target)
    command = ("datumaro-embed", "pull", "org/tiny", "-o", target)
    fails(run(*command, "--weights", "int8"), target, "int8 weights of org/tiny are not all in the")
    blob = next(linked.rglob(LARGE)).resolve()
    blob.write_bytes(b"damaged")
    fails(run(*command), target, f"{LARGE} of org/tiny is damaged in the cache, and HF_HUB_OFFLINE")
    assert blob.read_bytes() == b"damaged"


def test_a_cache_that_cannot_be_written(
    tmp_path: Path, hub: HubServer, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that an administrator filled for all: read, not copied."""
    pulls(tmp_path / "out" / "m")
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    shutil.copytree(tmp_path / "hf", small_disk / "hf", symlinks=True)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    monkeypatch.setenv("HF_HOME", str(small_disk / "hf"))
    for offline in ("0", "1"):
        monkeypatch.setenv("HF_HUB_OFFLINE", offline)
        pulls(tmp_path / "out" / "m", "--overwrite")


def test_a_proxy(tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's name cannot be resolved here; only the proxy can be reached."""
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    target = tmp_path / "out" / "m"
    fails(run("datumaro-embed", "pull", "org/tiny", "-o", target), target, "Check the connection")
    monkeypatch.setenv("HTTP_PROXY", hub.url)
    pulls(target)
    assert hub.hosts == {"hub.invalid"}
