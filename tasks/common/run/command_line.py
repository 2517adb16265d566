"""Between a command line and a run: ``--help``, typos, and errors that are for the user."""

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pkgutil import resolve_name
from typing import Final, TypeVar

import hydra
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig, OmegaConf, open_dict

from backbones.choose import nearest
from backbones.errors import UserError
from tasks.common.files.input_files import SkippedError
from tasks.common.machine.process import process_start
from tasks.common.report.clock import Clock
from tasks.common.run.config import Training, members
from tasks.common.run.help import help_text
from tasks.common.run.imports import no_garbage, no_unused_metrics

T = TypeVar("T")

_FOR_USERS: Final = (UserError, OSError, FloatingPointError)  # whose text says what to do

SKIPPED: Final = 3
"""The exit code of a prediction that skipped files; that of other errors is 1."""

_TRACES: Final = ("KEEL_TRACE", "HYDRA_FULL_ERROR")
"""Variables of the environment; any value but 0 shows the trace of every error."""

_QUOTED_KEY: Final = re.compile(r"[{,]\s*(['\"])[^'\"]*\1\s*:")

# An override of the configuration alone: neither an option of Hydra's nor a setting of its own.
_PLAIN: Final = re.compile(r"[+~]{0,2}(?!hydra[./])\w[^=]*=")

# With these options Hydra prints something and runs nothing.
_SHOWS: Final = re.compile(r"-[ic]|--(hydra-help|version|(info|cfg)(=.*)?)")


def train(training: Training) -> None:
    """Run a training script: answer ``--help`` and typos at once, then train."""
    arguments = sys.argv[1:] = with_text_tables(sys.argv[1:])
    training.register(members(arguments))
    if any(argument in ("-h", "--help") for argument in arguments):
        sys.stdout.write(training_help(training, arguments) + "\n")
        return
    cfg = check_overrides(training, arguments)

    def run(cfg: DictConfig) -> float:
        # With torch this process has done something else before, such as a sweep's earlier run.
        clock = Clock(started=None if "torch" in sys.modules else process_start())
        with no_garbage(), no_unused_metrics():
            task = resolve_name(training.run)
        score: float = exit_on_error(partial(task, cfg, clock))
        return score

    if cfg is None or not all(map(_PLAIN.match, arguments)):
        configs = str(training.configs)
        hydra.main(version_base="1.3", config_path=configs, config_name=training.task)(run)()
        return
    HydraConfig.instance().set_config(cfg)  # as Hydra does, which would compose it twice more
    with open_dict(cfg):
        del cfg.hydra
    try:
        run(cfg)
    finally:
        HydraConfig.instance().cfg = None


def check_overrides(training: Training, arguments: Sequence[str]) -> DictConfig | None:
    """Return the configuration, with Hydra's own in it; answer a typo with the nearest name.

    A sweep (``--multirun``) is left to Hydra: None. A value that is not given is an error only of a
    run.
    """
    if any(argument in ("-m", "--multirun") for argument in arguments):
        return None
    cfg = _composed(training, arguments, hydra=True)
    if any(_SHOWS.fullmatch(argument) for argument in arguments):
        return None
    empty = {"data.root"} if cfg.data.get("root") == "" else set()  # an unset shell variable
    missing = {key for key in OmegaConf.missing_keys(cfg) if not key.startswith("hydra.")}
    if names := sorted(missing | empty):
        raise UserError(f"{names[0]} is not given; add {names[0]}=... to the command.")
    training.check(cfg)
    return cfg


def training_help(training: Training, arguments: Sequence[str]) -> str:
    """Return what ``--help`` prints, with the values that the other arguments set."""
    cfg = _composed(training, arguments, hydra=True)
    with initialize_config_dir(version_base="1.3", config_dir=str(training.configs)):
        loader = GlobalHydra.instance().config_loader()
        picked = {k: str(v) for k, v in cfg.hydra.runtime.choices.items() if "/" not in k}
        known = {group: loader.get_group_options(group) for group in picked}
    del cfg.hydra
    choices = {
        group: ("null" if name == "None" else name, [n for n in known[group] if n != "schema"])
        for group, name in picked.items()
    }
    return help_text(training, cfg, choices)


def _composed(training: Training, arguments: Sequence[str], *, hydra: bool = False) -> DictConfig:
    overrides = [a for a in arguments if not a.startswith("-") and "=" in a]
    try:
        return training.compose(overrides, hydra=hydra)
    except HydraException as error:
        raise UserError(_answer(error, training, overrides)) from error


def with_text_tables(arguments: Sequence[str]) -> list[str]:
    """Return the arguments, tables with quoted keys as text: Hydra's grammar has no such keys."""
    texts = list(arguments)
    for index, argument in enumerate(arguments):
        key, _, value = argument.partition("=")
        if _QUOTED_KEY.search(value) and re.fullmatch(r"\s*\{.*\}\s*", value):
            escaped = value.replace('"', '\\"')
            texts[index] = f'{key}="{escaped}"'
    return texts


def exit_on_error(main: Callable[[], T]) -> T:
    """Return what ``main`` returns, or end with the message of an error that is for the user.

    Any other error is a bug, and is raised with its trace; ``KEEL_TRACE=1`` does so with all.
    """
    try:
        return main()
    except KeyboardInterrupt:  # training handles it itself
        sys.stderr.write("\ninterrupted\n")
        sys.exit(128 + signal.SIGINT)
    except (*_FOR_USERS, InstantiationException) as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) else error
        traced = any(os.environ.get(name, "0") != "0" for name in _TRACES)
        if traced or not isinstance(cause, _FOR_USERS):
            raise
        if isinstance(cause, SkippedError):
            sys.stderr.write(f"error: {cause}\n")
            sys.exit(SKIPPED)
        sys.exit(f"error: {cause} ({_TRACES[0]}=1 shows where it comes from)")


def _said(error: HydraException) -> str:
    """Return what Hydra, or OmegaConf under it, says is wrong, on one line."""
    text = f"{error}: {error.__cause__}" if error.__cause__ else str(error)
    lines = [line.strip() for line in text.splitlines()]
    kept = [line for line in lines if line and not line.startswith(("full_key", "object_type"))]
    return "; ".join(dict.fromkeys(kept)).partition("; Config search path")[0].rstrip(".")


def _answer(error: HydraException, training: Training, overrides: Sequence[str]) -> str:
    """Return what is wrong, with the nearest name where a name is wrong."""
    if isinstance(error, MissingConfigException) and error.options:
        group, _, wanted = str(error.missing_cfg_file).partition("/")
        known = [option for option in error.options if option != "schema"]
        return f"no {group}={wanted}{_nearest(wanted, known)} Known: {', '.join(known)}."
    if isinstance(error, OverrideParseException):
        key, _, value = error.override.partition("=")
        return (
            f"{error.override!r} cannot be read: {str(error).splitlines()[0]}. A value with "
            f"special characters needs two pairs of quotes: '{key}=\"{value}\"'."
        )
    found = re.search(r"Could not override '([^']+)'", str(error))
    if isinstance(error, ConfigCompositionException) and found:
        # The chosen groups decide which keys there are.
        groups = [
            o for o in overrides if "." not in (name := o.partition("=")[0]) and name != found[1]
        ]
        keys = [*_keys(training.compose(groups), ""), "experiment", "debug"]
        return f"unknown option {found[1]!r}{_nearest(found[1], keys)}"
    return f"{_said(error)}."


def _nearest(name: str, known: Sequence[str]) -> str:
    close = nearest(name, known)
    return f"; did you mean {close!r}?" if close else "."


def _keys(node: DictConfig, prefix: str) -> Iterator[str]:
    """Yield the dotted name of every value."""
    for key in node:
        name = f"{prefix}{key!s}"
        inner = None if OmegaConf.is_missing(node, key) else node._get_node(key)
        if isinstance(inner, DictConfig) and not inner._is_none():
            yield from _keys(inner, f"{name}.")
        yield name
