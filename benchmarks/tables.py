"""A throughput result as Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from results import Results

REFERENCES = ("transformers f32", "transformers bf16", "sentence-transformers f32")


def markdown(results: Results, title: str) -> str:
    """Return a page: machine, table, agreement, what was left out."""
    lines = [f"# {title}", "", *_facts(results), "", *_speeds(results)]
    if results.agreement:
        lines += ["", *_agreements(results)]
    if results.skipped:
        lines += ["", "Left out:", ""]
        lines += [f"- {name}: {reason}" for name, reason in results.skipped.items()]
    return "\n".join([*lines, ""])


def limit_of(name: str, results: Results) -> str | None:
    """Return the limit that one of ours is held against: the same model and precision."""
    kind, _, rest = name.partition(" ")
    precision = rest.split(",")[0]
    if precision == "default":
        precision = str(results.contestants[name]["facts"].get("precision", "bf16"))
    limit = f"limit {precision}"
    return limit if kind == "ours" and limit in results.names() else None


def _facts(results: Results) -> Iterator[str]:
    machine, settings = results.machine, results.settings
    isa = ", ".join(machine["instructions"]) or "none of note"
    yield (
        f"{machine['cpu']}, {settings['threads']} cores ({isa}), {machine['memory_gb']} GB, "
        f"Python {machine['python']}. {settings['n_images']} JPEGs of {settings['image_px']}, "
        f"{settings['model']}. Medians of {len(results.rounds)} interleaved rounds; ratios are "
        f"medians of the ratios within a round. Other processes took {_elsewhere(results):.1%} of "
        "all cores meanwhile."
    )


def _elsewhere(results: Results) -> float:
    """Mean over all runs."""
    runs = (runs[name] for runs in results.rounds for name in runs)
    shares = [run["elsewhere"] for run in runs if "elsewhere" in run]
    return sum(shares) / len(shares) if shares else 0.0


def _speeds(results: Results) -> Iterator[str]:
    references = [name for name in REFERENCES if name in results.names()]
    head = ["", "images/s", "range", *(f"÷ {name}" for name in references), "÷ benchmark_app"]
    yield _row([*head, "core-ms per image", "peak RSS MB"])
    yield _row(["---", *["---:"] * (len(head) + 1)])
    for name in results.names():
        rates = results.rates(name)
        limit = limit_of(name, results)
        cells = [name, f"{results.median_rate(name):.1f}", f"{min(rates):.1f}–{max(rates):.1f}"]
        cells += [_ratio(results.ratio(name, other)) for other in references]
        cells += [_ratio(results.ratio(name, limit)) if limit else ""]
        yield _row([*cells, *_costs(results, name)])


def _costs(results: Results, name: str) -> list[str]:
    """Milliseconds of a core for an image, and the most memory; empty for the limits."""
    if results.contestants[name]["kind"] == "limit":
        return ["", ""]
    runs = [runs[name] for runs in results.rounds if name in runs]
    spent = sum(run["cpu_seconds"] for run in runs) / sum(run["n_images"] for run in runs)
    return [f"{1000 * spent:.1f}", f"{max(run['peak_rss_mb'] for run in runs):.0f}"]


def _agreements(results: Results) -> Iterator[str]:
    yield "Vectors of the same images against those of the first line:"
    yield ""
    yield _row(["", "cosine, least", "cosine, mean", "recall@10"])
    yield _row(["---", "---:", "---:", "---:"])
    for name, found in results.agreement.items():
        cosines = (f"{found['cosine_min']:.5f}", f"{found['cosine_mean']:.5f}")
        yield _row([name, *cosines, f"{found['recall_at_10']:.3f}"])


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
