"""From a composed configuration to the parts of a run; nothing is trained and nothing written."""

from dataclasses import asdict, dataclass, replace

import torch
from omegaconf import DictConfig

from backbones.errors import UserError
from tasks.common.data.loading import Loading, choose_loading
from tasks.common.options.decision import Decision
from tasks.common.recipe.build import choose_freeze, coarsest_stride
from tasks.common.run.config import plain_values
from tasks.common.run.setup import Setup
from tasks.common.run.task import RunParts
from tasks.segmentation.data.data_module import SegmentationDataModule
from tasks.segmentation.data.input import choose_normalisation, choose_patch, choose_patches
from tasks.segmentation.data.load import Splits, read_splits
from tasks.segmentation.data.transforms import PatchTransform
from tasks.segmentation.model.build import choose_norms, new_segmenter, resumed_input
from tasks.segmentation.model.card import SegmenterCard
from tasks.segmentation.model.deep_supervision import DeepSupervision
from tasks.segmentation.model.frozen_features import PatchEncoder, check_views
from tasks.segmentation.model.losses import build_loss
from tasks.segmentation.module import SegmentationModule
from tasks.segmentation.options import AugmentOptions, InputOptions, LossOptions, UNetOptions

_FROZEN = 0  # with 16 images of WBC freezing stem and c2 cost 0.007 of Dice (README)
_SPREAD = {"instance", "batch", "sync_batch"}
"""Norms that cannot train on a map of one pixel, of which a last batch may have one only."""

_Setup = Setup[SegmenterCard, AugmentOptions]


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What options left open, and what was decided; ``patch`` is why it has its size."""

    norm: Decision
    decoder_norm: Decision
    freeze: Decision
    normalisation: Decision
    patch: str


@dataclass(frozen=True, kw_only=True)
class Parts(RunParts):
    """What a segmentation run is made of; ``choices`` are those that options left open."""

    module: SegmentationModule
    data: SegmentationDataModule
    splits: Splits
    loss: LossOptions
    choices: Choices


def assemble(cfg: DictConfig) -> Parts:
    """Build every part of a run, so that errors are found first; set seed and threads."""
    setup = Setup.read(cfg, SegmenterCard, AugmentOptions)
    loss = LossOptions(**plain_values(cfg.loss))
    model, inputs = UNetOptions(**plain_values(cfg.model)), InputOptions(**plain_values(cfg.input))
    splits, split_options = read_splits(cfg.data, policy=cfg.on_bad_image)
    model, inputs, choices = _resolved(setup, model, inputs, splits)
    network, card = new_segmenter(
        setup.choice,
        model,
        inputs,
        data=splits.train.cases,
        channels=splits.train.facts[0].channels,
        norm=choices.norm.value,
        freeze=int(choices.freeze.value),
        start=setup.start,
    )
    card = replace(setup.with_run(card), dtypes=splits.train.dtypes())
    own = {"loss": asdict(loss), "split": asdict(split_options), "cases": splits.digests()}
    labelled = build_loss(loss, card.classes, label_smoothing=setup.recipe.label_smoothing)
    module = SegmentationModule(
        network.to(memory_format=torch.channels_last),
        loss=DeepSupervision(labelled),
        recipe=setup.recipe,
        card=card,
        settings=setup.settings(frozen=network.backbone.frozen, own=own),
        tolerance=cfg.tolerance,
        devices=setup.options.devices,
    )
    if setup.options.grad_checkpointing:
        module.set_grad_checkpointing()
    loading = choose_loading(setup.options, setup.where, size=splits.decoded_size(), once="volume")
    return Parts(
        setup=setup,
        loading=loading,
        module=module,
        data=_data(setup, splits, module, loading),
        has_test=splits.test is not None,
        splits=splits,
        loss=loss,
        choices=choices,
    )


def _data(
    setup: _Setup, splits: Splits, module: SegmentationModule, loading: Loading
) -> SegmentationDataModule:
    """Return the batches; if the options say so, as what the frozen stages make of them."""
    card, train = module.card, splits.train
    data = SegmentationDataModule(
        train=(train.cases, train.facts),
        val=splits.val.cases,
        test=splits.tested.cases,
        options=card.input,
        preprocessing=card.preprocessing,
        batch_size=setup.recipe.batch_size,
        transform=PatchTransform(setup.augment),
        workers=loading.processes,
        seed=setup.seed,
        cache=loading.cache.value,
        folder=loading.folder,
        sizes=(train.sizes(), splits.val.sizes()),
    )
    check_views(setup.cache.views, card.input, slices=sum(facts.shape[0] for facts in train.facts))
    decides = {"input": asdict(card.input), "augment": asdict(setup.augment), "seed": setup.seed}
    encoder = PatchEncoder(module.network, train.cases, options=card.input, decides=decides)
    setup.cache_features(data, encoder)
    return data


def _resolved(
    setup: _Setup, model: UNetOptions, inputs: InputOptions, splits: Splits
) -> tuple[UNetOptions, InputOptions, Choices]:
    """Return the options with nothing left to ``auto``, and the reasons."""
    choice, batch_size = setup.choice, setup.recipe.batch_size
    inputs = resumed_input(inputs, setup.start)
    norm, decoder_norm = choose_norms(choice, model, batch_size=batch_size, start=setup.start)
    facts, coarsest = splits.train.facts, coarsest_stride(choice, norm=norm.value)
    spread = bool(_SPREAD & {norm.value, decoder_norm.value})
    normalisation = choose_normalisation(inputs, [case.dtype for case in facts])
    sizes = [case.shape[1:] for case in facts]
    smallest = coarsest * (2 if spread else 1)
    patch, reason = choose_patch(inputs, sizes, multiple=coarsest, smallest=smallest)
    patches = choose_patches(inputs, slices=sum(case.shape[0] for case in facts))
    inputs = replace(inputs, normalisation=normalisation.value, patch=patch, patches=patches)
    _check_input(inputs, setup.augment, flat=facts[0].flat)
    choices = Choices(
        norm=norm,
        decoder_norm=decoder_norm,
        freeze=choose_freeze(choice, usual=_FROZEN, recipe=setup.recipe),
        normalisation=normalisation,
        patch=reason,
    )
    return replace(model, norm=decoder_norm.value), inputs, choices


def _check_input(inputs: InputOptions, augment: AugmentOptions, *, flat: bool) -> None:
    if inputs.neighbours and flat:
        raise UserError(
            f"input.neighbours={inputs.neighbours} takes volumes: flat images have no slices "
            "beside them. Leave it out."
        )
    height, width = inputs.patch
    if augment.rotate90 and height != width:
        side = max(height, width)
        raise UserError(
            f"augment.rotate90 takes square patches, and these are {height} x {width}: add "
            f"input.patch=[{side},{side}] or augment.rotate90=0."
        )
