"""The detector that comes of what was chosen."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from backbones import build_backbone
from tasks.common.recipe.backbone import BackboneChoice
from tasks.detection.model.build import new_detector
from tests.backbones.errors import refuses
from tests.tasks.data_sets import boxes
from tests.tasks.detection.conftest import SMALL

DATA = replace(boxes("cat", "dog"), category_ids=[3, 90])


def build(data=DATA, **changes):
    choice = BackboneChoice(**{"name": "resnet18", "weights": "random"} | changes)
    return new_detector(choice, SMALL, data=data, norm="group", freeze=1)


def test_the_detector_is_what_was_chosen():
    network, card = build(in_channels=1)
    body = network.backbone.body
    assert body.frozen == 1
    assert body.conv1.in_channels == 1
    assert list(body.channels) == ["c3", "c4"]
    assert isinstance(body.bn1, nn.GroupNorm)
    assert network.roi_heads.box_predictor.cls_score.out_features == 1 + 2
    assert (card.backbone, card.backbone_options.norm, card.in_channels) == ("resnet18", "group", 1)
    assert (card.classes, card.category_ids) == (("cat", "dog"), (3, 90))
    assert card.options == SMALL
    assert card.provenance == "random initialisation"


def test_the_preprocessing_is_that_of_the_weights(tmp_path):
    weights = tmp_path / "gray.pth"
    torch.save(build_backbone("resnet18", norm="group").state_dict(), weights)
    network, card = build(weights=str(weights), conventions="imagenet", in_channels=1)
    mean = np.mean([0.485, 0.456, 0.406])  # of torchvision's three channels
    assert card.conventions.mean == pytest.approx((mean,))
    assert network.transform.image_mean == list(card.conventions.mean)
    assert network.transform.image_std == list(card.conventions.std)
    assert str(weights) in card.provenance


@pytest.mark.parametrize("one_based", [True, False])
def test_the_card_says_how_coordinates_were_counted(one_based):
    _, card = build(replace(DATA, one_based=one_based))
    assert card.one_based is one_based


def test_images_of_four_channels_are_refused():
    with refuses(r"in_channels takes 3 \(RGB\) or 1 \(gray\).*got 4"):
        build(in_channels=4)


def test_no_weights_may_be_frozen_when_they_are_asked_for_by_name():
    network, _ = build(weights=None)
    assert network.backbone.body.frozen == 1
