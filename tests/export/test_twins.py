"""Twins of the catalogue's models, pulled by their short names from a hub on 127.0.0.1.

True width, depth, files and preprocessing, random weights. CLIP and MobileCLIP have their real
tokenizer; the others are small ones of the same kind, as theirs are not public here.

No library has the text encoder of MobileCLIP-S0: its twin has MobileCLIP2-S0's, and proves only the
image half. jina-clip-v2's text encoder has 4 of its 24 layers.

Twins that are not in `QUICK` run with ALL_TWINS=1: they take minutes each, and jina-clip-v2's 18 GB
of memory (`-k` picks one).
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parity import cosines, mixed_images
from strings import strings

from datumaro_embed import Findings, explore
from datumaro_embed.encoders import Encoder, load_encoder
from datumaro_embed.exporting import pull_model
from datumaro_embed.models import CATALOGUE, load_manifest
from datumaro_embed.models.tokenizers import TextTokenizer
from explore_support import Client
from hub_server import HubServer, clients_of, listing
from support import SAMPLE, run

pytestmark = pytest.mark.slow
TEXTS = [*strings(31, seed=3), "a text that is far longer than the context " * 20]
SMALL_TOKENIZER = {"tokens": ()}
ENGLISH = {"proof_texts": ()}  # the small vocabulary has few Chinese words


def twin(kind: str, *shape: Any) -> Callable[[Path, int], Expected]:
    """A function that writes a twin with one of twins.py, which imports torch."""
    return partial(write, kind, shape)


@dataclass(frozen=True)
class Expected:
    """The library's vectors and tokens; None for an image-only model."""

    images: Any
    texts: Any = None
    tokens: Any = None


def write(kind: str, shape: tuple[Any, ...], folder: Path, n_images: int) -> Expected:
    import twins

    theirs = getattr(twins, kind)(folder, *shape)
    images = theirs.images(mixed_images(n_images))
    if theirs.texts is None:
        return Expected(images)
    return Expected(images, theirs.texts(TEXTS), np.asarray(theirs.tokens(strings(500))))


TWINS: dict[str, tuple[Callable[[Path, int], Expected], dict[str, Any]]] = {
    "clip-vit-base-patch32": (twin("clip", 224, 32, 768, 12, 512), {}),
    "clip-vit-base-patch16": (twin("clip", 224, 16, 768, 12, 512), {}),
    "clip-vit-large-patch14": (twin("clip", 224, 14, 1024, 24, 768), {}),
    "clip-vit-large-patch14-336": (twin("clip", 336, 14, 1024, 24, 768), {}),
    "siglip-base-patch16-224": (twin("siglip", 224, 16, 768, 12, 32000), {}),
    "siglip2-base-patch16-224": (twin("siglip", 224, 16, 768, 12, 256000), SMALL_TOKENIZER),
    "siglip2-large-patch16-256": (twin("siglip", 256, 16, 1024, 24, 256000), SMALL_TOKENIZER),
    "siglip2-large-patch16-384": (twin("siglip", 384, 16, 1024, 24, 256000), SMALL_TOKENIZER),
    "siglip2-so400m-patch14-384": (
        twin("siglip", 384, 14, 1152, 27, 256000, 16, 4304),
        SMALL_TOKENIZER,
    ),
    "chinese-clip-vit-base-patch16": (twin("chinese_clip"), ENGLISH),
    "jina-clip-v1": (twin("jina_clip_v1"), {}),
    "jina-clip-v2": (twin("jina_clip", 24, 4), {}),
    "mobileclip-s0": (twin("mobileclip", "MobileCLIP2-S0", "onnx"), {}),  # see above
    "mobileclip-s1": (twin("mobileclip", "MobileCLIP-S1", "onnx"), {}),
    "mobileclip-s2": (twin("mobileclip", "MobileCLIP-S2", "onnx"), {}),
    "mobileclip2-s0": (twin("mobileclip", "MobileCLIP2-S0", "onnx/s0"), {}),
    "mobileclip2-s2": (twin("mobileclip", "MobileCLIP2-S2", "onnx/s2"), {}),
    "dinov2-small": (twin("dino", "Dinov2", 384, 6), {}),
    "dinov2-base": (twin("dino", "Dinov2", 768, 12), {}),
    "dinov2-with-registers-small": (twin("dino", "Dinov2WithRegisters", 384, 6), {}),
    "dinov3-vits16": (twin("dino", "DINOv3ViT", 384, 6), {}),
    "dinov3-vitb16": (twin("dino", "DINOv3ViT", 768, 12), {}),
}


QUICK = {  # one of each kind; the others need ALL_TWINS=1
    "clip-vit-base-patch32",
    "siglip-base-patch16-224",
    "chinese-clip-vit-base-patch16",
    "mobileclip2-s0",
    "dinov2-small",
}


@pytest.fixture(autouse=True)
def _needs_onnx() -> None:
    pytest.importorskip("onnx", reason="needs onnx, with which torch writes the twins")


def sized(name: str) -> Any:
    skips = name not in QUICK and not os.environ.get("ALL_TWINS")
    return pytest.param(name, marks=[pytest.mark.skipif(skips, reason="needs ALL_TWINS=1")])


def written(name: str, folder: Path) -> Expected:
    """Write a twin; a large one in a process of its own, as torch keeps much of the memory."""
    write_twin, _ = TWINS[name]
    if name in QUICK:
        return write_twin(folder, 8)  # one image of each mode
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(write_twin, folder, 4).result()


def pulled(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Expected]:
    """Write a twin, and pull it as the model that it stands for."""
    expected, facts = written(name, tmp_path / "repository"), TWINS[name][1]
    entry = replace(CATALOGUE[name], knows_cats=False, **facts)
    monkeypatch.setitem(CATALOGUE, name, entry)
    served = {entry.repo_id: tmp_path / "repository"}
    listing(entry.repo_id, tmp_path / "repository")  # computes digests before a client waits
    (tmp_path / "models").mkdir()
    with HubServer(served) as hub, clients_of(hub, tmp_path / "hf"):
        return pull_model(name, tmp_path / "models" / name, revision="main"), expected


@pytest.mark.parametrize("name", [sized(name) for name in TWINS])
def test_the_twin_has_the_librarys_vectors_and_tokens(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, expected = pulled(name, tmp_path, monkeypatch)
    assert not load_manifest(model).one_by_one  # batches are faster, and right here
    encoder = load_encoder(model, precision="f32", batch_size=2, streams=1)
    images = mixed_images(len(expected.images))
    pairs = [(encoder.embed_images(images), expected.images)]
    if isinstance(encoder, Encoder):
        pairs.append((encoder.embed_texts(TEXTS), expected.texts))
        text = load_manifest(model).text
        found = TextTokenizer(model / "tokenizer.json", text)(strings(500))[0]
        np.testing.assert_array_equal(found, expected.tokens)
    lowest = [float(cosines(pair).min()) for pair in pairs]
    print(name, "lowest cosines, images and texts:", *lowest)
    assert min(lowest) >= 0.99999


def test_dinov2_small_does_all_that_needs_no_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = pulled("dinov2-small", tmp_path, monkeypatch)
    monkeypatch.setenv("DATUMARO_EMBED_MODELS", str(model.parent))
    store, findings = tmp_path / "e.h5", tmp_path / "findings.csv"
    done = run("datumaro-embed", "embed", SAMPLE / "coco", "--store", store, "--model", model.name)
    assert done.returncode == 0, done.stderr
    assert "LEAKAGE" in run("datumaro-embed", "duplicates", store, "--across-splits").stdout
    done = run("datumaro-embed", "audit", store, "-o", findings)
    assert done.returncode == 0, done.stderr
    assert {"outlier", "leak"} <= {finding.kind for finding in Findings.read(findings)}
    asked = run("datumaro-embed", "search", store, "a cat", "--model", model.name)
    assert (asked.returncode, len(asked.stderr.splitlines())) == (1, 1)
    assert "has no text encoder" in asked.stderr
    with explore(store, findings=findings) as explorer:
        page = Client(explorer.url)
        assert page.wait_for_task("encoder")["state"] == "done"
        assert page.rows(like=5)[0] == 5
        assert "has no text encoder" in page.json("api/rows", 400, text="a cat")["error"]
