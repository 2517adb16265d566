"""What a run leaves behind at its end, whatever of it fails."""

import shlex
from functools import partial
from pathlib import Path
from typing import NoReturn

from tasks.common.report.curves import draw_curves
from tasks.common.report.run_folder import write_json
from tasks.common.report.terminal import print_line
from tasks.common.resume.checkpoints import BEST, LAST
from tasks.common.run.ending import Ending, EndingError
from tasks.common.run.parts import RunParts
from tasks.common.run.task import Outcome, PartsT, Task


def report(outcome: Outcome, parts: PartsT, task: Task[PartsT], ending: Ending) -> None:
    """Write ``metrics.json`` and ``curves.png``, and show what the task shows, each by itself.

    Args:
        outcome: Of the run.
        parts: Of the run.
        task: What was trained.
        ending: Carries it out, and knows what failed before.
    """
    write = partial(_write_metrics, outcome, parts, ending)
    ending.do("metrics.json", write, brief=True)
    before = dict(ending.faults)
    curves = partial(draw, outcome.folder, task, epoch=outcome.epoch)
    ending.do("curves.png", curves, brief=True)
    for show in task.shows if outcome.best is not None else ():
        if parts.scores or not show.scores:
            ending.do(show.what, partial(show.do, parts, outcome))
    if ending.faults != before:
        ending.do("metrics.json", write, brief=True)
    ending.do("the last lines", partial(_print_end, outcome), brief=True)


def draw(folder: Path, task: Task[PartsT], *, epoch: int | None) -> None:
    """Write ``curves.png`` of what was logged so far.

    Args:
        folder: Of the run.
        task: Whose scores are drawn.
        epoch: The best one, from 1; None if it is not known.
    """
    draw_curves(
        folder / "metrics.csv",
        folder / "curves.png",
        monitor=task.monitor,
        best_epoch=epoch,
        scores=task.shown,
    )


def end_with(ending: Ending, outcome: Outcome, task: Task[PartsT], parts: PartsT) -> NoReturn:
    """End a run of which something failed after the training.

    Args:
        ending: Knows what failed.
        outcome: Of the run.
        task: What was trained.
        parts: Of the run.

    Raises:
        EndingError: With what failed, what there is, and how to get the scores.
        SystemExit: After a signal, with the status 128 + its number, once that is printed.
    """
    failed = "; ".join(f"{what}: {why.rstrip('.')}" for what, why in ending.faults.items())
    folder = outcome.folder / "checkpoints"
    text = f"training has ended, and what follows failed in part ({failed}). "
    score = f" ({task.monitor} {outcome.score:.3f})"
    if outcome.best is not None and outcome.best.is_file():
        checkpoint = outcome.best
        text += f"The best checkpoint is {checkpoint}{score}. "
    elif (folder / LAST).is_file():
        checkpoint = folder / LAST
        text += f"There is no {BEST}; the last checkpoint is {checkpoint}. "
    else:
        raise EndingError(f"{text}There is no checkpoint in {folder} any more.") from ending.cause
    if not parts.scores:
        command = f"python scripts/evaluate.py {shlex.quote(str(checkpoint))} {task.truth(parts)}"
        text += f"Mend the cause, then score it on {parts.scored} with: {command}"
    else:
        scores = "metrics.json" if "metrics.json" not in ending.faults else "the table above"
        text += f"Its scores on {parts.scored} are in {scores}; all else is in {outcome.folder}."
    if ending.stopped:
        print_line(f"\n{text}")
        raise SystemExit(128 + ending.stopped) from ending.cause
    raise EndingError(text) from ending.cause


def _write_metrics(outcome: Outcome, parts: RunParts, ending: Ending) -> None:
    failed = {"failed": ending.faults} if ending.faults else {}
    write_json(
        outcome.folder / "metrics.json",
        {
            "scored split": parts.scored,
            "scores": parts.scores or None,
            "val": outcome.val,
            "best epoch": outcome.epoch,
            "audit": outcome.audit,
            "seconds": round(outcome.seconds, 1),
            **failed,
        },
    )


def _print_end(outcome: Outcome) -> None:
    print_line(f"audit: {outcome.audit}")
    print_line(f"{outcome.seconds:.0f} s in all; everything is in {outcome.folder}")
