"""What the rounds of a benchmark say: medians, ratios of the same round, agreement of vectors."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float32]
FORMAT = 1


@dataclass
class Results:
    """Everything a run writes; `rounds` grows, the rest stays.

    Attributes
    ----------
    settings, machine : dict
        A file with others is not appended to.
    contestants : dict
        By name: kind, versions, facts.
    skipped : dict
        By name: why.
    agreement : dict
        By name: cosine with the reference's rows, recall of its neighbours.
    rounds : list of dict
        In each, by name, what one run of the contestant took.
    """

    settings: dict[str, Any]
    machine: dict[str, Any]
    contestants: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    agreement: dict[str, dict[str, float]] = field(default_factory=dict)
    rounds: list[dict[str, dict[str, float]]] = field(default_factory=list)

    def rates(self, name: str) -> list[float]:
        """Images a second in every round it took part in."""
        return [_rate(runs[name]) for runs in self.rounds if name in runs]

    def median_rate(self, name: str) -> float:
        """Median over the rounds, images a second."""
        return statistics.median(self.rates(name))

    def ratio(self, name: str, other: str) -> float | None:
        """Median over the rounds of one's rate in the other's; None where they never met."""
        both = [
            _rate(runs[name]) / _rate(runs[other])
            for runs in self.rounds
            if name in runs and other in runs
        ]
        return statistics.median(both) if both else None

    def names(self) -> list[str]:
        """Contestants that ran at least once, in their order."""
        return [name for name in self.contestants if self.rates(name)]

    def save(self, path: Path) -> None:
        """Write as JSON, by one rename."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=1, sort_keys=False)
        partial.write_text(text + "\n", encoding="utf-8")
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read what `save` wrote."""
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") != FORMAT:
            raise SystemExit(f"{path} is of another version of this script. Move it away.")
        return cls(**content)

    def continued(self, path: Path) -> Results:
        """Return what a file has already of the same measurement, or this where there is none."""
        if not path.exists():
            return self
        found = Results.load(path)
        if (found.settings, found.machine) != (self.settings, self.machine):
            raise SystemExit(
                f"{path} was measured with other settings or on another machine:\n"
                f"{found.settings} {found.machine}\n{self.settings} {self.machine}\n"
                "Give --append another file."
            )
        return found


def agreement(rows: Rows, reference: Rows, *, k: int = 10) -> dict[str, float]:
    """Compare rows with those of the reference for the same images.

    Returns
    -------
    dict
        The least and the mean cosine of a row with its counterpart, and the mean share of an
        image's `k` nearest others that both agree on.
    """
    cosines = np.sum(_unit(rows) * _unit(reference), axis=1)
    found, wanted = _neighbours(rows, k), _neighbours(reference, k)
    shared = [len(set(a) & set(b)) / k for a, b in zip(found, wanted, strict=True)]
    return {
        "cosine_min": float(cosines.min()),
        "cosine_mean": float(cosines.mean()),
        f"recall_at_{k}": float(np.mean(shared)),
    }


def compare_all(folder: Path, names: Mapping[str, str]) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield each contestant's agreement with the first of `names`, which maps names to files."""
    rows = {name: np.load(folder / file) for name, file in names.items()}
    if not rows:
        return
    reference = next(iter(rows.values()))
    for name, found in rows.items():
        if found.shape == reference.shape:
            yield name, agreement(found, reference)


def _neighbours(rows: Rows, k: int) -> npt.NDArray[np.intp]:
    similarities = _unit(rows) @ _unit(rows).T
    np.fill_diagonal(similarities, -np.inf)
    return np.argsort(-similarities, axis=1, kind="stable")[:, :k]


def _unit(rows: Rows) -> Rows:
    unit: Rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _rate(run: Mapping[str, float]) -> float:
    return run["n_images"] / run["seconds"]
