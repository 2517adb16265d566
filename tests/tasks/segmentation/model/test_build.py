"""The segmenter that comes of what was chosen."""

import numpy as np
import pytest
import torch
from torch import nn

from backbones import build_backbone
from tasks.common.recipe.backbone import BackboneChoice
from tasks.segmentation.model.build import choose_norms, new_segmenter
from tasks.segmentation.options import InputOptions, UNetOptions
from tests.tasks.data_sets import masks
from tests.tasks.segmentation.conftest import refuses

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's
DATA = masks("background", "gland", "vessel")


@pytest.mark.parametrize(
    ("norm", "weights", "decoder", "batch_size", "expected"),
    [
        ("auto", "imagenet", "auto", 8, ("frozen_batch", "batch")),
        ("auto", "imagenet", "auto", 7, ("frozen_batch", "group")),
        ("auto", "random", "auto", 8, ("batch", "batch")),
        ("auto", None, "auto", 7, ("group", "group")),
        ("auto", "imagenet", "instance", 2, ("instance", "instance")),
        ("auto", "random", "batch", 2, ("batch", "batch")),
        ("frozen_batch", "imagenet", "instance", 2, ("frozen_batch", "instance")),
        ("instance", "random", "auto", 16, ("instance", "batch")),
        ("instance", "random", "auto", 2, ("instance", "group")),
    ],
)
def test_norms_follow_from_options_weights_and_batch(norm, weights, decoder, batch_size, expected):
    choice = BackboneChoice(name="resnet18", weights=weights, norm=norm)
    chosen = choose_norms(choice, UNetOptions(norm=decoder), batch_size=batch_size)
    assert tuple(decision.value for decision in chosen) == expected


@pytest.mark.parametrize(
    ("norm", "decoder", "reasons"),
    [
        ("auto", "auto", ("loaded statistics are kept", "4 images per batch")),
        ("auto", "group", ("that of the decoder", "as configured")),
        ("batch", "auto", ("as configured", "4 images per batch")),
    ],
)
def test_norms_come_with_their_reasons(norm, decoder, reasons):
    choice = BackboneChoice(name="resnet18", norm=norm)
    chosen = choose_norms(choice, UNetOptions(norm=decoder), batch_size=4)
    assert tuple(decision.reason for decision in chosen) == reasons


def build(choice=None, inputs=None, **options):
    return new_segmenter(
        BackboneChoice(**{"name": "resnet18", "weights": "random"} | (choice or {})),
        UNetOptions(norm="group", channels=(32,) * 5),
        InputOptions(**{"normalisation": "imagenet", "patch": (64, 64)} | (inputs or {})),
        data=DATA,
        **{"channels": 1, "norm": "group", "freeze": 0} | options,
    )


def test_the_segmenter_is_what_was_chosen():
    network, card = build(freeze=1, norm="instance")
    assert network.backbone.frozen == 1
    assert isinstance(network.backbone.bn1, nn.InstanceNorm2d)
    assert isinstance(network.decoder["blocks"][0].conv1[1], nn.GroupNorm)
    assert network.segmentation_head[0].out_channels == 3
    assert (card.backbone, card.backbone_options.norm) == ("resnet18", "instance")
    assert (card.channels, card.axis) == (1, 2)
    assert card.classes == DATA.classes
    assert card.options == UNetOptions(norm="group", channels=(32,) * 5)
    assert card.input.patch == (64, 64)
    assert card.provenance == "random initialisation"


@pytest.mark.parametrize(
    ("channels", "neighbours", "expected"), [(1, 0, 1), (3, 0, 3), (1, 1, 3), (3, 2, 15), (7, 0, 7)]
)
def test_data_and_neighbours_tell_the_channels(channels, neighbours, expected):
    network, card = build(inputs={"neighbours": neighbours}, channels=channels)
    assert network.backbone.conv1.in_channels == card.in_channels == expected
    assert len(card.conventions.mean) == len(card.conventions.std) == expected
    assert (card.channels, card.preprocessing.neighbours) == (channels, neighbours)


def test_told_channels_must_be_those_of_the_data():
    assert build({"in_channels": 3}, {"neighbours": 1})[1].in_channels == 3
    with refuses("in_channels is 3, but images of 2 channels with .*neighbours=1 make 6; leave"):
        build({"in_channels": 3}, {"neighbours": 1}, channels=2)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_zscore_is_not_normalised_again(channels):
    _, card = build(inputs={"normalisation": "zscore"}, channels=channels)
    assert (card.conventions.mean, card.conventions.std) == ((0.0,) * channels, (1.0,) * channels)


@pytest.mark.parametrize("normalisation", ["imagenet", "percentile"])
def test_what_lies_from_0_to_1_is_normalised_as_the_weights_expect(normalisation):
    _, card = build(inputs={"normalisation": normalisation}, channels=3)
    assert card.conventions.mean == pytest.approx(MEAN)
    assert card.conventions.std == pytest.approx(STD)


def test_gray_images_have_one_mean_even_without_weights():
    _, card = build()
    assert card.conventions.mean == pytest.approx((np.mean(MEAN),))
    assert len(card.conventions.std) == 1


def test_the_preprocessing_is_that_of_the_weights(tmp_path):
    weights = tmp_path / "own.pth"
    torch.save(build_backbone("resnet18", norm="group").state_dict(), weights)
    network, card = build({"weights": str(weights), "conventions": "imagenet"})
    assert card.conventions.mean == network.backbone.conventions.mean
    assert str(weights) in card.provenance
