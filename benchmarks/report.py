"""What a speed benchmark writes: tables in Markdown, JSON, and a plot."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.harness import Comparison, Measured, Progress
from benchmarks.tables import markdown_table
from tasks.common.report.curves import write_figure
from tasks.common.report.run_folder import write_json, write_text

Results = list[tuple[Comparison, dict[str, Measured]]]

HEAD = ("system", "median s", "fastest", "slowest", "speed-up", "peak MiB", "parameters", "note")


def speed_ups(comparison: Comparison, measured: Mapping[str, Measured]) -> dict[str, float]:
    """Return how many times as fast as its base each system is, by the medians.

    NaN where the base is not measured yet.
    """
    bases = {name: measured.get(comparison.base_of(name)) for name in measured}
    return {
        name: math.nan if (base := bases[name]) is None else base.median / one.median
        for name, one in measured.items()
    }


def line(comparison: Comparison, step: Progress) -> str:
    """Return what a terminal shows of a step that was just measured."""
    if step.done:
        return "all is measured"
    up = speed_ups(comparison, step.measured).get(step.name, math.nan)
    compared = "" if math.isnan(up) else f"{up:.2f} x"
    what = f"round {step.round}" if step.round else "warm-up"
    left = f"about {step.left / 60:.1f} min left, and the memory" if comparison.memory else ""
    left = left or f"about {step.left / 60:.1f} min left"
    return f"  {what:8}  {step.name:52}  {step.seconds:9.3f} s  {compared:7}  {left}".rstrip()


def rows(comparison: Comparison, measured: Mapping[str, Measured]) -> list[tuple[str, ...]]:
    """Return a row per system, under `HEAD`."""
    ups = speed_ups(comparison, measured)
    return [
        (
            name,
            *(f"{s:.3f}" for s in (one.median, min(one.seconds), max(one.seconds))),
            "" if math.isnan(ups[name]) else f"{ups[name]:.2f}",
            "" if one.memory is None else f"{one.memory:.0f}",
            "" if one.parameters is None else f"{one.parameters / 1e6:.1f} M",
            one.note,
        )
        for name, one in measured.items()
    ]


def table(comparison: Comparison, measured: Mapping[str, Measured]) -> str:
    """Return the title and the table of a comparison, without columns that are empty."""
    columns = list(zip(HEAD, *rows(comparison, measured), strict=True))
    head, *body = zip(*(column for column in columns if any(column[1:])), strict=True)
    return f"### {comparison.title}\n\n{markdown_table(head, body)}"


def figure(results: Results) -> Figure:
    """Return the speed-ups of every comparison as bars, with the spread of the repeats."""
    counts = [len(measured) for _, measured in results]
    height = 1.2 + 0.32 * sum(counts) + 0.6 * len(counts)
    drawing = Figure(figsize=(9, height), layout="constrained")
    axes = drawing.subplots(len(results), 1, squeeze=False, height_ratios=counts)[:, 0]
    for ax, (comparison, measured) in zip(axes, results, strict=True):
        ups = speed_ups(comparison, measured)
        ranges = [
            (up * (1 - one.median / max(one.seconds)), up * (one.median / min(one.seconds) - 1))
            for up, one in zip(ups.values(), measured.values(), strict=True)
        ]
        colors = ["#0072B2" if name.startswith("Keel") else "#999999" for name in ups]
        spread = list(zip(*ranges, strict=True))
        ax.barh([*ups], [*ups.values()], xerr=spread, color=colors, ecolor="#444444", capsize=2)
        ax.bar_label(ax.containers[-1], [f"{up:.2f}" for up in ups.values()], padding=4)
        ax.axvline(1, color="#444444", linewidth=0.8, linestyle=":")
        ax.margins(x=0.12)
        ax.invert_yaxis()
        ax.set_title(comparison.title, fontsize=10, loc="left")
    axes[-1].set_xlabel("times as fast (median; bars: slowest and fastest repeat)")
    return drawing


def write(results: Results, folder: Path, *, facts: Mapping[str, Any]) -> None:
    """Write ``benchmark.md``, ``benchmark.json`` and ``benchmark.png`` to a folder."""
    heading = "\n".join(f"- {key}: {value}" for key, value in facts.items())
    tables = [table(*result) for result in results]
    write_text(folder / "benchmark.md", "\n\n".join([heading, *tables]) + "\n")
    entries = [
        {
            "title": comparison.title,
            "base": {name: comparison.base_of(name) for name in measured},
            "systems": {name: asdict(one) for name, one in measured.items()},
        }
        for comparison, measured in results
    ]
    write_json(folder / "benchmark.json", {**facts, "comparisons": entries})
    write_figure(figure(results), folder / "benchmark.png")
