"""Label smoothing of the box classifier, against torch's cross entropy."""

import pytest
import torch
import torch.nn.functional as F

from tasks.common.recipe.backbone import BackboneChoice
from tasks.detection.data.layouts.coco import read_coco
from tasks.detection.data.layouts.sample import write_sample
from tasks.detection.model.build import new_detector
from tasks.detection.model.smoothing import smoothed_classes
from tasks.detection.options import DetectorOptions


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    root = write_sample(tmp_path_factory.mktemp("s") / "d", images={"train": 1, "val": 1}, size=64)
    names = {split: f"annotations/instances_{split}.json" for split in ("train", "val")}
    options = DetectorOptions(
        features=("c3",),
        fpn_channels=8,
        head_width=8,
        anchor_sizes=(16, 32),
        min_size=64,
        max_size=64,
        rois_per_image=16,
    )
    network, _ = new_detector(
        BackboneChoice(name="resnet18", weights="random"),
        options,
        data=read_coco(root / names["train"], root / "images"),
        norm="group",
        freeze=0,
    )
    return network.train()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_it_is_torchs_cross_entropy_and_changes_no_other_loss(detector, smoothing, monkeypatch):
    """torchvision calls the function in its own module, where the other one can be put."""
    images = [torch.rand(3, 64, 64)]
    boxes = torch.tensor([[8.0, 8.0, 40.0, 40.0], [20.0, 4.0, 60.0, 30.0]])
    targets = [{"boxes": boxes, "labels": torch.tensor([1, 3])}]
    torch.manual_seed(1)
    with smoothed_classes(detector, smoothing) as smooth:
        ours = smooth(detector(images, targets))
    plain = F.cross_entropy

    def theirs(logits, labels):
        return plain(logits, labels, label_smoothing=smoothing)

    monkeypatch.setattr("torchvision.models.detection.roi_heads.F.cross_entropy", theirs)
    torch.manual_seed(1)
    expected = detector(images, targets)
    assert ours.keys() == expected.keys()
    for name, loss in expected.items():
        torch.testing.assert_close(ours[name], loss)
    predictor = detector.roi_heads.box_predictor
    assert predictor._forward_hooks == {}
    weight = predictor.cls_score.weight
    gradients = [torch.autograd.grad(x["loss_classifier"], weight)[0] for x in (ours, expected)]
    torch.testing.assert_close(*gradients)
