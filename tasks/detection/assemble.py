"""From a composed configuration to the parts of a run; nothing is trained and nothing written."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from omegaconf import DictConfig

from tasks.common.data.loading import Loading, choose_loading
from tasks.common.data.prefix.check import check_prefix
from tasks.common.data.prefix.options import CacheOptions
from tasks.common.machine.machine import Machine, prepare
from tasks.common.machine.options import TrainerOptions
from tasks.common.options.decision import Decision
from tasks.common.recipe.backbone import BackboneChoice
from tasks.common.recipe.build import choose_freeze, choose_norm
from tasks.common.recipe.recipe import Recipe
from tasks.common.resume.continuation import run_settings
from tasks.common.resume.start import Start, read_start
from tasks.common.run.config import plain_values
from tasks.common.run.parts import RunParts
from tasks.detection.data.data_module import DetectionDataModule
from tasks.detection.data.load import read_splits
from tasks.detection.data.splits import Splits
from tasks.detection.data.transforms import train_transform
from tasks.detection.model.build import new_detector
from tasks.detection.model.card import DetectorCard
from tasks.detection.model.prefix import DetectionEncoder, collate_entries
from tasks.detection.module import DetectionModule
from tasks.detection.options import AugmentOptions, DetectorOptions

_FROZEN = 2  # stem and c2, as in detectron2 and torchvision


@dataclass(frozen=True, kw_only=True)
class Parts(RunParts):
    """What a detection run is made of.

    Attributes:
        card: What the checkpoint will say of the detector.
        module: The detector and its loop.
        data: Its batches.
        splits: What they are of.
        norm: The backbone's norm, and why.
        freeze: How many stages are frozen, and why.
        start: The trained detector that it begins with, if there is one.
    """

    card: DetectorCard
    module: DetectionModule
    data: DetectionDataModule
    splits: Splits
    norm: Decision
    freeze: Decision
    start: Start[DetectorCard] | None

    @property
    def scores(self) -> dict[str, Any]:
        """Of `scored`; empty until it has been tested."""
        return self.module.scores.get("test", {})


def assemble(cfg: DictConfig) -> Parts:
    """Build every part of a run as ``cfg`` says, so that what is wrong is found out first.

    The random seed, the number of threads and the warnings of this process are set as well.

    Args:
        cfg: The composed configuration; see ``configs/detection/detection.yaml``.

    Raises:
        ValueError: If a value, the data or the weights do not fit.
        FileNotFoundError: If data or weights are missing.
        ConnectionError: If weights have to be downloaded and cannot be.
    """
    recipe, options = Recipe(**plain_values(cfg.recipe)), TrainerOptions(**cfg.trainer)
    choice, cache = BackboneChoice(**plain_values(cfg.backbone)), CacheOptions(**cfg.cache)
    augment = AugmentOptions(**plain_values(cfg.augment))
    where = prepare(options, seed=cfg.seed)
    splits = read_splits(cfg.data, policy=cfg.on_bad_image)
    start = read_start(cfg.init_from, DetectorCard, choice)
    choice = choice if start is None else start.choice(choice)
    if start is None:
        norm = choose_norm(choice, batch_size=recipe.batch_size)
    else:
        norm = start.norm(choice)
    freeze = choose_freeze(choice, usual=_FROZEN, recipe=recipe)
    frozen = int(freeze.value)
    network, card = new_detector(
        choice,
        DetectorOptions(**plain_values(cfg.model)),
        data=splits.train,
        norm=norm.value,
        freeze=frozen,
        start=start,
    )
    own = {"augment": asdict(augment), "data": splits.digests(), "init_from": cfg.init_from}
    settings = run_settings(
        recipe,
        options,
        where,
        cache.decides(),
        choice,
        seed=cfg.seed,
        frozen=frozen,
        own=own,
    )
    module = DetectionModule(
        network.to(memory_format=torch.channels_last),
        recipe=recipe,
        card=card,
        settings=settings,
        truths={"val": splits.val.truth, "test": splits.tested.truth},
        devices=options.devices,
    )
    loading = choose_loading(
        options,
        where,
        size=_decoded_size(splits, cached=bool(cache.views)) * card.in_channels,
        once="image",
    )
    data = _data(cfg, splits, card, augment=augment, recipe=recipe, loading=loading)
    if cache.views:
        check_prefix(cache, network.backbone.body, recipe=recipe, options=options)
        _keep_prefix(cfg, cache, data, module, augment=augment, where=where)
    return Parts(
        recipe=recipe,
        options=options,
        where=where,
        loading=loading,
        card=card,
        settings=settings,
        module=module,
        backbone=network.backbone.body,
        data=data,
        has_test=splits.test is not None,
        splits=splits,
        norm=norm,
        freeze=freeze,
        start=start,
    )


def _decoded_size(splits: Splits, *, cached: bool) -> int:
    """Return the pixels that each epoch reads; those of train lie in a prefix cache, if any."""
    read = splits.val.images if cached else (*splits.train.images, *splits.val.images)
    return sum(image.width * image.height for image in read)


def _data(
    cfg: DictConfig,
    splits: Splits,
    card: DetectorCard,
    *,
    augment: AugmentOptions,
    recipe: Recipe,
    loading: Loading,
) -> DetectionDataModule:
    """Return the batches of a run."""
    return DetectionDataModule(
        train=splits.train,
        val=splits.val,
        test=splits.tested,
        batch_size=recipe.batch_size,
        workers=loading.processes,
        seed=cfg.seed,
        transform=train_transform(augment),
        in_channels=card.in_channels,
        decoded=loading.cached,
        folder=loading.folder,
    )


def _keep_prefix(
    cfg: DictConfig,
    cache: CacheOptions,
    data: DetectionDataModule,
    module: DetectionModule,
    *,
    augment: AugmentOptions,
    where: Machine,
) -> None:
    """Give the batches as what the frozen stages make of them."""
    decides = {"augment": asdict(augment), "seed": cfg.seed}
    data.keep_prefix(
        cache,
        DetectionEncoder(module.network, data.train, decides=decides),
        collate=collate_entries,
        precision=where.precision.value,
        device=where.accelerator.value,
    )
