"""Both tasks on one backbone of each kind: a training step, and a checkpoint saved and read."""

from functools import partial

import pytest
import torch

from backbones import BackboneOptions, Conventions, build_backbone
from tasks.common.recipe.backbone import BackboneChoice
from tasks.common.recipe.build import build_chosen
from tasks.detection.model.card import DetectorCard, restore_detector
from tasks.detection.model.faster_rcnn import build_detector
from tasks.detection.options import DetectorOptions
from tasks.segmentation.data.cases import class_table
from tasks.segmentation.model.card import SegmenterCard, restore_segmenter
from tasks.segmentation.model.unet import ResNetUNet
from tasks.segmentation.options import InputOptions, UNetOptions

slow = partial(pytest.param, marks=pytest.mark.slow)
KINDS = [
    ("resnet18", {"deformable": ("c4", "c5"), "drop_path": 0.1}),
    slow("resnet18", {"deformable": ("c3",), "deformable_version": 1, "init": "scaled"}),
    slow("resnet18", {"output_stride": 16}),
    slow("resnet34_zero_pad", {}),
    slow("res2net50_26w_4s", {}),
    ("resnetv2_18", {"init": "zero_last"}),
    ("resnet20_cifar", {}),
    ("dynamic_resnet18", {}),
]
NAMES = ("resnet18d", "cbam_resnet18", "resnetv2_110_cifar")
KINDS += [slow(name, {}) for name in NAMES]


def built(name, options, **more):
    choice = BackboneChoice(name=name, weights="random", **options)
    return build_chosen(choice, **{"in_channels": 3, "norm": "group", "freeze": 1} | more)


def detector_card(name, options, **backbone):
    return DetectorCard(
        backbone=name,
        backbone_options=BackboneOptions(**backbone),
        options=DetectorOptions(min_size=64, max_size=64, rois_per_image=8, **options),
        classes=("cell",),
        category_ids=(1,),
        conventions=Conventions(),
        provenance="",
    )


def segmenter_card(name, **backbone):
    return SegmenterCard(
        backbone=name,
        backbone_options=BackboneOptions(in_channels=1, **backbone),
        channels=1,
        options=UNetOptions(norm="group", channels=(16, 16, 8, 8, 8)),
        classes=class_table({0: "background", 1: "cell"}),
        input=InputOptions(normalisation="imagenet", patch=(64, 64), patches=8),
        axis=-1,
        conventions=Conventions(mean=(0.5,), std=(0.25,)),
        provenance="",
    )


def all_that_may_train_have_a_gradient(module):
    return all((p.grad is not None) == p.requires_grad for p in module.parameters())


def same(twin, network, image):
    with torch.no_grad():
        torch.testing.assert_close(twin.eval()(image), network.eval()(image))


@pytest.mark.parametrize(("name", "options"), KINDS)
def test_a_unet_learns_on_it(name, options):
    torch.manual_seed(0)
    side = 32 if name.endswith("_cifar") else 64
    backbone = built(name, options, in_channels=1)
    widths = (16,) * len(backbone.channels)
    decoder = UNetOptions(norm="group", deep_supervision=True, channels=widths)
    network = ResNetUNet(backbone, num_classes=2, in_channels=1, options=decoder).train()
    levels = network(torch.rand(2, 1, side + 3, side - 5))
    assert [level.shape[1] for level in levels] == [2] * len(backbone.channels)
    assert levels[0].shape[-2:] == (side + 3, side - 5)
    sum(level.square().mean() for level in levels).backward()
    assert all_that_may_train_have_a_gradient(network)


@pytest.mark.parametrize(("name", "options"), KINDS)
def test_a_detector_learns_on_it(name, options):
    torch.manual_seed(0)
    features = ("c2", "c3", "c4")
    small = {"anchor_sizes": (16, 32, 64, 128), "fpn_channels": 16, "head_width": 32}
    kept = {k: v for k, v in options.items() if k.startswith(("deformable", "output"))}
    card = detector_card(name, {"features": features, **small}, norm="group", **kept)
    body = built(name, options, out_features=features)
    network = build_detector(body, num_classes=1, options=card.options).train()
    target = {"boxes": torch.tensor([[8.0, 8, 40, 40]]), "labels": torch.tensor([1])}
    losses = network([torch.rand(3, 64, 64)], [target])
    sum(losses.values()).backward()
    assert all_that_may_train_have_a_gradient(body)

    twin = DetectorCard.from_dict(card.to_dict()).build()
    twin.load_state_dict(network.state_dict())
    same(twin, network, [torch.rand(3, 64, 64)])


@pytest.mark.parametrize("name", ["resnet20_cifar", "timm/test_convnext"])
def test_the_default_decoder_has_one_width_per_feature(name):
    backbone, parts = build_backbone(name), {"num_classes": 2, "in_channels": 3}
    network = ResNetUNet(backbone, **parts, options=UNetOptions(norm="group"))
    assert len(network.decoder["blocks"]) == len(backbone.channels) == 4
    widths = [block.conv2[0].out_channels for block in network.decoder["blocks"]]
    assert widths == [128, 64, 32, 16]
    options = UNetOptions(norm="group", channels=(64, 64, 32, 32, 16))
    with pytest.raises(ValueError, match="has 5 widths; expected one per feature of the backbone:"):
        ResNetUNet(backbone, **parts, options=options)


def test_a_segmenter_with_deformable_stages_is_read_back():
    options = {"deformable": ("c4", "c5"), "deformable_version": 1, "output_stride": 8}
    card = segmenter_card("resnet18", norm="group", **options)
    backbone = built("resnet18", options, in_channels=1)
    network = ResNetUNet(backbone, num_classes=2, in_channels=1, options=card.options).eval()
    twin = SegmenterCard.from_dict(card.to_dict()).build()
    twin.load_state_dict(network.state_dict())
    same(twin, network, torch.rand(1, 1, 64, 64))


@pytest.mark.parametrize(
    ("task", "old"),
    [
        *(("detection", True), ("segmentation", False)),
        *(slow("detection", False), slow("segmentation", True)),
    ],
)
def test_checkpoints_are_read_whatever_their_names(task, old, tmp_path):
    torch.manual_seed(0)
    name = "timm/test_byobnet"
    if task == "detection":
        card = detector_card(name, {"fpn_channels": 8, "head_width": 16}, norm="frozen_batch")
        load, inner = restore_detector, "body.net."
    else:
        card, load, inner = segmenter_card(name), restore_segmenter, "net."
    network = card.build()
    state = {f"network.{key}": tensor for key, tensor in network.state_dict().items()}
    assert sum(f"backbone.{inner}" in key for key in state) > 50
    if old:  # as they were called when names in a state dict were timm's
        short = inner.removesuffix("net.")
        state = {k.replace(f"backbone.{inner}", f"backbone.{short}"): t for k, t in state.items()}
    path = tmp_path / "best.ckpt"
    torch.save({"state_dict": state, "keel": card.to_dict()}, path)
    read, described = load(path)
    assert described == card
    assert all(torch.equal(t, network.state_dict()[key]) for key, t in read.state_dict().items())
    first = build_backbone(name, weights=path, in_channels=1).state_dict()
    key = "stages.3.0.conv3_1x1.conv.weight"
    assert torch.equal(first[f"net.{key}"], next(t for k, t in state.items() if k.endswith(key)))
