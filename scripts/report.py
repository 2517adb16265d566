"""Compare runs: ``python scripts/report.py RUN RUN ... [--against RUN] [--output FILE]``."""

from argparse import ArgumentParser
from pathlib import Path

from backbones.choose import choose
from backbones.errors import UserError
from tasks.common.run.command_line import exit_on_error
from tasks.common.run.commands import commands
from tasks.common.run.imports import no_garbage


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Compare runs on their test set: what differs in their configurations, scores "
        "with intervals, paired tests, verdicts; as a table, and as one HTML page. Of one run, "
        "its own page is made again, without what needs its network and data."
    )
    parser.add_argument(
        "runs",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="folders of runs, or folders that hold runs",
    )
    parser.add_argument(
        "--against", type=Path, help="the run to compare the others with (the first)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("report.html"), help="page to write (report.html)"
    )
    return parser


def main() -> None:
    """Compare, print the table and write the page."""
    options = _parser().parse_args()
    tasks = commands()
    if options.output.is_dir():
        raise UserError(f"--output {options.output} is a folder; give a file, such as report.html.")
    with no_garbage():
        from tasks.common.compare.comparison import group_runs
        from tasks.common.compare.page import comparison_page
        from tasks.common.compare.runs import find_runs
        from tasks.common.compare.table import print_groups
        from tasks.common.report.page.write import write_page
        from tasks.common.report.run_page.page import run_page

    runs = find_runs([*options.runs, *([options.against] if options.against else [])])
    against = None
    if options.against:
        place = options.against.resolve()
        against = next((run for run in runs if run.folder == place), None)
        if against is None:
            raise UserError(f"--against {options.against} holds several runs; give one of them.")
    if len(runs) == 1:
        page = run_page(runs[0].record)
        write_page(page, options.output)
        print(f"one run, from its files alone; the page is {options.output}", flush=True)
        return
    task = choose(tasks, runs[0].task, what="task")
    groups = group_runs(runs, kept=task.kept, main_scores=task.main_scores, against=against)
    print_groups(groups)
    write_page(comparison_page(groups), options.output)
    print(f"the page is {options.output}", flush=True)


if __name__ == "__main__":
    exit_on_error(main)
