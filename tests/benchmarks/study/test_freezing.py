"""Multiply-adds of a training step by part, against counts by hand."""

import torch

from backbones import build_backbone
from benchmarks.study.costs import facts
from benchmarks.study.freezing import detector_costs, segmenter_costs, table
from tasks.detection.model.faster_rcnn import build_detector
from tasks.detection.options import DetectorOptions
from tasks.segmentation.model.unet import ResNetUNet
from tasks.segmentation.options import UNetOptions

OPTIONS = DetectorOptions(
    features=("c4", "c5"),
    anchor_sizes=(32, 64, 128),
    fpn_channels=8,
    head_width=16,
    min_size=224,
    max_size=224,
    rois_per_image=4,
)


def costs(freeze):
    backbone = build_backbone("resnet18", weights="random", norm="frozen_batch", freeze=freeze)
    network = build_detector(backbone, num_classes=2, options=OPTIONS)
    return detector_costs(network, [torch.rand(3, 224, 224)])


def test_the_parts_of_a_detector_cost_what_their_shapes_say():
    free, frozen = costs(0), costs(4)
    assert list(free) == ["frozen stages", "trained stages", "pyramid", "RPN", "box head"]
    whole = facts("resnet18").multiply_adds
    assert free["frozen stages"].total == 0
    assert free["trained stages"].forward == whole
    first = 112**2 * 64 * 3 * 49  # the image needs no gradient
    assert free["trained stages"].backward == 2 * whole - first
    c5 = 49 * (9 * 256 * 512 + 3 * 9 * 512**2 + 256 * 512)
    assert frozen["frozen stages"].forward == whole - c5
    assert frozen["frozen stages"].backward == 0
    assert frozen["trained stages"].forward == c5
    entry = 49 * (9 * 256 * 512 + 256 * 512)  # its input needs none either
    assert frozen["trained stages"].backward == 2 * c5 - entry
    c4_in, c5_in, out = 196 * 256 * 8, 49 * 512 * 8, (196 + 49) * 9 * 8 * 8
    assert free["pyramid"].forward == frozen["pyramid"].forward == c4_in + c5_in + out
    assert free["pyramid"].backward == 2 * (c4_in + c5_in + out)
    assert frozen["pyramid"].backward == c4_in + 2 * (c5_in + out)


def test_a_u_nets_decoder_costs_the_same_with_frozen_stages():
    found = []
    for freeze in (0, 5):
        backbone = build_backbone("resnet18", weights="random", freeze=freeze)
        options = UNetOptions(norm="batch", channels=(16, 16, 8, 8, 8))
        network = ResNetUNet(backbone, num_classes=2, in_channels=3, options=options)
        found.append(segmenter_costs(network, torch.rand(2, 3, 64, 64)))
    free, frozen = found
    assert free["decoder"].forward == frozen["decoder"].forward > 0
    assert free["trained stages"].forward == frozen["frozen stages"].forward
    assert free["trained stages"].backward > 0 == frozen["frozen stages"].backward
    rows = table(dict(zip((0, 5), found, strict=True))).splitlines()
    assert rows[0] == "| frozen | frozen stages | trained stages | decoder | all | at most |"
    assert rows[2].endswith("| 1.00 |")
    assert float(rows[3].split("|")[-2]) > 1.2
