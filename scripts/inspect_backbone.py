"""Backbones by name, what a weight file would load, and what depth does: see ``--help``."""

import argparse
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from tasks.common.run.command_line import exit_on_error

PAGE = Path(__file__).parents[1] / "docs" / "backbones.md"


def arguments(line: Sequence[str]) -> argparse.Namespace:
    """Return the parsed command line; names without a command are for ``list``."""
    parser = argparse.ArgumentParser(
        description="Show backbones. Without a command: list the NAMEs, or all of them.",
        usage="%(prog)s [-h] [COMMAND] [NAME ...]",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True, prog=parser.prog)
    known = commands.add_parser("list", help="parameters, GFLOPs, strides and channels")
    known.add_argument("names", nargs="*", metavar="NAME", help="all registered ones by default")
    known.set_defaults(run=show)
    weights = commands.add_parser("weights", help="what a weight file would load")
    weights.add_argument("file", metavar="FILE", help="a weight file, or a tag such as imagenet")
    weights.add_argument("name", nargs="?", metavar="NAME", help="by default every one is tried")
    weights.set_defaults(run=show_weights)
    claims = commands.add_parser("gradients", help="why shortcuts: gradients and training by depth")
    folder = Path("runs/gradients")
    claims.add_argument("--out", type=Path, default=folder, help="folder (default: runs/gradients)")
    claims.add_argument("--quick", action="store_true", help="seconds instead of a minute or two")
    claims.add_argument("--seed", type=int, default=0, help="the first of the seeds (default: 0)")
    claims.add_argument("--seeds", type=int, default=1, help="how many seeds (default: 1)")
    claims.add_argument("--steps", type=int, help="training steps of each network (default: 300)")
    claims.set_defaults(run=measure_claims)
    freezing = commands.add_parser(
        "freezing", help="GFLOPs of a training step that freezing leaves"
    )
    freezing.add_argument("name", nargs="?", metavar="NAME", default="resnet50")
    freezing.set_defaults(run=show_freezing)
    docs = commands.add_parser("docs", help="write docs/backbones.md from the registry")
    docs.add_argument("--check", action="store_true", help="write nothing; fail if it is stale")
    docs.add_argument("--path", type=Path, default=PAGE, help="another file")
    docs.set_defaults(run=write_docs)
    if not line or line[0] not in (*commands.choices, "-h", "--help"):
        check_names([name for name in line if not name.startswith("-")], commands.choices)
        line = ["list", *line]
    return parser.parse_args(line)


def check_names(names: Iterable[str], commands: Iterable[str]) -> None:
    """Refuse a misspelt command, which would otherwise be taken for the name of a backbone."""
    from backbones import UserError, list_backbones
    from backbones.choose import nearest

    for name in names:
        meant = nearest(name, commands)
        if meant and not nearest(name, list_backbones()):
            raise UserError(
                f"{name!r} is neither a backbone nor a command; did you mean the command {meant!r}?"
            )


def check_known(names: Iterable[str]) -> None:
    """Refuse a backbone that is not registered before torch is imported."""
    from backbones import list_backbones
    from backbones.choose import choose

    for name in names:
        if "/" not in name:  # one of a family, such as timm/resnet18
            choose(dict.fromkeys(list_backbones()), name, what="backbone")


def show(options: argparse.Namespace) -> None:
    """Print the table of backbones."""
    check_known(options.names)
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from backbones import list_backbones
    from benchmarks.study.costs import facts

    title = "Backbones without classifier; GFLOPs = 1e9 multiply-adds at 224x224 (*: at 32x32)"
    table = Table(title=title, box=box.SIMPLE, title_justify="left")
    table.add_column("name", no_wrap=True)
    for column in ("params (M)", "GFLOPs", "strides", "channels"):
        table.add_column(column, justify="right", no_wrap=True)
    for name in options.names or list_backbones():
        table.add_row(*facts(name).cells())
    Console().print(table)


def show_weights(options: argparse.Namespace) -> None:
    """Print what a weight file would load, and what its weights expect of an image."""
    check_known([options.name] if options.name else [])
    from benchmarks.study.weights import fitting, report

    if options.name is not None:
        found = {options.name: report(options.file, options.name)}
    else:
        found = fitting(options.file)
    for name, loaded in found.items():
        expected = ", ".join(f"{key} {value}" for key, value in vars(loaded.conventions).items())
        print(f"{name}: {loaded}\n  expects: {expected}")


def show_freezing(options: argparse.Namespace) -> None:
    """Print the arithmetic of training steps by part and frozen stages."""
    check_known([options.name])
    from benchmarks.study.freezing import report

    print(report(options.name))


def measure_claims(options: argparse.Namespace) -> None:
    """Measure the founding claims."""
    from rich.console import Console

    from benchmarks.study import claims

    plan = claims.QUICK if options.quick else claims.Plan()
    seeds = range(options.seed, options.seed + options.seeds)
    plan = replace(plan, seeds=seeds, steps=plan.steps if options.steps is None else options.steps)
    command = shlex.join(["python", "scripts/inspect_backbone.py", *sys.argv[1:]])
    claims.reproduce(plan, folder=options.out, command=command, console=Console())


def write_docs(options: argparse.Namespace) -> None:
    """Write the page, or compare it."""
    from benchmarks.study.page import check_page, write_page

    (check_page if options.check else write_page)(options.path)
    print(f"{options.path} is {'up to date' if options.check else 'written'}")


def main() -> None:
    """Run the command."""
    options = arguments(sys.argv[1:])
    options.run(options)


if __name__ == "__main__":
    exit_on_error(main)
