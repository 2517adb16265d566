"""The founding claims, measured on the machine at hand: tables, pictures, a page to keep."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.study.degradation import Curve, Training, degradation
from benchmarks.study.figures import degradation_figure, gradients_figure, save
from benchmarks.study.gradients import IMAGES, WIDTH, Norms, measure
from benchmarks.study.gratings import SIZE
from benchmarks.study.pairs import KINDS
from tasks.common.files.atomic import replacing
from tasks.common.machine.machine import describe
from tasks.common.machine.threads import prepare_cpu

Rows = list[list[str]]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is measured.

    Attributes:
        gradient_depths: Weight layers of the networks whose gradients are measured.
        depths: Weight layers of the networks that are trained.
        training: How.
        seeds: One network of each kind and depth per seed.
    """

    gradient_depths: Sequence[int] = (10, 20, 50, 100)
    depths: Sequence[int] = (8, 20, 56)
    training: Training = field(default_factory=Training)
    seeds: Sequence[int] = (0,)


QUICK: Final = Plan(gradient_depths=(10, 100), depths=(8, 32), training=Training(steps=120))


def plan(*, quick: bool, seed: int, seeds: int, steps: int | None) -> Plan:
    """Return what a command line asks for.

    Args:
        quick: Fewer and shallower networks, for a look.
        seed: The first seed.
        seeds: How many seeds.
        steps: Updates of each training; the plan's own when None.

    Raises:
        ValueError: If ``seeds`` or ``steps`` is not positive.
    """
    for name, value in (("seeds", seeds), ("steps", steps)):
        if value is not None and value < 1:
            raise ValueError(f"--{name} takes a positive number, got {value}.")
    chosen = QUICK if quick else Plan()
    if steps is not None:
        chosen = replace(chosen, training=replace(chosen.training, steps=steps))
    return replace(chosen, seeds=range(seed, seed + seeds))


def gradient_rows(norms: Sequence[Norms]) -> tuple[list[str], Rows]:
    """Return the head and the rows of the table of gradients.

    Args:
        norms: Of `benchmarks.study.gradients.measure`.
    """
    depths = list(norms[0].by_layer)
    head = ["network", "initialisation", *(f"first of {depth}" for depth in depths)]
    head += [f"last of {depths[-1]}", "first / last"]
    rows = []
    for entry in norms:
        values = [entry.by_layer[depth][0] for depth in depths]
        values += [entry.by_layer[depths[-1]][-1], entry.ratio(depths[-1])]
        rows.append([entry.kind, entry.setting, *(f"{value:.1e}" for value in values)])
    return head, rows


def degradation_rows(curves: Sequence[Curve]) -> tuple[list[str], Rows]:
    """Return the head and the rows of the table of trained networks, mean and range over seeds.

    Args:
        curves: Of `benchmarks.study.degradation.degradation`.
    """
    head = ["weight layers"]
    head += [f"{kind}, {what}" for kind in KINDS for what in ("loss", "error (%)")]
    rows = []
    for depth in sorted({curve.depth for curve in curves}):
        row = [str(depth)]
        for kind in KINDS:
            finals = [c.final() for c in curves if (c.kind, c.depth) == (kind, depth)]
            losses, errors = zip(*finals, strict=True)
            row += [_spread(losses, "{:.3f}"), _spread([100 * e for e in errors], "{:.1f}")]
        rows.append(row)
    return head, rows


def reproduce(chosen: Plan, *, folder: Path, command: str, console: Console) -> None:
    """Measure both claims, print the tables, and write pictures and a page.

    Args:
        chosen: What to measure.
        folder: Gets ``gradients.png``, ``degradation.png`` and ``claims.md``.
        command: What was typed, for the page.
        console: Where the tables go.
    """
    threads = prepare_cpu(0)
    norms = measure(chosen.gradient_depths, seeds=chosen.seeds)
    titles = _titles(chosen)
    tables = [(titles[0], *gradient_rows(norms))]
    _print(console, *tables[0])
    save(gradients_figure(norms), folder / "gradients.png")
    curves = degradation(
        chosen.depths, seeds=chosen.seeds, training=chosen.training, console=console
    )
    tables.append((titles[1], *degradation_rows(curves)))
    _print(console, *tables[1])
    save(degradation_figure(curves), folder / "degradation.png")
    page = "\n\n".join([_preamble(command, str(threads)), *(_markdown(*table) for table in tables)])
    with replacing(folder / "claims.md") as partial:
        partial.write_text(f"{page}\n", encoding="utf-8")
    console.print(f"written: gradients.png, degradation.png and claims.md in {folder}")


def _titles(chosen: Plan) -> tuple[str, str]:
    """Return what each table shows, and how it was made."""
    seeds, training = list(chosen.seeds), chosen.training
    return (
        "L2 norm of the loss's gradient for a convolution's weight, at initialisation: the median "
        f"over seeds {seeds}; {WIDTH} channels, {IMAGES} images of {SIZE}x{SIZE}, float64; torch: "
        "what torch draws by itself, a sixth of He's variance",
        f"after {training.steps} steps of SGD (momentum 0.9, rate {training.rate}, "
        f"{training.batch} new images a step), {training.width} channels, batch norm, He's "
        f"initialisation: mean (lowest to highest) over seeds {seeds}, last tenth of the steps",
    )


def _preamble(command: str, threads: str) -> str:
    facts = describe()
    date = datetime.now(tz=UTC).date().isoformat()
    machine = f"{facts['processor']}, {facts['cores']} cores; {threads}; torch {torch.__version__}"
    return f"`{command}`, {date}, {machine}."


def _spread(values: Sequence[float], form: str) -> str:
    mean = form.format(statistics.fmean(values))
    if len(values) == 1:
        return mean
    return f"{mean} ({form.format(min(values))} to {form.format(max(values))})"


def _print(console: Console, title: str, head: list[str], rows: Rows) -> None:
    table = Table(title=title, box=box.SIMPLE, title_justify="left", collapse_padding=True)
    for column in head:
        left = column in ("network", "initialisation")
        table.add_column(column, justify="left" if left else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _markdown(title: str, head: list[str], rows: Rows) -> str:
    lines = [head, ["---"] * len(head), *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{title[0].upper()}{title[1:]}:\n\n{table}"
