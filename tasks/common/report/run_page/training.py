"""What was frozen, which weights were loaded, and where time and memory went."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tasks.common.machine.memory import size_text
from tasks.common.report.page.blocks import Bars, Block, Cell, Facts, Section, Table, Text
from tasks.common.report.run_page.record import RunRecord
from tasks.common.report.terminal import duration

_SHOWN: Final = 0.05  # seconds, as in the printed table
_STAGE: Final = re.compile(r"\s*(\w+)\s+(\d+) of\s+(\d+) tensors")
_ITEM: Final = re.compile(r"\s*(origin|images|dropped|converted): (.*)")


def freezing_section(run: RunRecord) -> Section | None:
    """Return what the audit saw, by stage and phase; None if there was none."""
    phases = run.audit.get("phases", [])
    if not phases:
        return None
    blocks: list[Block] = [_audit_table(phases, run.audit.get("compared"))]
    report = run.audit.get("report") or "The audit was not finished: training did not end."
    facts = {"result": report}
    if failures := run.audit.get("failures", []):
        facts["failures"] = "\n".join(failures)
    blocks.append(Facts(title="What the audit found", facts=facts))
    intro = (
        "The audit compares every tensor with its value at the start of the run, bit by bit: "
        "frozen ones must not move, and trained ones with a gradient must."
    )
    return Section(title="Freezing", blocks=blocks, intro=intro)


def weights_section(run: RunRecord) -> Section | None:
    """Return the report of the loaded weights; None without the banner's facts."""
    text = run.facts.get("weights")
    if text is None:
        return None
    rows, facts = read_weights(text)
    if lineage := run.facts.get("lineage"):
        facts["lineage"] = lineage
    if not rows:
        paragraphs = [text] if len(facts) < 2 else [f"{name}: {it}" for name, it in facts.items()]
        return Section(title="Weights", blocks=[Text(paragraphs=paragraphs)])
    table = Table(title="Loaded tensors", headings=["stage", "loaded", "of"], rows=rows)
    return Section(title="Weights", blocks=[Facts(title="Source", facts=facts), table])


def time_section(run: RunRecord) -> Section | None:
    """Return seconds by part and the most memory used; None before a run has ended."""
    seconds: Mapping[str, float] = run.metrics.get("seconds by part", {})
    shown = {part: spent for part, spent in seconds.items() if spent > _SHOWN}
    if not shown:
        return None
    total = float(run.metrics.get("seconds") or sum(seconds.values()))
    longest = max(shown, key=shown.__getitem__)
    chart = Bars(
        title="Seconds by part",
        x_label="seconds",
        values=shown,
        alt=f"Most of the {duration(total)} went into {longest}: {duration(shown[longest])}.",
    )
    facts = {**_share(longest, shown, total), **_images(run), **_memory(run)}
    blocks: list[Block] = [chart, Facts(title="Speed and memory", facts=facts)]
    return Section(title="Time and memory", blocks=blocks)


def read_weights(text: str) -> tuple[list[list[Cell]], dict[str, str]]:
    """Return the rows and the facts of a `backbones.weights.load.LoadReport` as it is printed.

    A text of another form, such as ``random initialisation``, gives no rows and itself as source.
    """
    first, *others = text.splitlines() or [""]
    rows: list[list[Cell]] = []
    facts = {"source": first.removeprefix("weights from ")}
    for line in others:
        if stage := _STAGE.fullmatch(line):
            rows.append([stage[1], int(stage[2]), int(stage[3])])
        elif item := _ITEM.fullmatch(line):
            facts[item[1]] = "\n".join(filter(None, [facts.get(item[1]), item[2]]))
    return rows, facts


def _audit_table(phases: list[dict[str, Any]], compared: Mapping[str, Any] | None) -> Table:
    stages = [row["stage"] for row in phases[-1]["stages"]]
    by_phase = [{row["stage"]: row for row in phase["stages"]} for phase in phases]
    moved = _moved(phases[-1], compared)
    rows: list[list[Cell]] = []
    for stage in stages:
        last = by_phase[-1][stage]
        states = [_state(rows_of[stage]) for rows_of in by_phase]
        rate = f"{last['peak_lr']:.3g}" if last["trainable"] else None
        rows.append([stage, last["tensors"], *states, rate, moved.get(stage, "not compared")])
    headings = ["stage", "tensors", *_spans(phases), "peak lr", "moved"]
    return Table(title="By stage", headings=headings, rows=rows)


def _state(row: Mapping[str, Any]) -> str:
    if not row["trainable"]:
        return "frozen"
    return "trains" if row["trainable"] == row["tensors"] else f"{row['trainable']} train"


def _spans(phases: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the epochs of each phase, for a heading."""
    firsts = [int(phase["first epoch"]) for phase in phases]
    if len(firsts) == 1 and firsts[0] == 1:
        yield "all epochs"
        return
    for k, first in enumerate(firsts):
        last = firsts[k + 1] - 1 if k + 1 < len(firsts) else None
        if last is None:
            yield f"epoch {first} on"
        else:
            yield f"epoch {first}" if last <= first else f"epochs {first} to {last}"


def _moved(last: Mapping[str, Any], compared: Mapping[str, Any] | None) -> dict[str, str]:
    """Return how many tensors of each stage moved; nothing if the run was not compared."""
    if compared is None:
        return {}
    same = set(compared["did not move"])
    stayed: dict[str, int] = {}
    for group in last["groups"]:
        stage = str(group["group"]).partition("/")[0]
        stayed[stage] = stayed.get(stage, 0) + len(same.intersection(group["trains"]))
    moved = {}
    for row in last["stages"]:
        stage, count = row["stage"], row["trainable"]
        moved[stage] = f"{count - stayed.get(stage, 0)} of {count}" if count else "none"
    return moved


def _share(longest: str, seconds: Mapping[str, float], total: float) -> dict[str, str]:
    return {"in all": duration(total), longest: f"{seconds[longest] / total:.0%} of the time"}


def _images(run: RunRecord) -> dict[str, str]:
    images, rate = run.metrics.get("images trained on"), run.metrics.get("images a second")
    if not images or not rate:
        return {}
    return {"images trained on": str(images), "images a second of training": f"{rate:.3g}"}


def _memory(run: RunRecord) -> dict[str, str]:
    found = run.metrics.get("peak memory") or {}
    return {f"most memory, {where}": size_text(size) for where, size in found.items() if size}
