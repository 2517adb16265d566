"""What every task takes from a configuration before it builds its parts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Generic, Self, TypeVar

from omegaconf import DictConfig

from backbones.lineage import Step
from backbones.weights.write import keel_version
from tasks.common.data.data_module import ResumableDataModule
from tasks.common.data.feature_cache.cache import Encoder, FeatureCache
from tasks.common.data.feature_cache.check import check_feature_cache
from tasks.common.data.feature_cache.options import CacheOptions
from tasks.common.machine.machine import Machine, prepare
from tasks.common.machine.options import PRECISIONS, TrainerOptions
from tasks.common.recipe.backbone import BackboneChoice
from tasks.common.recipe.recipe import Recipe
from tasks.common.resume.card import CardT
from tasks.common.resume.start import Start, read_start
from tasks.common.run.config import plain_values
from tasks.common.run.loggers import check_logger

_OUR_NAMES: Final = {lightnings: ours for ours, lightnings in PRECISIONS.items()}

AugmentT = TypeVar("AugmentT")


@dataclass(frozen=True, kw_only=True)
class Setup(Generic[CardT, AugmentT]):
    """The options that all tasks have, and what they came to on this machine."""

    seed: int
    recipe: Recipe
    options: TrainerOptions
    where: Machine  # device, precision and threads
    cache: CacheOptions
    augment: AugmentT
    choice: BackboneChoice  # the backbone; with ``start``, that is its weights
    init_from: str | None  # the path of ``start`` as it was given
    start: Start[CardT] | None  # that network; None if the run begins with a backbone alone
    data: str = ""  # the name of the data set
    logger: str = "tensorboard"  # of `tasks.common.run.loggers.LOGGERS`

    @classmethod
    def read(cls, cfg: DictConfig, card: type[CardT], augment: type[AugmentT]) -> Self:
        """Read a composed configuration, and set seed, threads and warnings of this process."""
        options = TrainerOptions(**cfg.trainer)
        check_logger(cfg.logger)
        choice = BackboneChoice(**plain_values(cfg.backbone))
        start = read_start(cfg.init_from, card, choice)
        return cls(
            seed=cfg.seed,
            recipe=Recipe(**plain_values(cfg.recipe)),
            options=options,
            where=prepare(options, seed=cfg.seed),
            cache=CacheOptions(**cfg.feature_cache),
            augment=augment(**plain_values(cfg.augment)),
            choice=choice if start is None else replace(choice, weights=str(start.path)),
            init_from=cfg.init_from,
            start=start,
            data=_data_name(cfg.data),
            logger=cfg.logger,
        )

    def with_run(self, card: CardT) -> CardT:
        """Return the card with this run as the last step of its lineage."""
        today = datetime.now().astimezone().date().isoformat()
        step = Step(task=card.NAMES.task, data=self.data, date=today, keel=keel_version())
        return replace(card, lineage=(*card.lineage, step))

    def settings(self, *, frozen: int, own: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the losses depend on beside the network, but for the device, by option."""
        return {
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            "backbone": {"freeze": frozen, "drop_path": self.choice.drop_path},
            "trainer": {
                "devices": self.options.devices,
                "max_steps": self.options.max_steps,
                "precision": _OUR_NAMES[self.where.precision.value],
                "compile": self.options.compile,
            },
            "cache": self.cache.decides(),
            "augment": asdict(self.augment),  # type: ignore[call-overload]
            "init_from": self.init_from,
            **own,
        }

    def cache_features(self, data: ResumableDataModule, encoder: Encoder) -> None:
        """Train on what the frozen stages return, if ``feature_cache.views`` says so."""
        if self.cache.views:
            check_feature_cache(
                self.cache, encoder.backbone, recipe=self.recipe, options=self.options
            )
            precision, device = self.where.precision.value, self.where.accelerator.value
            data.cache = FeatureCache(
                self.cache, encoder, data.training_set(), precision=precision, device=device
            )


def _data_name(data: DictConfig) -> str:
    """Return the name of a data set: that of its folder, without the path to it."""
    if ".sample." in str(data.get("_target_")):
        return "the sample set"
    root = Path(str(data.get("root") or "")).absolute()
    return (root.parent if root.suffix in (".yaml", ".yml") else root).name
