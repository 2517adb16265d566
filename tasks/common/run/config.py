"""Tells Hydra what the options are: every registered backbone, and our dataclasses as schemas.

The dataclasses own the defaults and the types; the YAML files under ``configs`` own the recipes.
What both tasks share, the groups ``backbone``, ``trainer``, ``cache`` and ``debug`` and the recipes
that build upon each task's ``finetune``, is stored from here.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, make_dataclass
from pathlib import Path
from typing import Any, Final

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from backbones import list_backbones
from tasks.common.data.prefix.options import CacheOptions
from tasks.common.machine.options import TrainerOptions
from tasks.common.recipe.backbone import BackboneChoice
from tasks.common.recipe.recipe import Recipe

_RECIPES: Final = Path(__file__).parents[3] / "configs" / "recipe"
# A configuration may leave the batch size to `tasks.common.run.batch_size`; a recipe has a number.
_RecipeOptions = make_dataclass(
    "_RecipeOptions",
    [("batch_size", int | str, Recipe.batch_size)],
    bases=(Recipe,),
    frozen=True,
    kw_only=True,
)


def register_configs(groups: Mapping[str, Any]) -> None:
    """Store a ``backbone/<name>`` per registered backbone, the shared groups, and the schemas.

    Args:
        groups: The task's own groups, each with a dataclass that holds its defaults.
    """
    store = ConfigStore.instance()
    for name in [*list_backbones(), *_families(sys.argv)]:
        group, _, last = f"backbone/{name}".rpartition("/")
        node = _schema(BackboneChoice(name=name))
        store.store(group=group, name=last, node=node, package="backbone")
    store.store(group="trainer", name="auto", node=_schema(TrainerOptions()))
    store.store(group="cache", name="prefix", node=_schema(CacheOptions()))
    # One training step, one validation, the whole report: does everything fit together?
    store.store(
        group="debug", name="one_step", node={"trainer": {"max_steps": 1}}, package="_global_"
    )
    for file in sorted(_RECIPES.glob("*.yaml")):
        store.store(group="recipe", name=file.stem, node=OmegaConf.load(file))
    for group, options in {"recipe": _RecipeOptions(), **groups}.items():
        # Each layout of a data set adds options of its own, so that schema must stay open.
        node = asdict(options) if group == "data" else _schema(options)
        store.store(group=group, name="schema", node=node)


def _families(arguments: Sequence[str]) -> list[str]:
    """Return the names below a prefix, such as ``timm/resnet18``, that a command line asks for.

    A family may have a thousand members, so they are options only where they are asked for.
    """
    asked = [a.partition("=")[2] for a in arguments if a.startswith("backbone=")]
    return [name for names in asked for name in names.split(",") if "/" in name]


def plain_values(node: DictConfig) -> dict[str, Any]:
    """Return the values of a group, with tuples for lists, as the dataclasses have them."""
    values: Mapping[str, Any] = OmegaConf.to_container(node, resolve=True)  # type: ignore[assignment]
    return {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}


def _schema(options: object) -> Any:  # noqa: ANN401 (a DictConfig, which mypy sees as Any)
    """Return a typed config; that of a frozen dataclass is read-only until it is told otherwise."""
    schema = OmegaConf.structured(options)
    OmegaConf.set_readonly(schema, None)
    for key in schema:
        if OmegaConf.get_type(schema, key) is dict:  # its keys are the user's
            OmegaConf.set_struct(schema[key], value=False)
    return schema
