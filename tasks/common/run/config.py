"""The options of a training script: declared by dataclasses, composed by Hydra, and checked.

The dataclasses own the defaults and the types; the YAML files under ``configs`` own the recipes.
Nothing here imports torch, so that a wrong option is reported at once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from backbones import list_backbones
from backbones.plugins import FAMILIES, offered
from tasks.common.data.feature_cache.options import CacheOptions
from tasks.common.machine.options import TrainerOptions
from tasks.common.options.limits import Options, integer, with_tuples
from tasks.common.options.run import RunOptions
from tasks.common.recipe.backbone import BackboneChoice
from tasks.common.recipe.recipe import Recipe

CONFIGS: Final = Path(__file__).parents[3] / "configs"


@dataclass(frozen=True, kw_only=True)
class RecipeOptions(Recipe, group="recipe"):
    """A recipe whose batch size may be ``auto``; see `tasks.common.run.batch_size`."""

    batch_size: int | str = integer(Recipe.batch_size, least=1, also={"auto": "auto"})  # type: ignore[assignment]


_SHARED: Final[Mapping[str, type[Options]]] = {
    "backbone": BackboneChoice,
    "recipe": RecipeOptions,
    "trainer": TrainerOptions,
    "feature_cache": CacheOptions,
}


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training script."""

    script: str  # its path in the project
    task: str  # the folder below ``configs`` and the root configuration in it
    title: str  # what it trains, for ``--help``
    run: str  # the dotted name of what trains: `tasks.common.run.run.run_task`, but for the task
    own: Mapping[str, type[Options]]  # the dataclasses of the groups that only this task has
    data: type[Options]  # the options of every layout of a data set; each layout adds its own
    options: type[RunOptions] = RunOptions  # the options that belong to no group

    @property
    def configs(self) -> Path:
        """The folder of the configuration files."""
        return CONFIGS / self.task

    @property
    def groups(self) -> Mapping[str, type[Options]]:
        """The dataclass of every group but ``data``."""
        return {**_SHARED, **self.own}

    def register(self, backbones: Iterable[str] = ()) -> None:
        """Tell Hydra every option, and those ``backbones`` of large families that are wanted."""
        store = ConfigStore.instance()
        store.store(group="backbone", name="schema", node=_schema(BackboneChoice))
        for name in [*list_backbones(), *backbones]:
            group, _, last = f"backbone/{name}".rpartition("/")
            node = {"defaults": ["/backbone/schema@_global_.backbone"], "name": name}
            store.store(group=group, name=last, node=node, package="backbone")
        store.store(name="options", node=asdict(self.options()))
        store.store(group="trainer", name="auto", node=_schema(TrainerOptions()))
        store.store(group="feature_cache", name="frozen", node=_schema(CacheOptions()))
        # One training step, one validation, the whole report: does everything fit together?
        one_step = {"trainer": {"max_steps": 1}}
        store.store(group="debug", name="one_step", node=one_step, package="_global_")
        # Not typed, so that a layout can add options of its own.
        store.store(group="data", name="schema", node=asdict(self.data()))
        for file in sorted((CONFIGS / "recipe").glob("*.yaml")):
            store.store(group="recipe", name=file.stem, node=OmegaConf.load(file))
        typed: dict[str, type[Options]] = {"recipe": RecipeOptions, **self.own}
        for group, options in typed.items():
            store.store(group=group, name="schema", node=_schema(options()))

    def compose(self, overrides: Sequence[str] = (), *, hydra: bool = False) -> DictConfig:
        """Return the configuration, with Hydra's own in it if wanted; errors are Hydra's."""
        self.register(members(overrides))
        with initialize_config_dir(version_base="1.3", config_dir=str(self.configs)):
            return compose(self.task, overrides=list(overrides), return_hydra_config=hydra)

    def check(self, cfg: DictConfig) -> None:
        """Raise UserError, with option and limits, if an option has a value it does not take."""
        own = {field: cfg[field] for field in asdict(self.options())}
        self.options(**own)
        for group, made in self.groups.items():
            made(**plain_values(cfg[group]))
        names = {field.name for field in fields(self.data)}
        self.data(**{k: v for k, v in plain_values(cfg.data).items() if k in names})


def members(overrides: Sequence[str]) -> list[str]:
    """Return the names of families that a command line asks for, such as ``timm/resnet18``."""
    asked = [o.partition("=")[2] for o in overrides if o.startswith("backbone=")]
    names = [name for several in asked for name in several.split(",") if "/" in name]
    families = offered(FAMILIES) if names else []
    return [name for name in names if name.partition("/")[0] in families]


def plain_values(node: DictConfig) -> dict[str, Any]:
    """Return the values of a group, with tuples for lists, as the dataclasses have them."""
    values: Mapping[str, Any] = OmegaConf.to_container(node, resolve=True)  # type: ignore[assignment]
    return with_tuples(values)


def _schema(options: object) -> Any:  # noqa: ANN401 (a DictConfig, which mypy sees as Any)
    """Return a typed config that can be changed; that of a frozen dataclass begins read-only."""
    schema = OmegaConf.structured(options)
    OmegaConf.set_readonly(schema, None)
    for key in schema:
        if OmegaConf.get_type(schema, key) is dict:  # its keys are the user's
            OmegaConf.set_struct(schema[key], value=False)
    return schema
