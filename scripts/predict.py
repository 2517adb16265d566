"""Run a checkpoint on images: ``python scripts/predict.py CHECKPOINT SOURCE... [--output DIR]``."""

from argparse import ArgumentParser
from contextlib import closing
from pathlib import Path

from tasks.common.run.command_line import exit_on_error
from tasks.common.run.commands import add_flags, commands, refuse_others
from tasks.common.run.imports import no_garbage


def main() -> None:
    """Predict, and print a line per image."""
    tasks = commands()
    flags = {name: task.predict_flags for name, task in tasks.items()}
    parser = ArgumentParser(
        description="Detect or segment, as the checkpoint was trained to, in images and folders."
    )
    parser.add_argument("checkpoint", type=Path, help="or the run's folder, for its best one")
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="source",
        help="an image or volume; a folder, with all below it; a pattern such as 'images/*/*.png'",
    )
    parser.add_argument("--output", type=Path, default=Path("predictions"), help="folder to write")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier predictions")
    add_flags(parser, flags)
    options = parser.parse_args()
    with no_garbage():
        from tasks.common.files.paths import check_output
        from tasks.common.machine.machine import accelerator
        from tasks.common.machine.threads import prepare_cpu
        from tasks.common.resume.card import find_checkpoint, task_of

    check_output(options.output, overwrite=options.overwrite)
    options.device = accelerator(options.device, option="--device").value
    prepare_cpu(0)
    wanted, options.checkpoint = options.checkpoint, find_checkpoint(options.checkpoint)
    if options.checkpoint != wanted:
        print(f"checkpoint {options.checkpoint}", flush=True)
    name = task_of(options.checkpoint)
    what = f"{options.checkpoint} is a {tasks[name].noun}"
    refuse_others(options, flags, task=name, what=what)
    try:
        with closing(tasks[name].predict(options)) as lines:
            for line in lines:
                print(line, flush=True)
    except KeyboardInterrupt:
        print(f"stopped; what was done is in {options.output}", flush=True)
        raise


if __name__ == "__main__":
    exit_on_error(main)
