"""Fixtures for the whole suite."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before NumPy is imported, here and in every process of a test: on a core that it shares, a thread
# of OpenBLAS waits for the others by spinning, which takes 30 times the processor time of the work.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

from chromium import Browser, Page, open_browser
from datumaro_embed.encoders import ClipEncoder
from support import SAMPLE, run


def pytest_configure() -> None:
    """Let Ctrl-C be heard, which a shell ignores for jobs in the background; keep bytecode.

    A container may forbid to keep it, and each worker and each process of a test compiles all anew.
    """
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Let no collection of garbage look at what was imported: each dataset read begins one."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def demo_encoder() -> ClipEncoder:
    """Return the demo model, compiled once, in f32: the same vectors on every machine."""
    return ClipEncoder.load("demo", precision="f32")


@pytest.fixture(scope="session")
def demo_as_used() -> ClipEncoder:
    """Return the demo model as every command loads it, in the precision that suits the device."""
    return ClipEncoder.load("demo")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return one browser for all tests; each has a page of its own."""
    with open_browser() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Return a new page."""
    with browser.page() as opened:
        yield opened


@pytest.fixture(scope="session")
def coco_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the store that a real `datum transform`, no fork, wrote of sample_data/coco."""
    return _transformed(tmp_path_factory.mktemp("coco"), "coco")


@pytest.fixture(scope="session")
def yolo_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same of sample_data/yolo."""
    return _transformed(tmp_path_factory.mktemp("yolo"), "yolo")


@pytest.fixture(scope="session")
def objects_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the store of sample_data/coco with its objects and captions."""
    path = tmp_path_factory.mktemp("objects") / "e.h5"
    words = ["embed", SAMPLE / "coco", "--store", path, "--model", "demo", "--objects"]
    done = run("datumaro-embed", *words, "--captions")
    assert done.returncode == 0, done.stderr
    return path


def _transformed(folder: Path, name: str) -> Path:
    out = folder / "out"
    store = out / "embeddings.h5"
    own = ["--", "--store", store, "--model", "demo"]
    words = ["transform", "-t", "clip_embed", "-o", out, SAMPLE / name, *own]
    done = run("datum", *words, fork=False)
    assert done.returncode == 0, done.stderr
    return store


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store of sample_data/coco with objects, and what an audit of it finds beside it."""
    store = tmp_path_factory.mktemp("objects") / "e.h5"
    command = ("embed", SAMPLE / "coco", "--store", store, "--model", "demo", "--objects")
    for words in (command, ("audit", store, "-o", f"{store}.findings.csv")):
        done = run("datumaro-embed", *words)
        assert done.returncode == 0, done.stderr
    return store
