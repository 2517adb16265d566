"""What a run came to: the first look, the tables of scores, the curves."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from tasks.common.report.logged import Series, is_smoothed, logged_panels, smoothed
from tasks.common.report.page.blocks import (
    Alerts,
    Block,
    Cell,
    Facts,
    Figure,
    Figures,
    Line,
    LineChart,
    Mark,
    Section,
    Table,
)
from tasks.common.report.run_page.record import RunRecord
from tasks.common.report.terminal import duration

OVERALL: Final = "all classes"
_NAMES_OF_OVERALL: Final = ("mean",)  # of tasks whose scores have a class for each key
_ELSEWHERE: Final = ("weights", "lineage", "run folder")  # facts that other sections show
_MOST_LINES: Final = 8  # of a chart
_AXES: Final = {"validation": "score", "validation, other": "value"}

Scores = dict[str, dict[str, Cell]]  # by class, then by metric


def overview(run: RunRecord) -> Section:
    """Return the first section: the main numbers, what went wrong, what was trained on what."""
    facts = {name: text for name, text in run.facts.items() if name not in _ELSEWHERE}
    warnings = [text for name, text in facts.items() if name.startswith("warning")]
    shown = {name: text for name, text in facts.items() if not name.startswith("warning")}
    blocks: list[Block] = []
    if figures := list(_figures(run)):
        blocks.append(Figures(figures=figures))
    if faults := run.metrics.get("failed", {}):
        texts = [f"{what}: {why}" for what, why in faults.items()]
        blocks.append(Alerts(title="Failed after the training", texts=texts))
    if warnings:
        blocks.append(Alerts(title="Warnings", texts=warnings))
    if shown:
        blocks.append(Facts(title="What was trained on what", facts=shown))
    intro = "" if run.ended == "finished" else f"This run: {run.ended}."
    return Section(title="Overview", blocks=blocks, intro=intro)


def subtitle(run: RunRecord) -> str:
    """Return the line below the page's title."""
    started = str(run.environment.get("started", ""))
    day = datetime.fromisoformat(started).strftime("%Y-%m-%d %H:%M") if started else ""
    backbone = run.facts.get("backbone", "").partition(",")[0]
    title = str(run.run.get("title", "")).removeprefix("Keel: ")
    return " · ".join(filter(None, [title, backbone, day, run.ended]))


def scores_section(run: RunRecord) -> Section | None:
    """Return the tables of the best checkpoint's scores; None if there are none."""
    splits = {name: read_scores(content) for name, content in _scored(run).items()}
    tables = [table for split, scores in splits.items() for table in _by_class(split, scores)]
    if others := _others(splits):
        tables.append(others)
    if not tables:
        return None
    epoch = run.metrics.get("best epoch")
    chosen = f"Of the best checkpoint, after epoch {epoch}." if epoch else ""
    return Section(title="Scores", blocks=tables, intro=chosen)


def curves_section(run: RunRecord) -> Section | None:
    """Return the curves of what was logged; None if nothing was."""
    panels = logged_panels(run.logged, run.run.get("shown", ()))
    charts = [_chart(run, title, series) for title, series in panels.items()]
    if not charts:
        return None
    intro = "Drag to zoom, double-click to reset; a click on a name hides its line."
    return Section(title="Curves", blocks=charts, intro=intro)


def read_scores(content: Mapping[str, Any]) -> Scores:
    """Return scores by class and metric, of either form that metrics.json has.

    >>> read_scores({"ap": 0.5, "ap/cell": 0.25})
    {'all classes': {'ap': 0.5}, 'cell': {'ap': 0.25}}
    >>> read_scores({"mean": {"dice": 0.5}})
    {'all classes': {'dice': 0.5}}
    """
    scores: Scores = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            scores[OVERALL if name in _NAMES_OF_OVERALL else name] = dict(value)
        else:
            metric, _, of = name.partition("/")
            scores.setdefault(of or OVERALL, {})[metric] = value
    return scores


def _scored(run: RunRecord) -> dict[str, Mapping[str, Any]]:
    """Return what metrics.json has of each split, the one that was tested first."""
    tested = str(run.metrics.get("scored split", "test"))
    found = {tested: run.metrics.get("scores")}
    if tested != "val" or not found[tested]:
        found["val"] = run.metrics.get("val")
    return {split: content for split, content in found.items() if content}


def _by_class(split: str, scores: Scores) -> Iterator[Table]:
    classes = [name for name in scores if name != OVERALL]
    if not classes:
        return
    metrics = list(dict.fromkeys(metric for name in classes for metric in scores[name]))
    names = [*classes, *([OVERALL] if OVERALL in scores else [])]
    rows = [[name, *(scores[name].get(metric) for metric in metrics)] for name in names]
    yield Table(title=f"By class, {split}", headings=["class", *metrics], rows=rows)


def _others(splits: Mapping[str, Scores]) -> Table | None:
    """Return the scores that no class has, a column per split."""
    overall = {split: scores.get(OVERALL, {}) for split, scores in splits.items()}
    by_class = {m for scores in splits.values() for c in scores if c != OVERALL for m in scores[c]}
    metrics = dict.fromkeys(m for scores in overall.values() for m in scores if m not in by_class)
    if not metrics:
        return None
    rows = [[metric, *(scores.get(metric) for scores in overall.values())] for metric in metrics]
    return Table(title="All classes together", headings=["metric", *overall], rows=rows)


def _figures(run: RunRecord) -> Iterator[Figure]:
    name = run.monitor
    for split, content in _scored(run).items():
        value = read_scores(content).get(OVERALL, {}).get(name)
        if isinstance(value, float):
            yield Figure(value=f"{value:.3f}", label=f"{run.score} on {split}")
    if run.metrics.get("best epoch"):
        yield Figure(value=str(run.metrics["best epoch"]), label="best epoch")
    if frozen := run.facts.get("frozen"):
        stages, _, reason = frozen.partition(" (")
        yield Figure(value=stages, label="frozen at the start", note=reason.rstrip(")"))
    if seconds := run.metrics.get("seconds"):
        rate = run.metrics.get("images a second")
        note = f"{rate:.3g} images a second of training" if rate else ""
        yield Figure(value=duration(seconds), label="time in all", note=note)


def _chart(run: RunRecord, title: str, series: Series) -> LineChart:
    lines = [line for name, (x, y) in series.items() for line in _lines(title, name, x, y)]
    x_label = "epoch" if title.startswith("validation") else "step"
    ranges = (f"{name} from {y[0]:.3g} to {y[-1]:.3g}" for name, (_, y) in series.items())
    return LineChart(
        title=title[0].upper() + title[1:],
        x_label=x_label,
        y_label=_AXES.get(title, title),
        lines=lines,
        marks=_marks(run, series),
        alt=f"{title} by {x_label}: {'; '.join([*ranges][:_MOST_LINES])}.",
    )


def _lines(title: str, name: str, x: Sequence[float], y: Sequence[float]) -> Iterator[Line]:
    if title == "loss" and is_smoothed(name, y):
        yield Line(name=name, x=x, y=y, faint=True)
        yield Line(name=name, x=x, y=[*map(float, smoothed(y))])
    else:
        yield Line(name=name, x=x, y=y)


def _marks(run: RunRecord, series: Series) -> list[Mark]:
    """Mark the best epoch, if it was logged: that of a resumed run may not be."""
    x, y = series.get(f"val/{run.monitor}", ([], []))
    epoch = run.metrics.get("best epoch")
    if epoch not in x:
        return []
    value = y[x.index(epoch)]
    return [Mark(x=epoch, y=value, text=f"best {run.score} {value:.3f}")]
