"""The same detector on a CUDA device; without one these tests skip themselves."""

import pytest
import torch

from backbones import build_backbone
from tasks.detection.model.faster_rcnn import build_detector
from tasks.detection.model.roi_align import PyramidRoIAlign
from tasks.detection.options import DetectorOptions

NO_GPU = not torch.cuda.is_available()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(NO_GPU, reason="no CUDA device")]
OPTIONS = DetectorOptions(
    features=("c3", "c4", "c5"), anchor_sizes=(16, 32, 64, 128), min_size=64, max_size=96
)
IMAGES = [(3, 64, 96), (3, 64, 64)]
TARGET = {"boxes": torch.tensor([[5.0, 5, 50, 40]]), "labels": torch.tensor([1])}


@pytest.fixture
def detector():
    backbone = build_backbone(
        "resnet18", weights="random", norm="frozen_batch", freeze=2, out_features=OPTIONS.features
    )
    return build_detector(backbone, num_classes=2, options=OPTIONS)


def step(detector, device, **autocast):
    torch.manual_seed(1)
    images = [torch.rand(shape).to(device) for shape in IMAGES]
    targets = [{k: v.to(device) for k, v in TARGET.items()} for _ in IMAGES]
    with torch.autocast(device, **autocast):
        return {k: v.item() for k, v in detector(images, targets).items()}


def test_detections_are_those_of_the_cpu(detector):
    images = [torch.rand(shape) for shape in IMAGES]
    detector.eval()
    with torch.no_grad():
        expected = detector(images)
        detector.cuda().to(memory_format=torch.channels_last)
        found = detector([image.cuda() for image in images])
    for mine, reference in zip(found, expected, strict=True):
        assert len(mine["boxes"]) == len(reference["boxes"])
        torch.testing.assert_close(mine["scores"].cpu(), reference["scores"], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_step_under_autocast_is_close_to_float32(detector, dtype):
    detector.cuda().to(memory_format=torch.channels_last).train()
    full = step(detector, "cuda", enabled=False)
    low = step(detector, "cuda", dtype=dtype)
    assert low.keys() == full.keys()
    # The anchors of the objectness loss are drawn by the same seed; proposals may differ.
    assert low["loss_objectness"] == pytest.approx(full["loss_objectness"], rel=0.05)


def test_pooling_is_that_of_the_cpu():
    levels = {"p2": torch.randn(1, 4, 16, 24), "p3": torch.randn(1, 4, 8, 12)}
    boxes = [torch.tensor([[3.0, 5.0, 40.0, 60.0], [0.0, 0.0, 90.0, 60.0]])]
    pool = PyramidRoIAlign(["p2", "p3"], 7, strides=[4, 8])
    expected = pool(levels, boxes, [(64, 96)])
    found = pool({k: v.cuda() for k, v in levels.items()}, [b.cuda() for b in boxes], [(64, 96)])
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-4)
