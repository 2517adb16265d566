"""Both tasks on a model of timm, one with a feature of stride 2 and one without."""

import pytest
import torch

from backbones import BackboneOptions, Conventions, build_backbone
from tasks.detection.model.card import DetectorCard, load_detector
from tasks.detection.model.faster_rcnn import build_detector
from tasks.detection.options import DetectorOptions
from tasks.segmentation.data.cases import class_table
from tasks.segmentation.model.card import SegmenterCard, load_segmenter
from tasks.segmentation.model.unet import ResNetUNet
from tasks.segmentation.options import InputOptions, UNetOptions

SMALL = {"min_size": 64, "max_size": 64, "rois_per_image": 8, "head_width": 16}


@pytest.mark.parametrize("name", ["regnety_002", "convnext_atto"])
def test_a_detector_trains(name):
    backbone = build_backbone(
        f"timm/{name}", weights="random", freeze=2, out_features=["c2", "c3", "c4", "c5"]
    )
    options = DetectorOptions(fpn_channels=8, **SMALL)
    model = build_detector(backbone, num_classes=2, options=options).train()
    target = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 48.0]]), "labels": torch.tensor([1])}
    sum(model([torch.rand(3, 64, 64)], [target]).values()).backward()
    flags = [
        {p.grad is not None for m in stage for p in m.parameters()} for stage in backbone.stages()
    ]
    assert flags == [{False}, {False}, {True}, {True}, {True}]
    assert model.transform.image_mean == list(backbone.conventions.mean)


@pytest.mark.parametrize(
    ("name", "channels"), [("regnety_002", (16, 16, 8, 8, 8)), ("convnext_atto", (16, 16, 8, 8))]
)
def test_a_unet_trains(name, channels):
    backbone = build_backbone(f"timm/{name}", weights="random", freeze=1)
    options = UNetOptions(norm="batch", channels=channels, deep_supervision=True)
    model = ResNetUNet(backbone, num_classes=2, in_channels=3, options=options).train()
    levels = model(torch.rand(2, 3, 60, 90))
    assert levels[0].shape == (2, 2, 60, 90)
    sum(x.square().mean() for x in levels).backward()
    stem, *rest = backbone.stages()
    assert all(p.grad is None for m in stem for p in m.parameters())
    assert all(p.grad is not None for stage in rest for m in stage for p in m.parameters())


def test_a_unet_has_one_width_per_feature():
    backbone, parts = build_backbone("timm/convnext_atto"), {"num_classes": 2, "in_channels": 3}
    model = ResNetUNet(backbone, **parts, options=UNetOptions(norm="batch"))
    assert len(model.decoder["blocks"]) == 4
    with pytest.raises(
        ValueError, match=r"5 widths; expected one per feature .*: c2, c3, c4, c5\."
    ):
        ResNetUNet(backbone, **parts, options=UNetOptions(norm="batch", channels=(9, 8, 7, 6, 5)))


def detector_card(name, options):
    return DetectorCard(
        backbone=name,
        backbone_options=BackboneOptions(norm="frozen_batch"),
        options=options,
        classes=("cell",),
        category_ids=(1,),
        conventions=Conventions(),
        provenance="",
    )


def segmenter_card(name, options):
    return SegmenterCard(
        backbone=name,
        backbone_options=BackboneOptions(in_channels=1),
        channels=1,
        options=options,
        classes=class_table({0: "background", 1: "cell"}),
        input=InputOptions(normalisation="imagenet", patch=(64, 64), patches=8),
        axis=-1,
        conventions=Conventions(mean=(0.5,), std=(0.25,)),
        provenance="",
    )


@pytest.mark.parametrize("old", [False, True], ids=["paths", "timms_names"])
@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_checkpoints_are_read_whatever_their_names(task, old, tmp_path):
    torch.manual_seed(0)
    if task == "detection":
        options = DetectorOptions(fpn_channels=8, **SMALL)
        card, load, inner = detector_card("timm/regnety_002", options), load_detector, "body.net."
    else:
        options = UNetOptions(norm="batch", channels=(16, 16, 8, 8, 8))
        card, load, inner = segmenter_card("timm/regnety_002", options), load_segmenter, "net."
    network = card.build()
    state = {f"network.{key}": tensor for key, tensor in network.state_dict().items()}
    assert sum(f"backbone.{inner}" in key for key in state) > 100
    if old:  # as they were called when names in a state dict were timm's
        short = inner.removesuffix("net.")
        state = {k.replace(f"backbone.{inner}", f"backbone.{short}"): t for k, t in state.items()}
    path = tmp_path / "best.ckpt"
    torch.save({"state_dict": state, "keel": card.to_dict()}, path)
    read, described = load(path)
    assert described == card
    assert all(torch.equal(t, network.state_dict()[key]) for key, t in read.state_dict().items())
    first = build_backbone("timm/regnety_002", weights=path, in_channels=1).state_dict()
    name = "s4.b1.conv1.conv.weight"
    assert torch.equal(first[f"net.{name}"], next(t for k, t in state.items() if k.endswith(name)))
