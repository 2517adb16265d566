"""Keel beside torchvision, smp and pycocotools: ``python scripts/benchmark.py NAME ...``."""

import argparse
import math
import shlex
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from backbones import UserError
from benchmarks.catalogue import SCORES, SPEED, Entry, chosen
from tasks.common.run.command_line import exit_on_error


def arguments(line: Sequence[str]) -> argparse.Namespace:
    """Return the parsed command line."""
    known = "\n".join(f"  {name:36} {entry.what}" for name, entry in (SPEED | SCORES).items())
    parser = argparse.ArgumentParser(
        usage="%(prog)s [NAME ...] [options]  or  %(prog)s scores-NAME ARGUMENT ...",
        description="Measure speed and memory, and write tables, JSON and a plot; or score.",
        epilog=f"names:\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="default: all that measure speed and take seconds a step",
    )
    parser.add_argument("--repeats", type=int, default=5, help="rounds that count (default: 5)")
    parser.add_argument(
        "--minutes",
        type=float,
        default=math.inf,
        help="for all of it: later rounds that would not fit are left out, and then the memory",
    )
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: one per core")
    parser.add_argument("--small", action="store_true", help="tiny images, to see that it runs")
    parser.add_argument(
        "--data",
        type=Path,
        help="a set in COCO format for loading and epoch-detection-*, a folder of images and masks "
        "for epoch-segmentation; else the sample",
    )
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark"), help="folder")
    options = parser.parse_args(line)
    if options.repeats < 1:
        raise UserError(f"--repeats takes an integer of at least 1, got {options.repeats}.")
    if not options.minutes > 0:
        raise UserError(f"--minutes takes a number above 0, got {options.minutes}.")
    return options


def measure_speed(entries: dict[str, Entry], options: argparse.Namespace) -> None:
    """Measure one comparison after the other; print each table when it is there."""
    import torch

    from benchmarks import harness, report
    from tasks.common.machine.machine import describe
    from tasks.common.machine.threads import prepare_cpu

    cpu = prepare_cpu(options.threads)
    facts: dict[str, Any] = {
        **describe(),
        "cpu": str(cpu),
        "command": shlex.join(["python", *sys.argv]),
        "date": datetime.now().astimezone().date().isoformat(),
    }
    print("\n".join(f"- {key}: {value}" for key, value in facts.items()), flush=True)
    threads = torch.get_num_threads()
    results: report.Results = []
    started = time.monotonic()
    for position, entry in enumerate(entries.values()):
        data = {"data": options.data} if entry.takes_data else {}
        comparison = entry.load()(small=options.small, **entry.options, **data)
        count, rounds = len(comparison.systems), options.repeats + comparison.warm_up
        print(f"\n{comparison.title}: {count} systems, up to {rounds} rounds", flush=True)
        left = max(options.minutes - (time.monotonic() - started) / 60, 0)
        share = left / (len(entries) - position)
        measured: dict[str, harness.Measured] = {}
        try:
            for step in harness.measure(
                comparison, repeats=options.repeats, threads=threads, minutes=share
            ):
                measured = step.measured
                print(report.line(comparison, step), flush=True)
        except harness.UnequalResultsError:
            measured = {}
            raise
        finally:  # Ctrl-C and other errors too
            if measured:
                results.append((comparison, measured))
                print(f"\n{report.table(comparison, measured)}", flush=True)
                report.write(results, options.output, facts=facts)
    print(f"\nbenchmark.md, benchmark.json and benchmark.png are in {options.output}")


def main() -> None:
    """Measure speed, or hand the arguments to a comparison of scores."""
    name, *rest = [*sys.argv[1:], ""]
    if name in SCORES:
        SCORES[name].load()(rest[:-1])
        return
    options = arguments(sys.argv[1:])
    everything = bool(options.names or options.small)
    if not everything:
        import torch

        everything = torch.cuda.is_available()
    entries = chosen(options.names, long=everything)
    if options.data and not any(entry.takes_data for entry in entries.values()):
        raise UserError(f"--data={options.data} is for loading and epoch-*; leave it out.")
    if not options.names:
        print(
            f"{len(entries)} benchmarks, which take hours on a CPU; Ctrl-C keeps what is measured"
        )
    measure_speed(entries, options)


if __name__ == "__main__":
    exit_on_error(main)
