"""A detector's backbone in a segmenter and back, what it expects of an image included."""

import pytest
import torch

from backbones import build_backbone
from tasks.common.recipe.backbone import BackboneChoice
from tasks.detection.model.build import new_detector
from tasks.detection.options import DetectorOptions
from tasks.segmentation.model.build import new_segmenter
from tasks.segmentation.options import InputOptions, UNetOptions
from tests.tasks.common.fakes import save
from tests.tasks.data_sets import boxes, masks

OPTIONS = DetectorOptions(head_width=8, fpn_channels=8)


DECODER = UNetOptions(norm="batch", channels=(8,) * 5)
INPUT = InputOptions(normalisation="imagenet", patch=(64, 64))
BODY = {"norm": "frozen_batch", "freeze": 2}


def detector(weights, **choice):
    choice = BackboneChoice(name="resnet18", weights=str(weights), **choice)
    return new_detector(choice, OPTIONS, data=boxes("cat"), **BODY)


def segmenter(weights, **choice):
    choice = BackboneChoice(name="resnet18", weights=str(weights), **choice)
    data = masks("background", "vessel")
    return new_segmenter(choice, DECODER, INPUT, data=data, channels=3, **BODY)


def equal(backbone, other):
    torch.testing.assert_close(backbone.state_dict(), other.state_dict(), rtol=0, atol=0)
    assert backbone.conventions == other.conventions


def test_a_backbone_goes_from_a_detector_to_a_segmenter_and_back(tmp_path):
    first = build_backbone("resnet18")
    for tensor in first.state_dict().values():
        tensor.copy_(torch.rand(tensor.shape) + 0.1)
    state = {f"model.{key}": value for key, value in first.state_dict().items()}
    torch.save({"state_dict": state, "pytorch-lightning_version": "2"}, tmp_path / "x.ckpt")

    found, card = detector(tmp_path / "x.ckpt", conventions="caffe")
    body = found.backbone.body
    assert torch.equal(body.conv1.weight, first.conv1.weight.flip(1))  # it was BGR
    assert card.conventions.mean == pytest.approx((0.485, 0.456, 0.406), abs=1e-6)
    assert card.conventions.std == pytest.approx((1 / 255,) * 3)
    assert found.transform.image_std == list(card.conventions.std)

    path = save(tmp_path / "detector.ckpt", card, found)
    segmenting, plan = segmenter(path)
    equal(segmenting.backbone, body)
    assert plan.conventions == card.conventions
    assert plan.preprocessing.std == card.conventions.std
    assert "origin: Keel" in plan.provenance

    again, back = detector(save(tmp_path / "segmenter.ckpt", plan, segmenting))
    equal(again.backbone.body, body)
    assert back.conventions == card.conventions


def test_a_run_without_conventions_ends_before_it_begins(tmp_path):
    state = {
        f"model.{key}": value for key, value in build_backbone("resnet18").state_dict().items()
    }
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"backbone\.conventions=<name> for a run"):
        segmenter(tmp_path / "x.pth")
    _, plan = segmenter(tmp_path / "x.pth", conventions="inception")
    assert plan.conventions.mean == (0.5, 0.5, 0.5)
