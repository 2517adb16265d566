"""Both tasks on a model of every family of timm, with no option but the backbone's name."""

import pytest
import timm
import torch

from backbones.adapters.timm.norms import FrozenBatchNorm1d
from tasks.common.audit.table import faults
from tasks.common.recipe.backbone import BackboneChoice
from tasks.common.recipe.build import build_chosen, choose_freeze, choose_norm
from tasks.common.recipe.groups import parameter_groups
from tasks.common.recipe.recipe import Recipe
from tasks.detection.model.build import fitted, new_detector
from tasks.detection.options import DetectorOptions
from tasks.segmentation.model.build import choose_norms
from tasks.segmentation.model.unet import ResNetUNet
from tasks.segmentation.options import UNetOptions
from tests.backbones.adapters.timm_models import FAMILIES, ONE_SIZE
from tests.backbones.errors import refuses
from tests.tasks.data_sets import boxes

QUICK = ["test_convnext", "test_efficientnet", "test_resnet", "test_vit"]
SLOW = [name for name in FAMILIES if name not in QUICK]
NAMES = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
SMALL = {"fpn_channels": 8, "rois_per_image": 8, "head_width": 16}


# Maps of these have not the size of their strides; a pyramid resizes them, a U-Net refuses.
UNPADDED = (
    *("inception_v", "inception_resnet", "legacy_xception", "nasnetalarge", "pnasnet5large"),
    *("pit_ti_224", "levit_128"),
)


def choice_of(name, weights="random"):
    return BackboneChoice(name=f"timm/{name}", weights=weights, init="auto")


def side_of(name):
    if name.startswith(("inception_v", "inception_resnet")):
        return 96  # their convolutions without padding take 75 at least
    return timm.get_pretrained_cfg(name).input_size[1] if name in ONE_SIZE else 64


def step(network, backbone, losses, *, frozen):
    recipe = Recipe()
    optimizer = torch.optim.SGD(parameter_groups(network, backbone, recipe=recipe, lr=0.01))
    assert list(faults(network, backbone, optimizer, frozen=frozen)) == []
    sum(losses).backward()
    optimizer.step()
    for index, stage in enumerate(backbone.stages()):
        got = {p.grad is not None for m in stage for p in m.parameters()}
        assert got <= {False} if index < frozen else True in got | {not got}
    assert all(p.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_a_detector_takes_a_step(name):
    torch.manual_seed(0)
    choice, side = choice_of(name), side_of(name)
    norm = choose_norm(choice, batch_size=2)
    freeze = int(choose_freeze(choice, usual=2, recipe=Recipe()).value)
    options = DetectorOptions(**SMALL, min_size=side, max_size=side)
    parts = {"norm": norm.value, "freeze": freeze}
    network, card = new_detector(choice, options, data=boxes("cell"), **parts)
    assert set(card.options.features) == set(network.backbone.body.channels)
    target = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 48.0]]), "labels": torch.tensor([1])}
    images = [torch.rand(3, side, side) for _ in range(2)]
    losses = network.train()(images, [target, target])
    step(network, network.backbone.body, losses.values(), frozen=freeze)


@pytest.mark.parametrize("name", NAMES)
def test_a_unet_takes_a_step(name):
    torch.manual_seed(0)
    choice, side = choice_of(name), side_of(name)
    for asked in ("auto", "instance"):  # of the decoder, which the backbone cannot have
        norm, decoder = choose_norms(choice, UNetOptions(norm=asked), batch_size=2)
        assert norm.value == "batch"
    backbone = build_chosen(choice, in_channels=3, norm=norm.value, freeze=1)
    options = UNetOptions(norm=decoder.value, deep_supervision=True)
    network = ResNetUNet(backbone, num_classes=2, in_channels=3, options=options).train()
    if name.startswith(UNPADDED):
        with refuses("gives a map of .* where the U-Net joins one|a U-Net, which pads images"):
            network(torch.rand(2, 3, side, side))
        return
    levels = network(torch.rand(2, 3, side, side))
    levels = [levels] if isinstance(levels, torch.Tensor) else levels  # of one feature
    assert levels[0].shape == (2, 2, side, side)
    step(network, backbone, [level.square().mean() for level in levels], frozen=1)


@pytest.mark.parametrize("name", NAMES)
def test_loaded_batch_norms_are_fixed_and_others_stay(name):
    choice = choice_of(name, weights="imagenet")
    norm = choose_norm(choice, batch_size=2).value
    with torch.device("meta"):
        network = timm.create_model(name, num_classes=0)
        backbone = build_chosen(choice_of(name), in_channels=3, norm=norm, freeze=2)
    kind = torch.nn.modules.batchnorm._BatchNorm
    batch = [module for module in network.modules() if isinstance(module, kind)]
    assert norm == ("frozen_batch" if batch else "batch")
    assert not any(isinstance(module, kind) for module in backbone.modules())


def test_fixed_norms_of_tokens_are_those_of_the_batch_norm():
    torch.manual_seed(0)
    norm = torch.nn.BatchNorm1d(5, eps=1e-3)
    norm(torch.rand(9, 5) * 3)
    fixed = FrozenBatchNorm1d(5, eps=norm.eps)
    fixed.load_state_dict(norm.state_dict())
    for shape in [(7, 5), (7, 5, 3)]:
        x = torch.rand(shape)
        torch.testing.assert_close(fixed(x), norm.eval()(x))


@pytest.mark.parametrize(
    ("name", "features", "sizes"),
    [
        ("timm/test_vit", ("c4",), (128, 256)),
        ("timm/levit_128s", ("c4", "c5"), (128, 256, 512)),
        ("timm/nest_tiny", ("c2", "c3", "c4"), (32, 64, 128, 256)),
        ("resnet18", ("c2", "c3", "c4", "c5"), (32, 64, 128, 256, 512)),
        ("timm/regnety_002", ("c2", "c3", "c4", "c5"), (32, 64, 128, 256, 512)),
    ],
)
def test_a_detector_stands_on_the_features_there_are(name, features, sizes):
    options = fitted(DetectorOptions(), BackboneChoice(name=name))
    assert (options.features, options.anchor_sizes) == (features, sizes)


def test_an_image_of_another_size_is_refused_with_the_size():
    backbone = build_chosen(choice_of("levit_128s"), in_channels=3, norm="batch", freeze=0)
    with pytest.raises(ValueError, match="made for images of 224 x 224 and failed on images of 64"):
        backbone(torch.rand(2, 3, 64, 64))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"init": "zero_last"}, r"in a run backbone\.init, or backbone\.init=auto"),
        ({"norm": "group"}, r"in a run backbone\.norm=auto takes what it can"),
        ({"deformable": ("c4",)}, r"backbone\.deformable"),
    ],
)
def test_an_option_that_timms_model_cannot_have_is_refused(options, message):
    choice = BackboneChoice(name="timm/test_resnet", weights="random", **options)
    with pytest.raises(ValueError, match=message):
        build_chosen(choice, in_channels=3, norm=options.get("norm", "batch"), freeze=0)
