"""From a composed configuration to the parts of a run; nothing is trained and nothing written."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from backbones import Backbone
from tasks.common.backbone import BackboneChoice, choose_freeze, choose_norm
from tasks.common.config import plain_values
from tasks.common.loading import Loading, choose_loading
from tasks.common.machine import Decision, free_shared_memory
from tasks.common.prefix.cache import PrefixCache
from tasks.common.prefix.options import CacheOptions, check_prefix
from tasks.common.recipe import Recipe
from tasks.common.trainer import Machine, TrainerOptions, prepare
from tasks.detection.annotations import Annotations
from tasks.detection.build import new_detector
from tasks.detection.checkpoint import DetectorCard
from tasks.detection.data import DetectionDataModule, Splits
from tasks.detection.model import DetectorOptions
from tasks.detection.module import DetectionModule
from tasks.detection.prefix import DetectionEncoder, collate_entries

_FROZEN = 2  # stem and c2, as in detectron2 and torchvision


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a run is made of.

    Attributes:
        recipe: How to train.
        options: Where to train.
        where: What the options came to on this machine.
        loading: How images are loaded, and why.
        splits: The data.
        tested: The test split, or the validation split where there is none.
        norm: The backbone's norm, and why.
        freeze: How many stages are frozen, and why.
        card: What the checkpoint will say of the detector.
        run: What decides how a run goes on: recipe, augmentation, seed, frozen stages and devices.
        module: The detector and its loop.
        data: Its batches.
        cache: What the frozen stages return, if it is kept.
    """

    recipe: Recipe
    options: TrainerOptions
    where: Machine
    loading: Loading
    splits: Splits
    tested: Annotations
    norm: Decision
    freeze: Decision
    card: DetectorCard
    run: dict[str, Any]
    module: DetectionModule
    data: DetectionDataModule
    cache: PrefixCache | None

    @property
    def backbone(self) -> Backbone:
        """The part of the detector that has stages."""
        body: Backbone = self.module.network.backbone.body
        return body


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
    recipe = Recipe(**plain_values(cfg.recipe))
    options = TrainerOptions(**cfg.trainer)
    cache = CacheOptions(**cfg.cache)
    where = prepare(options, seed=cfg.seed)
    splits: Splits = instantiate(cfg.data).checked(cfg.on_bad_image)
    tested = splits.test or splits.val
    choice = BackboneChoice(**plain_values(cfg.backbone))
    norm, freeze = (
        choose_norm(choice, batch_size=recipe.batch_size),
        choose_freeze(choice, usual=_FROZEN, recipe=recipe),
    )
    network, card = new_detector(
        choice,
        DetectorOptions(**plain_values(cfg.model)),
        data=splits.train,
        norm=norm.value,
        freeze=int(freeze.value),
    )
    run = {
        "recipe": asdict(recipe),
        "augment": plain_values(cfg.augment),
        "seed": cfg.seed,
        "frozen": int(freeze.value),
        "devices": options.devices,
        "cache": cache.decides(),
    }
    module = DetectionModule(
        network.to(memory_format=torch.channels_last),
        recipe=recipe,
        card=card,
        run=run,
        truths={"val": splits.val.truth, "test": tested.truth},
        devices=options.devices,
    )
    read = splits.val.images if cache.views else (*splits.train.images, *splits.val.images)
    pixels = sum(image.width * image.height for image in read)
    shared = free_shared_memory()
    loading = choose_loading(options, where, size=pixels * card.in_channels, shared=shared)
    data = DetectionDataModule(
        train=splits.train,
        val=splits.val,
        test=tested,
        batch_size=recipe.batch_size,
        workers=loading.processes,
        seed=cfg.seed,
        transform=instantiate(cfg.augment),
        in_channels=card.in_channels,
        decoded=loading.cached,
    )
    if cache.views:
        check_prefix(cache, module.network.backbone.body, recipe=recipe, options=options)
        decides = {"augment": plain_values(cfg.augment), "seed": cfg.seed}
        encoder = DetectionEncoder(module.network, splits.train, decides=decides)
        data.keep_prefix(
            cache,
            encoder,
            collate=collate_entries,
            precision=where.precision.value,
            device=where.accelerator.value,
        )
    return Parts(
        recipe=recipe,
        options=options,
        where=where,
        loading=loading,
        splits=splits,
        tested=tested,
        norm=norm,
        freeze=freeze,
        card=card,
        run=run,
        module=module,
        data=data,
        cache=data.cache,
    )
