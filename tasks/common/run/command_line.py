"""What stands between a user's command line and a run: typos answered, errors without a trace."""

import argparse
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Final, TypeVar

from hydra import compose, initialize_config_dir
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig, OmegaConf

from tasks.common.run.ending import EndingError

T = TypeVar("T")

_MENDABLE: Final = (ValueError, OSError, FloatingPointError, EndingError, InstantiationException)
"""Errors whose message says what to do."""

_QUOTED_KEY: Final = re.compile(r"[{,]\s*(['\"])[^'\"]*\1\s*:")

# With these options Hydra prints something and runs nothing.
_SHOWS: Final = re.compile(r"-[hic]|--(help|hydra-help|version|(info|cfg)(=.*)?)")


def check_overrides(config_folder: Path, config_name: str, arguments: Sequence[str]) -> None:
    """Compose the configuration once, to answer a typo with the nearest name.

    Hydra itself names only what is wrong. A sweep (``--multirun``) is left to Hydra. A value that
    is not given is an error only of a run, not of ``--help``, ``--cfg`` and the like.

    Args:
        config_folder: Absolute path of ``configs``.
        config_name: The root configuration's name.
        arguments: The command line without the script's name.

    Raises:
        ValueError: If a key, a group's option or a value does not fit, or a value is missing.
    """
    if any(argument in ("-m", "--multirun") for argument in arguments):
        return
    overrides = [a for a in arguments if not a.startswith("-") and "=" in a]
    with initialize_config_dir(version_base="1.3", config_dir=str(config_folder)):
        try:
            cfg = compose(config_name, overrides=overrides)
        except HydraException as error:
            raise ValueError(_answer(error, config_name, overrides)) from error
    if any(_SHOWS.fullmatch(argument) for argument in arguments):
        return
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        raise ValueError(f"{missing[0]} is not given; add {missing[0]}=... to the command.")


def with_text_tables(arguments: Sequence[str]) -> list[str]:
    """Return a command line on which tables whose keys have quotes are text, for Hydra's sake.

    Hydra's grammar has no quotes around keys, which ``{'#ff0000': cell}`` cannot do without.

    Args:
        arguments: The command line without the script's name.

    Returns:
        Such a value in double quotes; other arguments as they are.
    """
    return [_as_text(argument) for argument in arguments]


def _as_text(argument: str) -> str:
    key, _, value = argument.partition("=")
    if not _QUOTED_KEY.search(value) or not re.fullmatch(r"\s*\{.*\}\s*", value):
        return argument
    escaped = value.replace('"', '\\"')
    return f'{key}="{escaped}"'


def exit_on_error(main: Callable[[], T]) -> T:
    """Return what ``main`` returns, or end with the message of an error that a user can mend.

    ``HYDRA_FULL_ERROR=1`` shows the trace as well.

    Args:
        main: Raises ValueError, OSError, FloatingPointError or EndingError with a message that
            says what to do.
    """
    try:
        return main()
    except KeyboardInterrupt:  # training answers it by itself
        sys.stderr.write("\ninterrupted\n")
        sys.exit(128 + signal.SIGINT)
    except _MENDABLE as error:
        if os.environ.get("HYDRA_FULL_ERROR", "0") != "0":
            raise
        cause = error.__cause__ if isinstance(error, HydraException) else None
        sys.exit(f"error: {cause or error}")


def count(text: str) -> int:
    """Return a whole number of at least 1, for a type of argparse.

    Raises:
        argparse.ArgumentTypeError: If the text is something else; argparse names the option.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def _said(error: HydraException) -> str:
    """Return what Hydra, or OmegaConf under it, says is wrong, on one line."""
    text = f"{error}: {error.__cause__}" if error.__cause__ else str(error)
    lines = [line.strip() for line in text.splitlines()]
    kept = [line for line in lines if line and not line.startswith(("full_key", "object_type"))]
    return "; ".join(dict.fromkeys(kept)).partition("; Config search path")[0].rstrip(".")


def _answer(error: HydraException, config_name: str, overrides: Sequence[str]) -> str:
    """Return what is wrong, with the nearest name where a name is wrong."""
    if isinstance(error, MissingConfigException) and error.options:
        group, _, wanted = str(error.missing_cfg_file).rpartition("/")
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
        keys = [*_keys(compose(config_name, overrides=groups), ""), "experiment", "debug"]
        return f"unknown option {found[1]!r}{_nearest(found[1], keys)}"
    return f"{_said(error)}."


def _nearest(name: str, known: Sequence[str]) -> str:
    # Not `backbones.choose.nearest`: a typo is answered without the seconds that torch takes.
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else "."


def _keys(node: DictConfig, prefix: str) -> Iterator[str]:
    """Yield the dotted name of every value."""
    for key in node:
        name = f"{prefix}{key!s}"
        inner = None if OmegaConf.is_missing(node, key) else node._get_node(key)
        if isinstance(inner, DictConfig) and not inner._is_none():
            yield from _keys(inner, f"{name}.")
        yield name
