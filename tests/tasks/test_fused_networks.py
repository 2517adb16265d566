"""A detector and a U-Net with their norms folded, against the same networks in eval mode."""

import pytest
import segmentation_models_pytorch as smp
import torch

from backbones import fuse
from tasks.detection.model.faster_rcnn import build_detector
from tasks.detection.options import DetectorOptions
from tasks.segmentation.model.unet import ResNetUNet
from tasks.segmentation.options import UNetOptions
from tests.backbones.errors import refuses
from tests.backbones.networks import short
from tests.backbones.test_fusion import difference, norms_in, trained

FEATURES = ("c2", "c3", "c4")
SMALL = {"fpn_channels": 16, "head_width": 16, "min_size": 64, "max_size": 96, "proposals": 30}
SMALL |= {"features": FEATURES, "anchor_sizes": (16, 32, 64, 128), "score_threshold": 0.0}


@pytest.mark.parametrize(
    "options",
    [{}, {"head": "v2", "fpn_norm": "batch", "class_agnostic_nms": True}],
    ids=["v1", "v2"],
)
def test_a_fused_detector_finds_the_same(options):
    body = short("resnet18", out_features=FEATURES)
    options = DetectorOptions(**SMALL, **options)
    detector = trained(build_detector(body, num_classes=2, options=options)).double()
    fused = fuse(detector)
    assert not norms_in(fused)
    images = [torch.rand(3, 60, 80).double(), torch.rand(3, 96, 70).double()]
    with torch.no_grad():
        for found, expected in zip(fused(images), detector(images), strict=True):
            assert len(expected["boxes"]) > 10
            torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("upsampling", ["nearest", "transposed"])
def test_a_fused_unet_gives_the_same_logits(upsampling):
    options = UNetOptions(upsampling=upsampling, norm="batch", channels=(16, 16, 8, 8, 8))
    network = ResNetUNet(short("resnet18d"), num_classes=3, in_channels=3, options=options)
    fused = fuse(trained(network))
    assert not norms_in(fused)
    assert difference(network, fused, torch.rand(2, 3, 70, 50)) < 1e-5
    exported = torch.export.export(fused, (torch.rand(2, 3, 64, 64),), strict=False).module()
    assert difference(network, exported, torch.rand(2, 3, 64, 64)) < 1e-5


def test_the_norms_of_a_decoder_are_refused_or_kept():
    options = UNetOptions(norm="group", channels=(16, 16, 8, 8, 8))
    network = ResNetUNet(short("resnet18"), num_classes=2, in_channels=3, options=options)
    with refuses(r"norms: decoder.blocks.0.conv1.1 \(GroupNorm, which .* and 6 more; give"):
        fuse(trained(network))
    fused = fuse(network, other_norms="keep")
    assert not norms_in(fused)
    assert difference(network, fused, torch.rand(2, 3, 64, 64)) < 1e-5


@pytest.mark.filterwarnings("ignore:Decoder normalization")
def test_smps_unet_is_fused():
    network = trained(smp.Unet("resnet18", encoder_weights=None, decoder_channels=(16, 8, 8, 8, 8)))
    fused = fuse(network)
    assert not norms_in(fused)
    assert difference(network, fused, torch.rand(1, 3, 64, 64)) < 1e-5
