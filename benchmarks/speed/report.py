"""What a benchmark leaves: a table in Markdown, JSON, and a plot."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.speed.clock import Comparison, Measured
from tasks.common.files.atomic import replacing
from tasks.common.report.run_folder import write_json, write_text

Results = list[tuple[Comparison, dict[str, Measured]]]

HEAD = ("system", "median s", "fastest", "slowest", "speed-up", "peak MiB", "parameters")


def rows(measured: Mapping[str, Measured], base: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Return a row per system, under `HEAD`.

    Args:
        measured: By system.
        base: Which system each is compared with.
    """
    return [
        (
            name,
            *(f"{s:.3f}" for s in (one.median, min(one.seconds), max(one.seconds))),
            f"{measured[base[name]].median / one.median:.2f}",
            "" if one.memory is None else f"{one.memory:.0f}",
            "" if one.parameters is None else f"{one.parameters / 1e6:.1f} M",
        )
        for name, one in measured.items()
    ]


def markdown(results: Results, *, heading: str) -> str:
    """Return a table per comparison.

    Args:
        results: What was measured.
        heading: Machine, command and date.
    """
    parts = [heading]
    for comparison, measured in results:
        lines = [HEAD, ("---",) * len(HEAD), *rows(measured, comparison.base)]
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        parts.append(f"### {comparison.title}\n\n{table}")
    return "\n\n".join(parts) + "\n"


def figure(results: Results) -> Figure:
    """Return the speed-ups of every comparison as bars, with the spread of the repeats."""
    counts = [len(measured) for _, measured in results]
    drawing = Figure(
        figsize=(9, 1.2 + 0.32 * sum(counts) + 0.6 * len(counts)), layout="constrained"
    )
    axes = drawing.subplots(len(results), 1, squeeze=False, height_ratios=counts)[:, 0]
    for ax, (comparison, measured) in zip(axes, results, strict=True):
        names = list(measured)
        bases = [measured[comparison.base[name]].median for name in names]
        ups = [base / measured[name].median for name, base in zip(names, bases, strict=True)]
        low = [
            up - base / max(measured[name].seconds)
            for name, base, up in zip(names, bases, ups, strict=True)
        ]
        high = [
            base / min(measured[name].seconds) - up
            for name, base, up in zip(names, bases, ups, strict=True)
        ]
        colors = ["#0072B2" if name.startswith("Keel") else "#999999" for name in names]
        ax.barh(names, ups, xerr=[low, high], color=colors, ecolor="#444444", capsize=2)
        ax.bar_label(ax.containers[-1], [f"{up:.2f}" for up in ups], padding=4)
        ax.axvline(1, color="#444444", linewidth=0.8, linestyle=":")
        ax.set_xlim(0, max(up + h for up, h in zip(ups, high, strict=True)) * 1.12)
        ax.invert_yaxis()
        ax.set_title(comparison.title, fontsize=10, loc="left")
    axes[-1].set_xlabel("times as fast (median; bars: slowest and fastest repeat)")
    return drawing


def write(results: Results, folder: Path, *, heading: str, facts: Mapping[str, Any]) -> None:
    """Write ``benchmark.md``, ``benchmark.json`` and ``benchmark.png``.

    Args:
        results: What was measured.
        folder: Where to; made if it is not there.
        heading: Of the Markdown.
        facts: Of the machine and the command, for the JSON.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "benchmark.md", markdown(results, heading=heading))
    entries = [
        {"title": c.title, "base": c.base, "systems": {n: asdict(m) for n, m in measured.items()}}
        for c, measured in results
    ]
    write_json(folder / "benchmark.json", {**facts, "comparisons": entries})
    with replacing(folder / "benchmark.png") as partial:
        figure(results).savefig(partial, format="png", dpi=110)
