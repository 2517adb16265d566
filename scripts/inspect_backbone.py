"""Backbones by name, what a weight file fits, and what depth does: see ``--help``."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from tasks.common.run.command_line import exit_on_error

COMMANDS = ("list", "weights", "gradients", "docs")
PAGE = Path(__file__).parents[1] / "docs" / "backbones.md"


def arguments(line: Sequence[str]) -> argparse.Namespace:
    """Return the parsed command line; names without a command are for ``list``."""
    parser = argparse.ArgumentParser(
        description="Look at backbones. Without a command: list the NAMEs, or all of them.",
        usage="%(prog)s [-h] [COMMAND] [NAME ...]",
    )
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, prog=parser.prog
    )
    known = commands.add_parser("list", help="parameters, GFLOPs, strides and channels")
    known.add_argument("names", nargs="*", metavar="NAME", help="all registered ones by default")
    weights = commands.add_parser("weights", help="what a weight file would load")
    weights.add_argument("file", metavar="FILE", help="a weight file, or a tag such as imagenet")
    weights.add_argument("name", nargs="?", metavar="NAME", help="by default every one is tried")
    claims = commands.add_parser("gradients", help="why shortcuts: gradients and training by depth")
    claims.add_argument(
        "--out",
        type=Path,
        default=Path("runs/gradients"),
        help="folder for the tables and pictures (default: runs/gradients)",
    )
    claims.add_argument("--quick", action="store_true", help="seconds instead of a minute or two")
    claims.add_argument("--seed", type=int, default=0, help="the first of the seeds (default: 0)")
    claims.add_argument("--seeds", type=int, default=1, help="how many seeds (default: 1)")
    claims.add_argument("--steps", type=int, help="training steps of each network (default: 300)")
    docs = commands.add_parser("docs", help="write docs/backbones.md from the registry")
    docs.add_argument("--check", action="store_true", help="write nothing; fail if it is stale")
    docs.add_argument("--path", type=Path, default=PAGE, help="another file")
    if not line or (line[0] not in COMMANDS and line[0] not in ("-h", "--help")):
        line = ["list", *line]
    return parser.parse_args(line)


def show(options: argparse.Namespace) -> None:
    """Print the table of backbones."""
    from backbones import list_backbones
    from benchmarks.study.catalogue import check_names, described, facts

    check_names(options.names, commands=COMMANDS)
    title = "Backbones without classifier; GFLOPs = 1e9 multiply-adds at 224x224 (*: at 32x32)"
    table = Table(title=title, box=box.SIMPLE, title_justify="left")
    table.add_column("name", no_wrap=True)
    for column in ("params (M)", "GFLOPs", "strides", "channels"):
        table.add_column(column, justify="right", no_wrap=True)
    for name in options.names or list_backbones():
        table.add_row(*described(facts(name)))
    Console().print(table)


def weigh(options: argparse.Namespace) -> None:
    """Print what a weight file would load, and where."""
    from benchmarks.study.weights import describe, fitting, report

    if options.name is not None:
        found = {options.name: report(options.file, options.name)}
    else:
        found = fitting(options.file)
    for name, loaded in found.items():
        print(f"{name}: {describe(loaded)}")


def reproduce(options: argparse.Namespace) -> None:
    """Measure the founding claims."""
    from benchmarks.study import claims

    plan = claims.plan(
        quick=options.quick, seed=options.seed, seeds=options.seeds, steps=options.steps
    )
    command = shlex.join(["python", "scripts/inspect_backbone.py", *sys.argv[1:]])
    claims.reproduce(plan, folder=options.out, command=command, console=Console())


def document(options: argparse.Namespace) -> None:
    """Write the page, or compare it."""
    from benchmarks.study.page import check_page, write_page

    (check_page if options.check else write_page)(options.path)
    print(f"{options.path} is {'up to date' if options.check else 'written'}")


def main() -> None:
    """Run the command."""
    options = arguments(sys.argv[1:])
    run = {"list": show, "weights": weigh, "gradients": reproduce, "docs": document}
    run[options.command](options)


if __name__ == "__main__":
    exit_on_error(main)
