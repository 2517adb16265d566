"""torchvision's detectors on our backbones: their contract, their checkpoints, their own result."""

import pytest
import torch
from torchvision.models import detection

from backbones import build_backbone
from backbones.adapters.torchvision import DetectionBackbone
from tests.backbones.errors import refuses

STAGES = ("c2", "c3", "c4", "c5")
SMALL = {"min_size": 64, "max_size": 64}
FEW_ROIS = {"box_batch_size_per_image": 8, "rpn_post_nms_top_n_test": 8}


def body(name="narrow_resnet18", features=STAGES, **options):
    return build_backbone(name, out_features=list(features), **options)


def target(*, masks=False):
    mask = {"masks": torch.ones(1, 64, 64, dtype=torch.uint8)} if masks else {}
    return [{"boxes": torch.tensor([[8.0, 8.0, 40.0, 48.0]]), "labels": torch.tensor([1]), **mask}]


@pytest.mark.parametrize(
    ("detector", "features", "extra", "keys", "quick"),
    [
        (detection.FasterRCNN, STAGES, "pool", ["0", "1", "2", "3", "pool"], FEW_ROIS),
        (detection.MaskRCNN, STAGES, "pool", ["0", "1", "2", "3", "pool"], FEW_ROIS),
        (detection.RetinaNet, STAGES[1:], "conv", ["0", "1", "2", "p6", "p7"], {}),
        (detection.FCOS, STAGES[1:], "conv", ["0", "1", "2", "p6", "p7"], {}),
    ],
)
def test_a_detector_needs_nothing_but_classes(detector, features, extra, keys, quick):
    backbone = DetectionBackbone(body(features=features), out_channels=64, extra=extra)
    assert list(backbone(torch.rand(1, 3, 64, 64))) == keys
    model = detector(backbone, num_classes=3, **SMALL, **quick).train()
    losses = model([torch.rand(3, 64, 64)], target(masks=detector is detection.MaskRCNN))
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in backbone.body.layer4.parameters())
    found = model.eval()([torch.rand(3, 64, 64)])[0]
    assert {"boxes", "labels", "scores"} <= set(found)


@pytest.mark.parametrize(
    ("build", "detector", "features", "extra"),
    [
        pytest.param(
            *(detection.fasterrcnn_resnet50_fpn, detection.FasterRCNN, STAGES, "pool"),
            marks=pytest.mark.slow,
        ),
        (detection.retinanet_resnet50_fpn, detection.RetinaNet, STAGES[1:], "conv"),
    ],
)
def test_their_checkpoint_loads_strictly_and_gives_their_pyramid(build, detector, features, extra):
    theirs = build(weights=None, weights_backbone=None, num_classes=3).eval()
    with torch.no_grad():
        for parameter in theirs.backbone.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.01)
    ours = detector(DetectionBackbone(body("resnet50", features), extra=extra), num_classes=3)
    ours.eval().load_state_dict(theirs.state_dict(), strict=True)
    image = torch.rand(1, 3, 64, 96)
    expected, got = theirs.backbone(image), ours.backbone(image)
    assert list(got) == list(expected)
    for name, level in expected.items():  # ours folds fixed norms into the convolutions
        torch.testing.assert_close(got[name], level, rtol=1e-3, atol=1e-3)
    assert ours.backbone.out_channels == theirs.backbone.out_channels


def test_a_stem_feature_is_left_out_and_no_extra_level_is_added():
    backbone = DetectionBackbone(build_backbone("resnet18"), out_channels=8, extra="none")
    levels = backbone(torch.rand(1, 3, 64, 64))
    sizes = {name: tuple(level.shape[1:]) for name, level in levels.items()}
    assert sizes == {"0": (8, 16, 16), "1": (8, 8, 8), "2": (8, 4, 4), "3": (8, 2, 2)}


def test_an_unknown_extra_level_is_refused():
    with refuses(r"^unknown extra levels 'p6'; Known: conv, none, pool"):
        DetectionBackbone(body(), extra="p6")
