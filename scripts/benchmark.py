"""Speed and memory beside torchvision, smp and pycocotools: ``python scripts/benchmark.py``."""

import argparse
import shlex
import sys
from datetime import datetime
from pathlib import Path

from tasks.common.run.command_line import exit_on_error


def arguments() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        description="Measure in turn, in one process, and write a table, JSON and a plot.",
    )
    parser.add_argument("names", nargs="*", help="what to measure; everything when left out")
    parser.add_argument("--list", action="store_true", help="say what there is to measure")
    parser.add_argument("--repeats", type=int, default=5, help="rounds that count")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: one per core")
    parser.add_argument("--small", action="store_true", help="tiny images: does it run at all?")
    parser.add_argument("--data", type=Path, help="COCO-format data to load; else the sample")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark"), help="folder")
    return parser.parse_args()


def main() -> None:
    """Measure, and print each table as soon as it is there."""
    options = arguments()
    if options.repeats < 1:
        raise ValueError(f"--repeats takes an integer of at least 1, got {options.repeats}.")
    from benchmarks.speed.catalogue import chosen
    from benchmarks.speed.clock import measure
    from benchmarks.speed.report import markdown, write
    from tasks.common.machine.machine import describe
    from tasks.common.machine.threads import prepare_cpu

    comparisons = chosen(options.names, small=options.small, data=options.data)
    if options.list:
        print("\n".join(f"{name:24s} {c().title}" for name, c in comparisons.items()))
        return
    cpu = prepare_cpu(options.threads)
    facts = {
        **describe(),
        "cpu": str(cpu),
        "command": shlex.join(["python", *sys.argv]),
        "date": datetime.now().astimezone().date().isoformat(),
    }
    heading = "\n".join(f"- {key}: {value}" for key, value in facts.items())
    print(heading, flush=True)
    results = []
    for make in comparisons.values():
        comparison = make()
        threads = int(cpu.value.split()[0])
        results.append((comparison, measure(comparison, repeats=options.repeats, threads=threads)))
        print("\n" + markdown(results[-1:], heading=""), flush=True)
        write(results, options.output, heading=heading, facts=facts)
    print(f"benchmark.md, benchmark.json and benchmark.png are in {options.output}")


if __name__ == "__main__":
    exit_on_error(main)
