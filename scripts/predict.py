"""Run a checkpoint on images: ``python scripts/predict.py CHECKPOINT SOURCE... [--output DIR]``."""

from argparse import ArgumentParser
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from tasks.common.files.paths import check_output
from tasks.common.resume.checkpoints import find_checkpoint
from tasks.common.run.command_line import exit_on_error
from tasks.common.run.commands import (
    Flags,
    add_flags,
    check_overlays,
    commands,
    count,
    parsed,
    refuse_others,
)
from tasks.common.run.imports import no_garbage


def _parser(flags: Mapping[str, Flags]) -> ArgumentParser:
    parser = ArgumentParser(
        description="Detect or segment, as the checkpoint was trained to, in images and videos.",
        epilog="Exit codes: 0, 3 if files were skipped or cut short and the others are done, 130 "
        "after Ctrl-C, 2 for a wrong command line, 1 for other errors. docs/predict.md has more.",
    )
    parser.add_argument("checkpoint", type=Path, help="or the run's folder, for its best one")
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="source",
        help="an image, a volume or a video; a folder, with all below it; a pattern such as "
        "'images/*/*.png'",
    )
    parser.add_argument("--output", type=Path, default=Path("predictions"), help="folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier predictions")
    parser.add_argument(
        "--overlays",
        choices=("none", "boxes", "masks"),
        help="pictures of what was found: a detector draws boxes by default, a segmenter masks",
    )
    parser.add_argument(
        "--batch-size",
        type=count,
        help="images that go through the network at once, of those with one size; results do not "
        "depend on it but for rounding. 1 on a CPU, which one image keeps busy, 8 on a GPU, which "
        "it does not",
    )
    parser.add_argument(
        "--every", type=count, default=1, metavar="N", help="take each N-th frame of videos (1)"
    )
    add_flags(parser, flags)
    return parser


def main() -> None:
    """Predict, and print a line per file."""
    tasks = commands()
    flags = {name: task.predict_flags for name, task in tasks.items()}
    options = parsed(_parser(flags))
    wanted, options.checkpoint = options.checkpoint, find_checkpoint(options.checkpoint)
    check_output(options.output, overwrite=options.overwrite)
    with no_garbage():
        from tasks.common.machine.machine import accelerator
        from tasks.common.machine.threads import prepare_cpu
        from tasks.common.report.progress import progress
        from tasks.common.resume.card import task_of

    options.device = accelerator(options.device, option="--device").value
    prepare_cpu(0)
    if options.checkpoint != wanted:
        print(f"checkpoint {options.checkpoint}", flush=True)
    name = task_of(options.checkpoint)
    what = f"{options.checkpoint} is a {tasks[name].noun}"
    refuse_others(options, flags, task=name, what=what)
    check_overlays(options.overlays, task=tasks[name], what=what)
    try:
        with closing(tasks[name].predict(options)) as steps, progress("images") as show:
            for step in steps:
                show(step)
    except KeyboardInterrupt:
        print(f"stopped; what was done is in {options.output}", flush=True)
        raise


if __name__ == "__main__":
    exit_on_error(main)
