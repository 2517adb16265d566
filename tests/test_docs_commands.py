"""Every command of the documents is one that its script accepts, or has its reason here."""

import re
import runpy
import shlex
import sys
import tomllib
from argparse import ArgumentParser
from functools import cache
from itertools import product
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from backbones import list_backbones
from backbones.errors import UserError
from tasks.common.run.command_line import training_help, with_text_tables
from tests.configs.conftest import TRAININGS

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {*PROJECT["optional-dependencies"]}
SCRIPTS = {path.name for path in (ROOT / "scripts").glob("*.py")}
BACKBONES = {*list_backbones()}
TASKS = {training.script: name for name, training in TRAININGS.items()}

BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHORT = re.compile(r"\.\.\.`?\s+is[^=]{0,60}?((?:[\w.]+=[^\s`]+ ?)+)")  # what ... stands for
PREFIX = re.compile(r"^(?:[A-Z_]+=\S+ |srun )+")
OPEN = re.compile(r"\$\{?[A-Z_]+\}?|<\w+>")  # a variable of the shell, or what the reader puts in

NOT_RUN = {  # how a command begins: why no test runs it
    "export ": "of the shell",
    "ln -s ": "of the shell",
    "python -m venv ": "of Python",
    "sbatch ": "needs SLURM",
    "source ": "of the shell",
    "tensorboard ": "serves until it is stopped",
}


def commands(text):
    """Yield each command of a document's bash blocks, with what ... stands for put in."""
    for block in BLOCK.finditer(text):
        for line in re.sub(r"\\\n\s*", "", block[1]).splitlines():
            shorts = SHORT.findall(text[: block.start(1)] + block[1].partition(line)[0])
            command = re.sub(r"(^|\s)#.*", "", line).strip()
            if " ... " in f"{command} " and shorts:
                command = command.replace("...", shorts[-1].strip(), 1)
            if command:
                yield OPEN.sub("0", PREFIX.sub("", command))


FOUND = {}  # commands, and the document that has each first
for path in DOCUMENTS:
    for command in commands(path.read_text(encoding="utf-8")):
        FOUND.setdefault(command, path.relative_to(ROOT))


class Parsed(BaseException):
    """The command line was accepted; nothing else is done."""


@pytest.fixture
def parse(monkeypatch):
    """Return what runs a script up to the point where its arguments are accepted."""

    def stopping(original):
        def parse(self, *arguments):
            found = original(self, *arguments)
            if (
                isinstance(found, tuple) and found[1]
            ):  # unknown options, about which the script errs
                return found
            raise Parsed

        return parse

    for name in ("parse_args", "parse_known_intermixed_args"):
        monkeypatch.setattr(ArgumentParser, name, stopping(getattr(ArgumentParser, name)))

    def run(script, arguments):
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        code = 0
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        except SystemExit as end:
            code = end.code
        except Parsed:
            pass
        assert not code

    return run


@cache
def composed(task, *groups):
    """The configuration of a task for its chosen files; it is not to be changed."""
    return TRAININGS[task].compose(groups)


def plain(value):
    """The value of an override, with text for what stands in quotes."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    return value.text if isinstance(value, QuotedString) else value


def values(override):
    """The value of an override, or the several values of a sweep."""
    several = override.value().list if override.is_sweep_override() else [override.value()]
    return [(override.key_or_group, plain(value)) for value in several]


def check_run(task, options):
    """Refuse options that the script refuses before it reads data."""
    training = TRAININGS[task]
    groups = {*training.groups, "data", "experiment", "debug"} - {"backbone"}
    chosen = {key: value for key, value in options if key in groups}
    cfg = composed(task, *(f"{key}={value}" for key, value in chosen.items())).copy()
    for key, value in options:
        if key == "backbone":
            assert value in BACKBONES or value.startswith("timm/")
        elif key not in groups:
            OmegaConf.update(cfg, key, value)
    training.check(cfg)
    assert cfg.data.get("root", "") not in ("", "???")


def check_training(task, arguments):
    """Refuse what the script refuses: for a sweep each of its runs, for --help nothing else."""
    if {"-h", "--help"} & {*arguments}:
        assert training_help(TRAININGS[task], arguments)
        return
    given = [a for a in with_text_tables(arguments) if not a.startswith("-")]
    overrides = OverridesParser.create().parse_overrides(given)
    sweeps = any(override.is_sweep_override() for override in overrides)
    assert not sweeps or {"-m", "--multirun"} & {*arguments}
    for options in product(*map(values, overrides)):
        check_run(task, options)


def check(command, parse):
    """Run a command as far as its options are accepted."""
    program, *arguments = shlex.split(command)
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {*arguments} <= {*targets}
    elif program == "pip" and arguments[0] == "install":
        for extras in re.findall(r"\[([\w,-]+)\]", " ".join(arguments)):
            assert {*extras.split(",")} <= EXTRAS
    elif program == "python" and arguments and Path(arguments[0]).name in SCRIPTS:
        script, *rest = arguments
        if script in TASKS:
            check_training(TASKS[script], rest)
        else:
            parse(script, rest)
    else:
        pytest.fail(f"{command!r}: let a test run it, or say in NOT_RUN why none does")


def reason(command):
    return next((why for start, why in NOT_RUN.items() if command.startswith(start)), None)


@pytest.mark.parametrize("command", FOUND, ids=lambda command: f"{FOUND[command]}: {command}")
def test_every_command_of_the_documents_is_accepted(command, parse):
    if reason(command) is None:
        check(command, parse)


def test_every_reason_is_needed():
    assert [s for s in NOT_RUN if not any(command.startswith(s) for command in FOUND)] == []


TEXT = """\
`...` is
the data: `data=coco data.root=/d`.
```bash
# a comment
A=1 python x.py ...  # b
srun python y.py \\
  a=$SLURM_ID <run>
```
```bash
# below, ... is: data=voc
python x.py ... c=1
```
"""


def test_commands_are_found_with_their_abbreviations():
    assert list(commands(TEXT)) == [
        "python x.py data=coco data.root=/d",
        "python y.py a=0 0",
        "python x.py data=voc c=1",
    ]


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (
            "python scripts/train_det.py data=coco data.root=/d recipe.eopchs=3",
            OmegaConfBaseException,
        ),
        ("python scripts/train_det.py data=coco data.root=/d recipe.lr=-1", UserError),
        ("python scripts/train_seg.py -m data=csv data.root=/d data.fold=0,9", UserError),
        ("python scripts/train_seg.py data=folder data.root=/d data.fold=0,1", AssertionError),
        ("python scripts/train_det.py data=coco", AssertionError),
        ("python scripts/predict.py RUN images --regons", AssertionError),
        ("python scripts/export.py RUN", AssertionError),
        ("python scripts/train_det.py data=coco data.root=/d backbone=resnet51", AssertionError),
        ("pip install '.[onnx]'", AssertionError),
        ("make everything", AssertionError),
        ("python scripts/train.py", pytest.fail.Exception),
        ("yolo train", pytest.fail.Exception),
    ],
)
def test_a_wrong_command_is_noticed(command, error, parse):
    with pytest.raises(error):
        check(command, parse)
