"""Both tasks on one backbone of each kind: a training step, and the checkpoint's way back."""

import pytest
import torch

from backbones import BackboneOptions, Conventions
from tasks.common.recipe.backbone import BackboneChoice
from tasks.common.recipe.build import build_chosen
from tasks.detection.model.card import DetectorCard
from tasks.detection.model.faster_rcnn import build_detector
from tasks.detection.options import DetectorOptions
from tasks.segmentation.data.cases import class_table
from tasks.segmentation.model.card import SegmenterCard
from tasks.segmentation.model.unet import ResNetUNet
from tasks.segmentation.options import InputOptions, UNetOptions

KINDS = [
    ("resnet18", {"deformable": ("c4", "c5"), "drop_path": 0.1}),
    ("resnet18", {"deformable": ("c3",), "deformable_version": 1, "init": "scaled"}),
    ("resnet18", {"output_stride": 16}),
    ("resnet34_zero_pad", {}),
    ("resnet18d", {}),
    ("cbam_resnet18", {}),
    ("res2net50_26w_4s", {}),
    ("resnetv2_18", {"init": "zero_last"}),
    ("resnet20_cifar", {}),
    ("resnetv2_110_cifar", {}),
    ("dynamic_resnet18", {}),
]


def built(name, options, **more):
    choice = BackboneChoice(name=name, weights="random", **options)
    return build_chosen(choice, **{"in_channels": 3, "norm": "group", "freeze": 1} | more)


@pytest.mark.parametrize(("name", "options"), KINDS)
def test_a_unet_learns_on_it(name, options):
    torch.manual_seed(0)
    side = 32 if name.endswith("_cifar") else 64
    backbone = built(name, options, in_channels=1)
    network = ResNetUNet(
        backbone,
        num_classes=2,
        in_channels=1,
        options=UNetOptions(norm="group", deep_supervision=True),
    ).train()
    levels = network(torch.rand(2, 1, side + 3, side - 5))
    assert [level.shape[1] for level in levels] == [2] * len(backbone.channels)
    assert levels[0].shape[-2:] == (side + 3, side - 5)
    sum(level.square().mean() for level in levels).backward()
    trained = {k for k, p in network.named_parameters() if p.requires_grad}
    assert {k for k, p in network.named_parameters() if p.grad is not None} == trained


@pytest.mark.parametrize(("name", "options"), KINDS)
def test_a_detector_learns_on_it(name, options):
    torch.manual_seed(0)
    features = ("c2", "c3", "c4")
    card = DetectorCard(
        backbone=name,
        backbone_options=BackboneOptions(
            norm="group",
            **{k: v for k, v in options.items() if k.startswith(("deformable", "output"))},
        ),
        options=DetectorOptions(
            features=features,
            anchor_sizes=(16, 32, 64, 128),
            fpn_channels=16,
            head_width=32,
            min_size=64,
            max_size=64,
        ),
        classes=("cell",),
        category_ids=(1,),
        conventions=Conventions(),
        provenance="",
    )
    body = built(name, options, out_features=features)
    network = build_detector(body, num_classes=1, options=card.options).train()
    target = {"boxes": torch.tensor([[8.0, 8, 40, 40]]), "labels": torch.tensor([1])}
    losses = network([torch.rand(3, 64, 64)], [target])
    sum(losses.values()).backward()
    trained = {k for k, p in body.named_parameters() if p.requires_grad}
    assert {k for k, p in body.named_parameters() if p.grad is not None} == trained

    twin = DetectorCard.from_dict(card.to_dict()).build()
    twin.load_state_dict(network.state_dict())
    image = torch.rand(3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(twin.eval()([image]), network.eval()([image]))


def test_the_default_decoder_is_cut_to_the_features_there_are():
    backbone = built("resnet20_cifar", {})
    network = ResNetUNet(backbone, num_classes=2, in_channels=3, options=UNetOptions(norm="group"))
    widths = [block.conv2[0].out_channels for block in network.decoder["blocks"]]
    assert widths == [128, 64, 32, 16]
    with pytest.raises(ValueError, match="has 5 widths; expected one per feature of the backbone:"):
        ResNetUNet(
            backbone,
            num_classes=2,
            in_channels=3,
            options=UNetOptions(norm="group", channels=(64, 64, 32, 32, 16)),
        )


def test_a_segmenter_with_deformable_stages_is_read_back():
    options = {"deformable": ("c4", "c5"), "deformable_version": 1, "output_stride": 8}
    unet = UNetOptions(norm="group", channels=(16, 16, 8, 8, 8))
    card = SegmenterCard(
        backbone="resnet18",
        backbone_options=BackboneOptions(norm="group", in_channels=1, **options),
        channels=1,
        options=unet,
        classes=class_table({0: "background", 1: "cell"}),
        input=InputOptions(normalisation="imagenet", patch=(64, 64), patches=8),
        axis=-1,
        conventions=Conventions(mean=(0.5,), std=(0.25,)),
        provenance="",
    )
    network = ResNetUNet(
        built("resnet18", options, in_channels=1), num_classes=2, in_channels=1, options=unet
    ).eval()
    twin = SegmenterCard.from_dict(card.to_dict()).build()
    twin.load_state_dict(network.state_dict())
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(twin.eval()(image), network(image))
