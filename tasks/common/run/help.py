"""What ``--help`` of a training script prints: every option with its value, from the docstrings."""

import ast
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from importlib.util import find_spec
from inspect import cleandoc
from pathlib import Path
from typing import Any, Final

from omegaconf import DictConfig, OmegaConf

from tasks.common.options.limits import Options, limits_of
from tasks.common.run.config import Training

FIRST: Final = (
    *("data", "data.root", "backbone", "backbone.weights", "backbone.freeze"),
    *("recipe.epochs", "recipe.batch_size", "recipe.lr", "trainer.precision", "resume"),
)
"""The options that most people need."""

_WIDTH: Final = 100
_COLUMN: Final = 34
GROUPS: Final = {
    "data": "how the data are laid out",
    "backbone": "the network under the task, or timm/<name> (docs/backbones.md)",
    "model": "what stands on the backbone",
    "input": "what the network sees of an image",
    "loss": "what is minimised",
    "recipe": "how to train",
    "augment": "how training images are changed at random",
    "trainer": "where to compute",
    "feature_cache": "features of frozen stages, kept",
    "experiment": "a whole set of options, with the result to expect",
    "debug": "one step and one validation, to see whether everything fits together",
}
"""What is chosen by each group of files."""


@dataclass(frozen=True, kw_only=True)
class Described:
    """An option as people read it."""

    value: str  # as it is written on the command line
    text: str  # what its docstring says
    takes: str  # its limits in words; may be empty


def help_text(
    training: Training, cfg: DictConfig, choices: Mapping[str, tuple[str, Sequence[str]]]
) -> str:
    """Return the text; ``choices`` are each group's chosen file and all there are."""
    groups = [group for group in GROUPS if group in choices]
    chosen = {group: (choices[group][0], GROUPS[group]) for group in groups}
    options = {
        name: (option.value, _line(option.text, option.takes))
        for name, option in described(training, cfg).items()
    }
    sections = {
        "What most people need": {name: (chosen | options)[name] for name in FIRST},
        "Groups, and what there is to choose": {
            group: (choices[group][0], ", ".join(choices[group][1])) for group in groups
        },
        "The run": {name: said for name, said in options.items() if "." not in name},
        **{
            f"{group}: {GROUPS[group]}": {
                name: said for name, said in options.items() if name.startswith(f"{group}.")
            }
            for group in groups
        },
    }
    lines = [
        f"usage: python {training.script} [GROUP=CHOICE ...] [OPTION=VALUE ...]",
        "",
        f"Train {training.title}.",
        "The values below are those of this command: add GROUP=CHOICE before --help to see others.",
    ]
    for heading, entries in sections.items():
        again = FIRST if heading.startswith(("The run", *groups)) else ()
        kept = {name: said for name, said in entries.items() if name not in again}
        lines += ["", *_section(heading, kept)] * bool(kept)
    more = "--cfg job prints the configuration as YAML; --hydra-help lists what else Hydra takes."
    return "\n".join([*lines, "", more])


def docstring(name: str) -> str:
    """Return the docstring of a class or function by dotted name, without importing it."""
    module, _, own = name.rpartition(".")
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return ""
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    kinds = ast.ClassDef | ast.FunctionDef
    found = [node for node in tree.body if isinstance(node, kinds) and node.name == own]
    return (ast.get_docstring(found[0]) or "") if found else ""


def explained(text: str) -> dict[str, str]:
    """Return what a docstring says of each attribute or argument, by name."""
    section = re.search(r"^(?:Attributes|Args):\n((?: {4}.*\n?|\n)*)", text, re.MULTILINE)
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section[1] if section else "", re.M)
    return {name: re.sub(r"\s+", " ", said) for name, said in entries}


def described(training: Training, cfg: DictConfig) -> dict[str, Described]:
    """Return every option of the groups and of the run, by name, with the values of ``cfg``."""
    values: dict[str, Any] = OmegaConf.to_container(cfg)  # type: ignore[assignment]
    found = {}
    for group in ("data", *training.groups):
        said, limits = _said(training, group, values[group])
        for key, value in values[group].items():
            if key != "_target_" and (group, key) != ("backbone", "name"):
                found[f"{group}.{key}"] = Described(
                    value=written(value), text=said.get(key, ""), takes=limits.get(key, "")
                )
    said, limits = _explained(training.options), limits_of(training.options)
    for key in said:
        found[key] = Described(
            value=written(values[key]), text=said[key], takes=limits.get(key, "")
        )
    return found


def _said(
    training: Training, group: str, values: Mapping[str, Any]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the explanations of a group's options, and what they take."""
    if group != "data":
        made = training.groups[group]
        return _explained(made), limits_of(made)
    said = _explained(training.data) | explained(docstring(values["_target_"]))
    return said, limits_of(training.data)


def _explained(made: type[Options]) -> dict[str, str]:
    docs = [cleandoc(base.__doc__ or "") for base in made.__mro__ if is_dataclass(base)]
    return {name: said for text in reversed(docs) for name, said in explained(text).items()}


def _line(text: str, limit: str) -> str:
    """Return the first clause of an explanation, and what the option takes."""
    plain = re.sub(r" \([^)]*arXiv[^)]*\)|, as in [^;:.]*", "", text.replace("`", ""))
    clause = re.split(r"[;:](?= )(?![^{]*\})|(?<=[\w)])\.(?= |$)", plain, maxsplit=1)[0]
    short = re.sub(r"^(an integer|a number|a probability|a share|a distance) (of )?", "", limit)
    return f"{clause} ({short})" if short and short not in clause else clause


def written(value: Any) -> str:  # noqa: ANN401 (plain values)
    """Return a value as it is written on the command line."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {written(item)}' for key, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{','.join(map(written, value))}]"
    words = {None: "null", True: "true", False: "false", "???": "<required>"}
    is_word = value is None or isinstance(value, bool | str)
    return words.get(value, str(value)) if is_word else str(value)


def _section(heading: str, entries: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    yield f"{heading}:"
    for name, (value, text) in entries.items():
        label = f"  {name}={value}"
        wrapped = textwrap.wrap(text, _WIDTH - _COLUMN, break_on_hyphens=False) or [""]
        if len(label) >= _COLUMN:
            yield label
            label = ""
        yield f"{label:{_COLUMN}}{wrapped[0]}".rstrip()
        yield from (" " * _COLUMN + line for line in wrapped[1:])
