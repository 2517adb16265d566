"""What each task adds to the scripts ``predict.py``, ``evaluate.py`` and ``export.py``."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules, resolve_name
from typing import TYPE_CHECKING, Any

import tasks
from backbones.choose import nearest
from backbones.errors import UserError
from tasks.common.machine.options import ACCELERATORS

if TYPE_CHECKING:
    from tasks.common.report.progress import Step
    from tasks.common.statistics.paired import Scored

Flags = Mapping[str, Mapping[str, Any]]  # options by name, with the arguments of `add_argument`


@dataclass(frozen=True, kw_only=True)
class Commands:
    """What ``tasks/<name>/commands.py`` calls ``COMMANDS``; importing it imports no torch."""

    noun: str  # what the task trains, such as detector
    predict_flags: Flags  # options of predict.py that only this task has; by default None
    evaluate_flags: Flags  # options of evaluate.py that only this task has; by default None
    overlays: str  # what the pictures of predict.py show, such as boxes
    predict: Callable[[Namespace], "Generator[Step, None, None]"]  # a step for each picture
    score: Callable[[Namespace], Mapping[str, Any]]  # of a checkpoint, by truth and images
    score_results: Callable[[Namespace], Mapping[str, Any]]  # of results, by the truth
    takes: Callable[[Path], bool]  # whether results at a path are this task's
    kept: Callable[[Path], "Scored"]  # what a run's folder keeps of its test, image by image
    main_scores: Callable[[Mapping[str, Any]], Mapping[str, float]]  # of `kept`, in metrics.json
    export: Callable[[Path], Any]  # a checkpoint as `tasks.common.export.subject.Subject`


def commands() -> dict[str, Commands]:
    """Return what every task below ``tasks`` adds, by its name."""
    names = [module.name for module in iter_modules(tasks.__path__)]
    found = [name for name in names if find_spec(f"tasks.{name}.commands")]
    return {name: resolve_name(f"tasks.{name}.commands:COMMANDS") for name in found}


def add_flags(parser: ArgumentParser, flags: Mapping[str, Flags]) -> None:
    """Add the options that all tasks share, and those of each task in a group of its own."""
    parser.add_argument("--device", choices=ACCELERATORS, default="auto", help="auto by default")
    parser.add_argument(
        "--exif",
        choices=("apply", "refuse", "ignore"),
        help="images rotated by their EXIF orientation; as in training if not given (docs/data.md)",
    )
    groups: dict[str, Any] = {}
    for flag, how in {f: how for own in flags.values() for f, how in own.items()}.items():
        title = f"{' and '.join(task for task, own in flags.items() if flag in own)} only"
        groups[title] = groups.get(title) or parser.add_argument_group(title)
        groups[title].add_argument(flag, **how)


def refuse_others(options: Namespace, flags: Mapping[str, Flags], *, task: str, what: str) -> None:
    """Raise UserError if another task's option was given; ``what``: "x.ckpt is a segmenter"."""
    foreign = {flag: name for name, own in flags.items() for flag in own if flag not in flags[task]}
    for flag, name in foreign.items():
        if getattr(options, flag.removeprefix("--").replace("-", "_")) is not None:
            raise UserError(f"{flag} is for {name} only, and {what}; leave it out.")


def refuse(options: Namespace, *names: str, what: str) -> None:
    """Raise UserError if one of these options was given; they are for ``what`` only."""
    for name in names:
        if getattr(options, name) is not None:
            raise UserError(f"--{name.replace('_', '-')} is for {what}; leave it out.")


def count(text: str) -> int:
    """Return a whole number of at least 1, for a type of argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def parsed(parser: ArgumentParser) -> Namespace:
    """Return what the command line gives; an unknown option is answered with the nearest."""
    options, unknown = parser.parse_known_intermixed_args()  # sources around options too
    if unknown:
        wrong = next((text for text in unknown if text.startswith("-")), unknown[0])
        name = wrong.partition("=")[0]
        close = nearest(name, [known for known in parser._option_string_actions if len(known) > 2])
        parser.error(f"unknown option {name!r}" + (f"; did you mean {close!r}?" if close else "."))
    return options


def check_overlays(wanted: str | None, *, task: Commands, what: str) -> None:
    """Raise UserError unless a task has such overlays; ``what`` is as of `refuse_others`."""
    if wanted not in (None, "none", task.overlays):
        raise UserError(
            f"--overlays {wanted} does not fit, as {what}; give {task.overlays} or none."
        )


def check_classes(theirs: Sequence[str], ours: Sequence[str], *, of: Path) -> None:
    """Raise UserError if the checkpoint ``of`` has other classes than that it is compared with."""
    if tuple(theirs) != tuple(ours):
        raise UserError(
            f"{of} has the classes {', '.join(theirs)}, and the other checkpoint "
            f"{', '.join(ours)}; only scores of the same classes can be compared."
        )
