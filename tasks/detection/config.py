"""Tells Hydra what the options are: every registered backbone, and our dataclasses as schemas.

The dataclasses own the defaults and the types; the YAML files under ``configs`` own the recipes.
"""

from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from backbones import list_backbones
from tasks.common.optim import Recipe
from tasks.common.trainer import TrainerOptions
from tasks.detection.build import BackboneChoice
from tasks.detection.model import DetectorOptions


def register_configs() -> None:
    """Store a ``backbone/<name>`` per registered backbone, and a ``schema`` per group."""
    store = ConfigStore.instance()
    for name in list_backbones():
        store.store(group="backbone", name=name, node=_schema(BackboneChoice(name=name)))
    store.store(group="recipe", name="schema", node=_schema(Recipe()))
    store.store(group="trainer", name="schema", node=_schema(TrainerOptions()))
    store.store(group="model", name="schema", node=_schema(DetectorOptions()))


def _schema(options: object) -> Any:  # noqa: ANN401 (a DictConfig, which mypy sees as Any)
    """Return a typed config; that of a frozen dataclass is read-only until it is told otherwise."""
    schema = OmegaConf.structured(options)
    OmegaConf.set_readonly(schema, None)
    return schema
