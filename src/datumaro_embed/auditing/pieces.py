"""What an audit has found so far, in a folder beside its output: a killed audit goes on from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, replace
from pathlib import Path

from ..files import FileSystem, publish, resumable_workspace
from ..findings import Finding, Findings
from ..store import EmbeddingStore
from ..versions import installed_versions
from .grouping import Pair
from .proof import Proof

__all__ = ["Pieces", "pieces_beside"]


class Pieces:
    """Files of a folder, each whole or not there; nothing is kept without a folder.

    Attributes
    ----------
    proofs : dict of pair of rows to Proof or None
        What a killed audit looked at.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self.proofs: dict[Pair, Proof | None] = {}
        files = sorted(folder.glob("proofs-*.json")) if folder is not None else []
        self._n_files = len(files)
        for file in files:
            for a, b, *proof in json.loads(file.read_bytes()):
                self.proofs[a, b] = None
                if proof:
                    kind, how, score, of_second, doubts = proof
                    self.proofs[a, b] = Proof(
                        kind, tuple(how), score, tuple(of_second), tuple(doubts)
                    )

    def keep(self, proofs: Mapping[Pair, Proof | None]) -> None:
        """Keep what was looked at."""
        if self._folder is None:
            return
        rows = [
            [*pair, *([] if proof is None else astuple(proof))] for pair, proof in proofs.items()
        ]
        file, data = self._folder / f"proofs-{self._n_files:06}.json", json.dumps(rows).encode()
        publish(file, [data], len(data), FileSystem(), work=self._folder)
        self._n_files += 1

    def part(self, name: str, find: Callable[[], Iterable[Finding]]) -> Iterable[Finding]:
        """Give the findings of a part of the audit, and keep them."""
        if self._folder is None:
            return find()
        file = self._folder / f"{name}.csv"
        if file.exists():
            return [replace(row, line=0) for row in Findings.read(file)]
        found = Findings(find())
        found.to_csv(file)
        return found


@contextmanager
def pieces_beside(
    output: Path | None, store: EmbeddingStore, **options: object
) -> Iterator[Pieces]:
    """Yield the pieces of a killed audit of the same store, options and version, else new ones.

    They are removed when the block succeeds, as `output` is there then; without it none are kept.
    """
    if output is None:
        yield Pieces()
        return
    facts = (store.uuid, len(store), sorted(installed_versions().items()), sorted(options.items()))
    mark = hashlib.blake2b(repr(facts).encode(), digest_size=8).hexdigest()
    with resumable_workspace(output, mark) as folder:
        yield Pieces(folder)
