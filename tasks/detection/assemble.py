"""From a composed configuration to the parts of a run; nothing is trained and nothing written."""

from dataclasses import asdict, dataclass

import torch
from omegaconf import DictConfig

from tasks.common.data.loading import Loading, choose_loading
from tasks.common.options.decision import Decision
from tasks.common.recipe.build import choose_freeze, choose_norm
from tasks.common.run.config import plain_values
from tasks.common.run.setup import Setup
from tasks.common.run.task import RunParts
from tasks.detection.data.data_module import DetectionDataModule
from tasks.detection.data.splits import Splits, read_splits
from tasks.detection.data.transforms import train_transform
from tasks.detection.model.build import new_detector
from tasks.detection.model.card import DetectorCard
from tasks.detection.model.frozen_features import DetectionEncoder
from tasks.detection.module import DetectionModule
from tasks.detection.options import AugmentOptions, DetectorOptions

_FROZEN = 2  # stem and c2, as in detectron2 and torchvision

_Setup = Setup[DetectorCard, AugmentOptions]


@dataclass(frozen=True, kw_only=True)
class Parts(RunParts):
    """What a detection run is made of; ``norm`` and ``freeze`` come with their reasons."""

    module: DetectionModule
    data: DetectionDataModule
    splits: Splits
    norm: Decision
    freeze: Decision


def assemble(cfg: DictConfig) -> Parts:
    """Build every part of a run, so that errors are found first; set seed and threads."""
    setup = Setup.read(cfg, DetectorCard, AugmentOptions)
    choice, start, recipe = setup.choice, setup.start, setup.recipe
    options = DetectorOptions(**plain_values(cfg.model))
    splits = read_splits(cfg.data, policy=cfg.on_bad_image, detector=options)
    norm = start.norm(choice) if start else choose_norm(choice, batch_size=recipe.batch_size)
    freeze = choose_freeze(choice, usual=_FROZEN, recipe=recipe)
    frozen = int(freeze.value)
    network, card = new_detector(
        choice, options, data=splits.train, norm=norm.value, freeze=frozen, start=start
    )
    card = setup.with_run(card)
    module = DetectionModule(
        network.to(memory_format=torch.channels_last),
        recipe=recipe,
        card=card,
        settings=setup.settings(frozen=frozen, own={"data": splits.digests()}),
        truths={"val": splits.val.truth, "test": splits.tested.truth},
        devices=setup.options.devices,
    )
    if setup.options.grad_checkpointing:
        module.set_grad_checkpointing()
    size = _decoded_size(splits, cached=bool(setup.cache.views)) * card.in_channels
    loading = choose_loading(setup.options, setup.where, size=size, once="image")
    data = _data(setup, splits, card, loading)
    decides = {"augment": asdict(setup.augment), "seed": setup.seed}
    encoder = DetectionEncoder(network, splits.train, decides=decides)
    setup.cache_features(data, encoder)
    return Parts(
        setup=setup,
        loading=loading,
        module=module,
        data=data,
        has_test=splits.test is not None,
        splits=splits,
        norm=norm,
        freeze=freeze,
    )


def _decoded_size(splits: Splits, *, cached: bool) -> int:
    """Return the pixels that each epoch reads; those of train lie in a feature cache, if any."""
    read = splits.val.images if cached else (*splits.train.images, *splits.val.images)
    return sum(image.width * image.height for image in read)


def _data(
    setup: _Setup, splits: Splits, card: DetectorCard, loading: Loading
) -> DetectionDataModule:
    return DetectionDataModule(
        train=splits.train,
        val=splits.val,
        test=splits.tested,
        batch_size=setup.recipe.batch_size,
        workers=loading.processes,
        seed=setup.seed,
        transform=train_transform(setup.augment),
        in_channels=card.in_channels,
        decoded=loading.cached,
        folder=loading.folder,
    )
