"""Flip bits, cut and overwrite a store, and say what a reader made of each mutant.

Run as a program, with limits on memory and time, so that a crash of HDF5 or USearch itself, a hang
or a bomb would be seen as one: ``python tests/hostile/store_mutants.py LAYOUT FOLDER N SEED``, with
LAYOUT ``file``, ``directory`` or ``index``, changes one file of a store, or its index, N times and
prints one line for each: ``refused``, ``found``, ``harmless``, or ``LIED`` where the content (the
hits of an index) differs and nobody noticed.
"""

from __future__ import annotations

import resource
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from datumaro_embed.errors import StoreError, StoreIndexError
from datumaro_embed.records import (
    AnnotationRecord,
    CaptionRecord,
    Categories,
    ItemKey,
    ItemRecord,
    ObjectRecord,
    ObjectStatus,
    Split,
    Status,
)
from datumaro_embed.similarity import build_graph, open_graph, write_graph
from datumaro_embed.store import EmbeddingStore, open_store
from datumaro_embed.vectors import unit_rows

sys.path.insert(0, str(Path(__file__).parents[1]))  # when it runs as a program
from store_support import begin, create_store

MAX_MEMORY_BYTES = 2 * 2**30
MAX_SECONDS = 60
VECTORS = unit_rows(np.random.default_rng(0).normal(size=(300, 16))).astype(np.float16)


def write_sample(path: Path) -> None:
    """Write a small store with every column: a file, or a directory if there is no suffix."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(12, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    annotations = (
        AnnotationRecord("bbox", label=0, ann_id=1, coords=(1.0, 2.0, 3.0, 4.0)),
        AnnotationRecord("points", label=1, coords=(1.0, 2.0), visibility=(2,)),
        AnnotationRecord("mask", label=1, rle='{"counts":"0","size":[1,1]}'),
        AnnotationRecord("caption", text="a cat", attributes={"by": "me"}),
        AnnotationRecord("cuboid_3d", extra='{"position":[1,2,3]}'),
    )
    objects = (
        ObjectRecord(0, (1.0, 2.0, 3.0, 4.0), 12.0, annotations=(0,), vector=vectors[0]),
        ObjectRecord(1, status=ObjectStatus.TOO_SMALL, annotations=(1,)),
    )
    make = partial(begin, commit_rows=4) if path.suffix == "" else create_store
    with make(path, dim=16, run_fingerprint="f" * 64) as writer:
        for row, vector in enumerate(vectors[:10]):
            failed = row % 5 == 4
            record = ItemRecord(
                ItemKey("train" if row < 6 else "val", f"{row:03d}"),
                split=Split.TRAIN if row < 6 else Split.VAL,
                path=f"images/{row:03d}.jpg",
                width=640 + row,
                height=480,
                status=Status.UNREADABLE if failed else Status.OK,
                error="cut short" if failed else "",
                content_sha256=rng.bytes(32),
                attributes={"n": row},
                annotations=annotations[: row % 6],
                objects=objects[: min(row % 6, 2)],
                captions=(CaptionRecord(3, vector),) if row % 6 > 3 else (),
            )
            writer.append(record, None if failed else vector)
        writer.set_categories(Categories(("cat", "dog"), {"label": {}}), vectors[10:])
        writer.seal({"model": {"name": "demo"}})


def content(store: EmbeddingStore) -> list[Any]:
    """Everything that a reader can be told."""
    labels = store.label_embeddings
    return [
        store.kind.fingerprint,
        store.uuid,
        [store.item(row) for row in range(len(store))],
        *(store.table(name).embeddings().tobytes() for name in ("items", "objects", "captions")),
        store.categories,
        None if labels is None else labels.tobytes(),
        store.provenance,
    ]


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip one bit, overwrite some bytes, zero a stretch, or cut the end off."""
    array = bytearray(data)
    place = int(rng.integers(len(array)))
    kind = rng.integers(6)
    if kind <= 2:
        array[place] ^= 1 << int(rng.integers(8))
    elif kind == 3:
        array[place : place + 8] = rng.bytes(min(8, len(array) - place))
    elif kind == 4:
        length = min(int(rng.integers(1, 513)), len(array) - place)
        array[place : place + length] = bytes(length)
    else:
        del array[place:]
    return bytes(array)


def judge(path: Path, expected: list[Any]) -> str:
    """What became of one mutant."""
    try:
        with open_store(path) as store:
            if store.verify():
                return "found"
            return "harmless" if content(store) == expected else "LIED"
    except StoreError as error:
        return "refused" if str(path) in str(error) else "LIED"


def write_index(path: Path) -> None:
    """Write an index of some vectors."""
    write_graph(build_graph(VECTORS, np.arange(len(VECTORS))), path, uuid="u", n_rows=len(VECTORS))


def hits(path: Path) -> list[Any]:
    """Search for some of the vectors, by their index."""
    graph = open_graph(path, uuid="u", n_rows=len(VECTORS), dim=VECTORS.shape[1])
    found = graph.nearest_rows(VECTORS, VECTORS[:20], 10)
    return [(rows.tolist(), cosines.tolist()) for rows, cosines in found]


def judge_index(path: Path, expected: list[Any]) -> str:
    """What became of one mutant of an index."""
    try:
        return "harmless" if hits(path) == expected else "LIED"
    except StoreIndexError as error:
        return "refused" if str(path) in str(error) else "LIED"


def limit() -> None:
    """Let a bomb fail; the data are a few KiB, and the libraries' own needs come to some 400 MB."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))


def main(layout: str, folder: Path, count: int, seed: int) -> None:
    """Judge `count` mutants."""
    sample = folder / ("sample" if layout == "directory" else "sample.h5")
    if layout == "index":
        write_index(sample)
        expected = hits(sample)
    else:
        write_sample(sample)
        with open_store(sample) as store:
            expected = content(store)
    files = sorted(path for path in (sample, *sample.rglob("*")) if path.is_file())
    whole = {path: path.read_bytes() for path in files if path.name != "lock"}
    rng = np.random.default_rng(seed)
    limit()
    for _ in range(count):
        signal.alarm(MAX_SECONDS)  # which ends the process
        path = list(whole)[int(rng.integers(len(whole)))]
        path.write_bytes(mutate(whole[path], rng))
        print((judge_index if layout == "index" else judge)(sample, expected), flush=True)
        path.write_bytes(whole[path])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
