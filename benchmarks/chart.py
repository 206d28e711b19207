"""A throughput result as a bar chart (SVG)."""

from __future__ import annotations

from pathlib import Path

from results import Results

COLOURS = {"ours": "#0b6e99", "peer": "#9aa5ad", "limit": "#e0e4e7"}
KINDS = {"ours": "datumaro-embed, to a sealed store", "peer": "others", "limit": "benchmark_app"}


def draw(results: Results, path: Path) -> None:
    """Draw the medians, with the least and the most of the rounds as a line, fastest last."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "datumaro-embed"  # the same picture for the same numbers
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    names = sorted(results.names(), key=results.median_rate)
    medians = [results.median_rate(name) for name in names]
    kinds = [results.contestants[name]["kind"] for name in names]
    around = [
        [median - min(results.rates(name)) for name, median in zip(names, medians, strict=True)],
        [max(results.rates(name)) - median for name, median in zip(names, medians, strict=True)],
    ]
    figure, axes = pyplot.subplots(figsize=(8, 0.36 * len(names) + 1.2), layout="constrained")
    bars = axes.barh(names, medians, xerr=around, color=[COLOURS[kind] for kind in kinds])
    axes.bar_label(bars, [f"{value:.1f}" for value in medians], padding=6)
    axes.set_xlabel(f"images a second, {results.settings['threads']} cores, file to vector")
    axes.set_xlim(0, 1.12 * max(medians))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        handles=[Patch(color=COLOURS[kind], label=KINDS[kind]) for kind in KINDS if kind in kinds],
        loc="lower right",
        frameon=False,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
