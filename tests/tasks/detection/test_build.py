"""The choices that are left to us, each with its reason, and the detector that comes of them."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from backbones import build_backbone
from tasks.detection.annotations import Annotations
from tasks.detection.build import BackboneChoice, choose_freeze, choose_norm, new_detector
from tasks.detection.model import DetectorOptions

OPTIONS = DetectorOptions(
    features=("c3", "c4"), fpn_channels=16, head_width=16, anchor_sizes=(16, 32, 64)
)
DATA = Annotations(
    source=Path("x.json"),
    classes=["cat", "dog"],
    category_ids=[3, 90],
    images=[],
    truth={"images": [], "annotations": [], "categories": []},
    cleaned={},
)


@pytest.mark.parametrize(
    ("weights", "norm", "batch_size", "value", "reason"),
    [
        ("imagenet", "auto", 2, "frozen_batch", "loaded statistics are kept"),
        ("imagenet", "auto", 64, "frozen_batch", "loaded statistics are kept"),
        ("random", "auto", 7, "group", "no weights, 7 images per batch"),
        (None, "auto", 1, "group", "no weights, 1 images per batch"),
        ("random", "auto", 8, "batch", "no weights to keep statistics of"),
        ("imagenet", "batch", 2, "batch", "as told"),
        ("random", "frozen_batch", 2, "frozen_batch", "as told"),
    ],
)
def test_the_norm_follows_from_weights_and_batch(weights, norm, batch_size, value, reason):
    choice = BackboneChoice(name="resnet18", weights=weights, norm=norm)
    decision = choose_norm(choice, batch_size=batch_size)
    assert (decision.value, decision.reason) == (value, reason)


@pytest.mark.parametrize(
    ("weights", "freeze", "value", "reason"),
    [
        ("imagenet", "auto", "2", "of loaded weights"),
        ("/a/b.pth", "auto", "2", "of loaded weights"),
        ("random", "auto", "0", "no weights were loaded"),
        (None, "auto", "0", "no weights were loaded"),
        ("imagenet", 0, "0", "as told"),
        ("random", 3, "3", "as told"),
    ],
)
def test_the_frozen_stages_follow_from_the_weights(weights, freeze, value, reason):
    decision = choose_freeze(BackboneChoice(name="resnet18", weights=weights, freeze=freeze))
    assert (decision.value, decision.reason) == (value, reason)


@pytest.mark.parametrize("freeze", ["two", "2", 1.5, None])
def test_another_freeze_is_refused(freeze):
    message = re.escape(f"backbone.freeze takes auto or 0 to 5, got {freeze!r}.")
    with pytest.raises(ValueError, match=message):
        choose_freeze(BackboneChoice(name="resnet18", freeze=freeze))


def build(**changes):
    choice = BackboneChoice(**{"name": "resnet18", "weights": "random"} | changes)
    return new_detector(choice, OPTIONS, data=DATA, norm="group", freeze=1)


def test_the_detector_is_what_was_chosen():
    network, card = build(in_channels=1)
    body = network.backbone.body
    assert body.frozen == 1
    assert body.conv1.in_channels == 1
    assert list(body.channels) == ["c3", "c4"]
    assert isinstance(body.bn1, nn.GroupNorm)
    assert network.roi_heads.box_predictor.cls_score.out_features == 1 + 2
    assert (card.backbone, card.norm, card.in_channels) == ("resnet18", "group", 1)
    assert (card.classes, card.category_ids) == (("cat", "dog"), (3, 90))
    assert card.options == OPTIONS
    assert card.provenance == "random initialisation"


def test_the_preprocessing_is_that_of_the_weights(tmp_path):
    weights = tmp_path / "gray.pth"
    torch.save(build_backbone("resnet18", norm="group").state_dict(), weights)
    network, card = build(weights=str(weights), in_channels=1)
    mean = np.mean([0.485, 0.456, 0.406])  # of torchvision's three channels
    assert card.mean == pytest.approx((mean,))
    assert network.transform.image_mean == list(card.mean)
    assert network.transform.image_std == list(card.std)
    assert str(weights) in card.provenance


def test_images_of_four_channels_are_refused():
    with pytest.raises(ValueError, match=r"in_channels takes 3 \(RGB\) or 1 \(gray\).*got 4"):
        build(in_channels=4)


def test_no_weights_may_be_frozen_when_they_are_asked_for_by_name():
    network, _ = build(weights=None)
    assert network.backbone.body.frozen == 1
