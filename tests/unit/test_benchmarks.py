"""The benchmark's arithmetic, and that its command runs, resumes and writes what it says."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import REPO, run

BENCHMARKS = REPO / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def made_results(**rates: list[float]) -> Any:
    from results import Results

    results = Results({"threads": 2, "n_images": 100, "image_px": "8 × 8", "model": "m"}, MACHINE)
    for name, values in rates.items():
        kind = name.split("_")[0]
        label = name.replace("_", " ")
        results.contestants[label] = {"kind": kind, "facts": {"precision": "bf16"}}
        for number, rate in enumerate(values):
            if len(results.rounds) <= number:
                results.rounds.append({})
            cost = {"cpu_seconds": 200 / rate, "peak_rss_mb": 10.0 * number}
            results.rounds[number][label] = {"n_images": 100, "seconds": 100 / rate, **cost}
    return results


MACHINE = {"cpu": "a CPU", "instructions": [], "memory_gb": 1, "python": "3"}


def test_a_ratio_is_the_median_of_the_ratios_within_rounds() -> None:
    results = made_results(ours_f32=[10.0, 40.0, 30.0], peer_x=[10.0, 10.0, 20.0])
    assert results.median_rate("ours f32") == pytest.approx(30.0)
    assert results.ratio("ours f32", "peer x") == pytest.approx(1.5)


def test_who_missed_a_round_is_compared_in_those_it_had() -> None:
    results = made_results(ours_f32=[10.0, 40.0, 30.0], peer_x=[10.0, 10.0])
    assert results.ratio("ours f32", "peer x") == pytest.approx(2.5)
    assert results.ratio("ours f32", "peer y") is None


def test_ours_is_held_against_the_limit_of_the_precision_that_ran() -> None:
    from tables import limit_of, markdown

    results = made_results(limit_bf16=[50.0], limit_f32=[20.0], ours_default=[45.0])
    assert limit_of("ours default", results) == "limit bf16"
    assert limit_of("limit bf16", results) is None
    line = next(line for line in markdown(results, "T").splitlines() if "| ours default |" in line)
    assert line == "| ours default | 45.0 | 45.0–45.0 | 0.90 | 44.4 | 0 |"


def test_equal_rows_agree_wholly_and_turned_ones_do_not() -> None:
    from results import agreement

    rows = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    assert agreement(3 * rows, rows) == pytest.approx(
        {"cosine_min": 1.0, "cosine_mean": 1.0, "recall_at_10": 1.0}
    )
    assert agreement(rows[::-1], rows)["recall_at_10"] < 0.6


def test_results_are_read_back_and_others_are_refused(tmp_path: Path) -> None:
    results = made_results(ours_f32=[10.0])
    results.save(tmp_path / "r.json")
    assert made_results().continued(tmp_path / "r.json") == results
    other = made_results()
    other.settings["threads"] = 4
    with pytest.raises(SystemExit, match="other settings"):
        other.continued(tmp_path / "r.json")


def test_the_estimate_is_core_seconds_by_cores() -> None:
    from estimate import core_seconds, duration

    results = made_results(ours_f32=[40.0])
    assert core_seconds(results, "ours f32") == pytest.approx(0.05)
    assert duration(50_000 / 2) == "6.9 h"
    assert duration(3 * 86_400) == "3.0 days"
    assert duration(100) == "100 s"


def test_a_worker_that_fails_says_why(tmp_path: Path) -> None:
    from workers import Worker, WorkerFailedError

    command = [sys.executable, "-c", "raise SystemExit('no model here')"]
    with pytest.raises(WorkerFailedError, match="no model here"):
        Worker(command, tmp_path / "log.txt", threads=1)


def test_batches_are_prepared_in_order_and_none_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS / "peers"))
    from serving import prepared_ahead

    files = [Path(str(number)) for number in range(70)]
    batches = list(prepared_ahead(lambda path: int(path.name), files, batch_size=8, threads=3))
    assert [len(batch) for batch in batches] == [8] * 8 + [6]
    assert [number for batch in batches for number in batch] == list(range(70))


@pytest.mark.slow
def test_the_command_measures_appends_and_writes_table_and_chart(tmp_path: Path) -> None:
    pytest.importorskip("skimage", reason="the extra `drawings` is not installed")
    target = tmp_path / "result.json"
    command = [sys.executable, BENCHMARKS / "throughput.py", "--quick", "--rounds", "1"]
    command += ["--model", "demo", "--only", "ours f32", "--only", "datumaro 1.11.1"]
    for _ in range(2):
        done = run(*command, "--work", tmp_path / "work", "--append", target)
        assert done.returncode == 0, done.stderr
    content = json.loads(target.read_text())
    assert len(content["rounds"]) == 2
    assert all(runs["ours f32"]["n_images"] == 64 for runs in content["rounds"])
    assert content["agreement"]["ours f32"]["recall_at_10"] == 1.0
    assert "datumaro==1.11.1" in content["skipped"]["datumaro 1.11.1 explorer"]
    assert "| ours f32 | " in target.with_suffix(".md").read_text()
    assert "<svg" in target.with_suffix(".svg").read_text()


def test_each_model_of_the_catalogue_has_an_architecture() -> None:
    from architectures import ARCHITECTURES
    from datumaro_embed.models import CATALOGUE

    names = [name for names in ARCHITECTURES for name in names]
    assert sorted(names) == sorted(CATALOGUE)
    sides = {name: found.side for names, found in ARCHITECTURES.items() for name in names}
    assert sides == {name: entry.size_px for name, entry in CATALOGUE.items()}


def test_a_row_has_the_medians_of_the_ratios_within_turns() -> None:
    from precision import BESIDE, row

    rates = {"beside": [10.0, 20.0, 30.0], "f32": [1.0, 2.0, 6.0], "bf16": [2.0, 5.0, 12.0]}
    assert row(("a", "b"), rates) == "| `a`, `b` | 0.1 | 2.00 |"
    assert row(BESIDE, {**rates, "int8": [3.0, 6.0, 24.0]}).endswith(
        "| 1 (2 images/s) | 2.00 | 3.00 |"
    )
