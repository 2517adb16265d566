"""Score a checkpoint, or results of any tool, with an interval; compare two on the same truth.

``python scripts/evaluate.py CHECKPOINT TRUTH IMAGES`` or
``python scripts/evaluate.py --results RESULTS TRUTH``, both also with ``--against OTHER``.
"""

from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Mapping
from pathlib import Path

from backbones.errors import UserError
from tasks.common.run.command_line import exit_on_error
from tasks.common.run.commands import (
    Commands,
    Flags,
    add_flags,
    commands,
    parsed,
    refuse_others,
)
from tasks.common.run.imports import no_garbage


def _parser(flags: Mapping[str, Flags]) -> ArgumentParser:
    parser = ArgumentParser(
        description="Print COCO AP of a detector, or Dice and distances of a segmenter, per class, "
        "and a 95%% interval of AP or Dice.",
        usage="%(prog)s [options] CHECKPOINT TRUTH IMAGES\n"
        "       %(prog)s [options] --results RESULTS TRUTH",
    )
    parser.add_argument(
        "paths",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="CHECKPOINT (or a run's folder, for its best one), TRUTH (a COCO file, a folder of "
        "Pascal-VOC XML or of masks) and IMAGES (a folder); with --results TRUTH alone",
    )
    parser.add_argument(
        "--results",
        type=Path,
        help="score this in place of a checkpoint: a COCO results file, or a folder of masks",
    )
    parser.add_argument(
        "--against",
        type=Path,
        help="compare with another checkpoint, or with --results with other results, on the same "
        "truth: the difference, its interval and a permutation test",
    )
    parser.add_argument(
        "--intervals",
        action=BooleanOptionalAction,
        default=True,
        help="of the scores, from resampled images (yes)",
    )
    parser.add_argument("--output", type=Path, help="JSON file to write the scores to")
    add_flags(parser, flags)
    return parser


def _task(options: Namespace, tasks: Mapping[str, Commands]) -> tuple[str, str]:
    """Return the task of what is scored, and what it is; find checkpoints."""
    if options.results:
        name = next(name for name, task in tasks.items() if task.takes(options.results))
        what = f"{options.results} are results of a {tasks[name].noun}"
        if options.against and not tasks[name].takes(options.against):
            raise UserError(f"--against {options.against} is of another kind, and {what}.")
        return name, what
    from tasks.common.resume.card import find_checkpoint, task_of

    options.paths[0] = find_checkpoint(options.paths[0])
    name = task_of(options.paths[0])
    what = f"{options.paths[0]} is a {tasks[name].noun}"
    if options.against:
        options.against = find_checkpoint(options.against)
        if (other := task_of(options.against)) != name:
            raise UserError(f"--against {options.against} is a {tasks[other].noun}, and {what}.")
    return name, what


def main() -> None:
    """Evaluate, and print the table."""
    tasks = commands()
    flags = {name: task.evaluate_flags for name, task in tasks.items()}
    parser = _parser(flags)
    options = parsed(parser)
    expected = ["TRUTH"] if options.results else ["CHECKPOINT", "TRUTH", "IMAGES"]
    if len(options.paths) != len(expected):
        parser.error(f"expected {' '.join(expected)}, got {len(options.paths)} paths")
    if options.against and not options.intervals:
        parser.error("--against compares by intervals; leave out --no-intervals")
    with no_garbage():
        from tasks.common.machine.machine import accelerator
        from tasks.common.machine.threads import prepare_cpu
        from tasks.common.report.run_folder import write_json
        from tasks.common.statistics.resampling import RESAMPLES

    options.device = accelerator(options.device, option="--device").value
    options.resamples = RESAMPLES if options.intervals else 0
    prepare_cpu(0)
    name, what = _task(options, tasks)
    refuse_others(options, flags, task=name, what=what)
    score = tasks[name].score_results if options.results else tasks[name].score
    scores = score(options)
    if options.output:
        write_json(options.output, scores)


if __name__ == "__main__":
    exit_on_error(main)
