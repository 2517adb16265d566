"""What a docstring, a signature or a message names as an option can be set on the command line."""

import ast
import importlib
import inspect
import json
import re
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path

from hydra.utils import get_method
from omegaconf import OmegaConf

from tasks.common.options.limits import Options
from tasks.common.run.help import explained
from tests.configs.conftest import TRAININGS, composed, options

SOURCES = Path(__file__).parents[2]
GROUPS = {group for training in TRAININGS.values() for group in (*training.groups, "data")}


def modules(*folders):
    """The modules of folders of ``tasks``, with their syntax trees."""
    for folder in folders:
        for path in sorted((SOURCES / "tasks" / folder).rglob("*.py")):
            name = ".".join(path.relative_to(SOURCES).with_suffix("").parts)
            yield name.removesuffix(".__init__"), ast.parse(path.read_text())


def classes(training):
    """The dataclass of every group, by its name; that of the run has none."""
    return {**training.groups, "data": training.data, "": training.options}


def configurations(task):
    """The configuration of a task for each file of each group."""
    apart = ("debug", "experiment", "recipe")  # no groups of keys, or all with the same
    chosen = [o for o in options(TRAININGS[task]) if o.partition("=")[0] not in apart]
    return {option: composed(task, option) for option in chosen}


def test_every_option_is_explained_and_can_be_set(training):
    for option, cfg in configurations(training.task).items():
        values = OmegaConf.to_container(cfg)
        overrides = []
        for group, made in classes(training).items():
            names = {field.name for field in fields(made)}
            bases = [base for base in made.__mro__ if is_dataclass(base)]
            assert set().union(*(explained(inspect.getdoc(b)) for b in bases)) == names, made
            place = values[group] if group else values
            assert names <= set(place), f"{option}: {names - set(place)} cannot be set"
            flat = {name: place[name] for name in names if not isinstance(place[name], dict)}
            overrides += [f"{group}.{k}={json.dumps(v)}".removeprefix(".") for k, v in flat.items()]
        assert len(overrides) > 40
        if option in ("data=sample", "augment=strong"):
            training.compose([option, *overrides])  # Hydra refuses an unknown key


def test_every_argument_of_a_layout_is_explained_and_can_be_set(training):
    for option, cfg in configurations(training.task).items():
        function = get_method(cfg.data["_target_"])
        arguments = set(inspect.signature(function).parameters)
        shared = {field.name for field in fields(training.data)}
        assert set(cfg.data) - {"_target_"} - shared == arguments, option
        assert set(explained(inspect.getdoc(function))) == arguments


def test_every_key_of_the_root_is_read(training):
    """Or is a group, or an option of the run."""
    groups = {*training.groups, "data", "experiment", "debug"}
    run = set(asdict(training.options()))
    for cfg in configurations(training.task).values():
        assert set(cfg) | {"experiment", "debug"} == groups | run
    read = {
        node.attr
        for _, tree in modules(training.task, "common")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "cfg"
    }
    assert run <= read


def test_no_options_class_is_left_out():
    """A class of options that no group becomes would be out of a user's reach."""
    found = {
        thing
        for name, _ in modules("common", *TRAININGS)
        for thing in vars(importlib.import_module(name)).values()
        if isinstance(thing, type) and is_dataclass(thing) and issubclass(thing, Options)
    }
    reached = {made for training in TRAININGS.values() for made in classes(training).values()}
    assert {made.__name__ for made in found - reached} == {"Recipe"}  # `RecipeOptions` without auto


NO_FILE = r"(?!(?:csv|onnx|py|json|yaml)\b)"
SET = re.compile(rf"(?<![\w./])({'|'.join(GROUPS)})\.([a-z][a-z0-9_]*)=(?![= ])")  # on a page
NAMED = re.compile(rf"(?<![\w./])({'|'.join(GROUPS)})\.{NO_FILE}([a-z][a-z0-9_]*)(?![\w(/])")


def texts(tree):
    """Every string of a module: docstrings, messages and their parts."""
    return [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and type(n.value) is str]


def test_every_option_that_a_message_or_a_docstring_names_exists():
    known = {
        task: {
            f"{group}.{key}"
            for cfg in configurations(task).values()
            for group in GROUPS
            if group in cfg
            for key in cfg[group]
        }
        for task in TRAININGS
    }
    everything = set().union(*known.values())
    for folder, there in {**known, "common": everything}.items():
        for name, tree in modules(folder):
            named = {f"{g}.{k}" for text in texts(tree) for g, k in NAMED.findall(text)}
            files = {"backbone.safetensors", "model.safetensors"}
            assert named - there - files == set(), name
    for page in (SOURCES / "README.md", *sorted((SOURCES / "docs").rglob("*.md"))):
        named = {f"{g}.{k}" for g, k in SET.findall(page.read_text())}
        assert named - everything == set(), page.name
