"""From a composed configuration to the parts of a run; nothing is trained and nothing written."""

from dataclasses import asdict, dataclass, replace
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
from tasks.common.recipe.build import choose_freeze, coarsest_stride
from tasks.common.recipe.recipe import Recipe
from tasks.common.resume.continuation import run_settings
from tasks.common.resume.start import Start, read_start
from tasks.common.run.config import plain_values
from tasks.common.run.parts import RunParts
from tasks.segmentation.data.case_facts import CaseFacts
from tasks.segmentation.data.data_module import SegmentationDataModule
from tasks.segmentation.data.input import choose_normalisation, choose_patch, choose_patches
from tasks.segmentation.data.load import Splits, read_splits
from tasks.segmentation.data.transforms import PatchTransform
from tasks.segmentation.model.build import choose_norms, new_segmenter, resumed_input
from tasks.segmentation.model.card import SegmenterCard
from tasks.segmentation.model.deep_supervision import DeepSupervision
from tasks.segmentation.model.losses import build_loss
from tasks.segmentation.model.prefix import PatchEncoder, check_views, collate_entries
from tasks.segmentation.module import SegmentationModule
from tasks.segmentation.options import AugmentOptions, InputOptions, LossOptions, UNetOptions
from tasks.segmentation.scores.metrics import check_tolerance

_FROZEN = 0  # with 16 images of WBC freezing stem and c2 cost 0.007 of Dice (README)
_SPREAD = {"instance", "batch", "sync_batch"}
"""Norms that cannot train on a map of one pixel, of which a last batch may have one only."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What was left to us, and why it is as it is.

    Attributes:
        norm: Of the backbone.
        decoder_norm: Of the decoder.
        freeze: How many stages are frozen.
        normalisation: Of the intensities.
        patch: Why it has its size.
    """

    norm: Decision
    decoder_norm: Decision
    freeze: Decision
    normalisation: Decision
    patch: str


@dataclass(frozen=True, kw_only=True)
class Parts(RunParts):
    """What a segmentation run is made of.

    Attributes:
        card: What the checkpoint will say of the segmenter.
        module: The segmenter and its loop.
        data: Its batches.
        splits: What they are of.
        loss: What is minimised.
        choices: What was left to us.
        start: The trained segmenter that it begins with, if there is one.
    """

    card: SegmenterCard
    module: SegmentationModule
    data: SegmentationDataModule
    splits: Splits
    loss: LossOptions
    choices: Choices
    start: Start[SegmenterCard] | None

    @property
    def scores(self) -> dict[str, Any]:
        """Of `scored`; empty until it has been tested."""
        return self.module.scores.get("test", {})


def assemble(cfg: DictConfig) -> Parts:
    """Build every part of a run as ``cfg`` says, so that what is wrong is found out first.

    The random seed, the number of threads and the warnings of this process are set as well.

    Args:
        cfg: The composed configuration; see ``configs/segmentation/segmentation.yaml``.

    Raises:
        ValueError: If a value, the data or the weights do not fit.
        FileNotFoundError: If data or weights are missing.
        ConnectionError: If weights have to be downloaded and cannot be.
    """
    recipe, loss = Recipe(**plain_values(cfg.recipe)), LossOptions(**plain_values(cfg.loss))
    options, choice = TrainerOptions(**cfg.trainer), BackboneChoice(**plain_values(cfg.backbone))
    model, inputs = UNetOptions(**plain_values(cfg.model)), InputOptions(**plain_values(cfg.input))
    augment, cache = AugmentOptions(**plain_values(cfg.augment)), CacheOptions(**cfg.cache)
    check_tolerance(cfg.tolerance)
    where = prepare(options, seed=cfg.seed)
    splits, split_options = read_splits(cfg.data, policy=cfg.on_bad_image)
    start = read_start(cfg.init_from, SegmenterCard, choice)
    choice = choice if start is None else start.choice(choice)
    inputs = resumed_input(inputs, start)
    norm, decoder_norm = choose_norms(choice, model, batch_size=recipe.batch_size, start=start)
    model = replace(model, norm=decoder_norm.value)
    inputs, normalisation, patch = _resolved(
        inputs,
        splits.train.facts,
        spread=bool(_SPREAD & {norm.value, decoder_norm.value}),
        coarsest=coarsest_stride(choice, norm=norm.value),
    )
    _check_turns(augment, inputs)
    _check_neighbours(inputs, splits)
    freeze = choose_freeze(choice, usual=_FROZEN, recipe=recipe)
    frozen = int(freeze.value)
    network, card = new_segmenter(
        choice,
        model,
        inputs,
        data=splits.train.cases,
        channels=splits.train.facts[0].channels,
        norm=norm.value,
        freeze=frozen,
        start=start,
    )
    own = {
        "init_from": cfg.init_from,
        "loss": asdict(loss),
        "augment": asdict(augment),
        "split": asdict(split_options),
        "cases": splits.digests(),
    }
    labelled = build_loss(loss, card.classes, label_smoothing=recipe.label_smoothing)
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
    module = SegmentationModule(
        network.to(memory_format=torch.channels_last),
        loss=DeepSupervision(labelled),
        recipe=recipe,
        card=card,
        settings=settings,
        tolerance=cfg.tolerance,
        devices=options.devices,
    )
    loading = choose_loading(options, where, size=splits.decoded_size(), once="volume")
    data = _data(cfg, splits, card, augment=augment, recipe=recipe, loading=loading)
    if cache.views:
        check_prefix(cache, network.backbone, recipe=recipe, options=options)
        check_views(cache.views, inputs, slices=sum(case.shape[0] for case in splits.train.facts))
        _keep_prefix(cfg, cache, data, module, augment=augment, where=where)
    return Parts(
        recipe=recipe,
        options=options,
        where=where,
        loading=loading,
        card=card,
        settings=settings,
        module=module,
        backbone=network.backbone,
        data=data,
        has_test=splits.test is not None,
        splits=splits,
        loss=loss,
        choices=Choices(
            norm=norm,
            decoder_norm=decoder_norm,
            freeze=freeze,
            normalisation=normalisation,
            patch=patch,
        ),
        start=start,
    )


def _data(
    cfg: DictConfig,
    splits: Splits,
    card: SegmenterCard,
    *,
    augment: AugmentOptions,
    recipe: Recipe,
    loading: Loading,
) -> SegmentationDataModule:
    """Return the batches of a run."""
    return SegmentationDataModule(
        train=(splits.train.cases, splits.train.facts),
        val=splits.val.cases,
        test=splits.tested.cases,
        options=card.input,
        preprocessing=card.preprocessing,
        batch_size=recipe.batch_size,
        transform=PatchTransform(augment),
        workers=loading.processes,
        seed=cfg.seed,
        cache=loading.cache.value,
        folder=loading.folder,
        sizes=(splits.train.sizes(), splits.val.sizes()),
    )


def _keep_prefix(
    cfg: DictConfig,
    cache: CacheOptions,
    data: SegmentationDataModule,
    module: SegmentationModule,
    *,
    augment: AugmentOptions,
    where: Machine,
) -> None:
    """Give the batches as what the frozen stages make of them."""
    inputs = module.card.input
    decides = {"input": asdict(inputs), "augment": asdict(augment), "seed": cfg.seed}
    data.keep_prefix(
        cache,
        PatchEncoder(module.network, data.train.split, options=inputs, decides=decides),
        collate=collate_entries,
        precision=where.precision.value,
        device=where.accelerator.value,
    )


def _check_neighbours(inputs: InputOptions, splits: Splits) -> None:
    """Raise if slices are wanted beside those of flat images."""
    if inputs.neighbours and splits.train.facts[0].flat:
        raise ValueError(
            f"input.neighbours={inputs.neighbours} takes volumes: flat images have no slices "
            "beside them. Leave it out."
        )


def _check_turns(augment: AugmentOptions, inputs: InputOptions) -> None:
    """Raise if patches would be turned on their side that are not square."""
    height, width = inputs.patch
    if augment.rotate90 and height != width:
        side = max(height, width)
        raise ValueError(
            f"augment.rotate90 takes square patches, and these are {height} x {width}: add "
            f"input.patch=[{side},{side}] or augment.rotate90=0."
        )


def _resolved(
    options: InputOptions, facts: tuple[CaseFacts, ...], *, spread: bool, coarsest: int
) -> tuple[InputOptions, Decision, str]:
    """Return the options with nothing left to ``auto``, and the reasons."""
    normalisation = choose_normalisation(options, [case.dtype for case in facts])
    patch, reason = choose_patch(
        options,
        [(case.shape[1], case.shape[2]) for case in facts],
        multiple=coarsest,
        smallest=coarsest * (2 if spread else 1),
    )
    patches = choose_patches(options, slices=sum(case.shape[0] for case in facts))
    resolved = replace(options, normalisation=normalisation.value, patch=patch, patches=patches)
    return resolved, normalisation, reason
