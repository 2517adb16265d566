"""Write a checkpoint for other programs: ``python scripts/export.py CHECKPOINT --format onnx``."""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path

from tasks.common.export.formats import FORMATS, INSIDE, OUTSIDE, PRECISIONS, check_format
from tasks.common.run.command_line import exit_on_error
from tasks.common.run.commands import commands, count


def _arguments() -> Namespace:
    known = "\n".join(f"  {name:14}{row.what}" for name, row in FORMATS.items())
    parser = ArgumentParser(
        description="Write a trained detector or segmenter for other programs. A file is run and "
        "compared with the network on images before it is kept; metadata.json has the figures.",
        epilog=f"formats:\n{known}",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", type=Path, help="or the run's folder, for its best one")
    parser.add_argument("--format", required=True, help="one of those below")
    parser.add_argument(
        "--output", type=Path, help="folder to write; exports/<format> where not given"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export")
    parser.add_argument(
        "--preprocessing",
        choices=(INSIDE, OUTSIDE),
        help="whether the file takes images as they are; inside where it can be",
    )
    parser.add_argument("--images", type=count, help="most images to compare results on (20)")
    parser.add_argument("--calibration", type=count, help="images that set 8-bit ranges (32)")
    parser.add_argument("--seed", type=int, help="of the choice of images (0)")
    parser.add_argument(
        "--symmetric",
        action="store_const",
        const=True,
        help="8-bit ranges symmetric about 0, as TensorRT takes them",
    )
    parser.add_argument("--precision", choices=PRECISIONS, help="of TensorRT (fp16)")
    return parser.parse_args()


def main() -> None:
    """Export, and print what was found."""
    options = _arguments()
    check_format(options.format, options)
    output = options.output or Path("exports") / options.format
    from tasks.common.files.paths import check_output

    check_output(output, overwrite=options.overwrite)
    tasks = commands()
    from tasks.common.export.export import export
    from tasks.common.export.subject import Request
    from tasks.common.machine.threads import prepare_cpu
    from tasks.common.resume.card import find_checkpoint, task_of

    prepare_cpu(0)
    checkpoint = find_checkpoint(options.checkpoint)
    names = "preprocessing", "images", "calibration", "seed", "symmetric", "precision"
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    request = Request(checkpoint=checkpoint, format=options.format, output=output, **given)
    subject = tasks[task_of(checkpoint)].export(checkpoint)
    for line in export(subject, request):
        print(line, flush=True)


if __name__ == "__main__":
    exit_on_error(main)
