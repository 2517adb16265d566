"""A detector's checkpoint: what comes back is what went in, and nothing else is taken."""

import json
from dataclasses import replace

import pytest
import torch
from torchvision.ops import FrozenBatchNorm2d

from backbones import BackboneOptions, Conventions
from tasks.common.resume.continuation import check_resume
from tasks.detection.data.images import Reading
from tasks.detection.model.card import DetectorCard, restore_detector
from tests.backbones.errors import refuses
from tests.tasks.common.fakes import save
from tests.tasks.detection.conftest import CARD as OF_RESNET18

CARD = replace(
    OF_RESNET18,
    backbone_options=BackboneOptions(norm="group"),
    conventions=Conventions(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), epsilon=1e-3),
)
SETTINGS = {"recipe": {"epochs": 2, "lr": 0.1}, "trainer": {"max_steps": -1}}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "best.ckpt"
    return save(path, CARD, CARD.build(), settings=SETTINGS)


def test_a_checkpoint_gives_the_same_detections(tmp_path):
    detector = CARD.build().eval()
    loaded, card = restore_detector(save(tmp_path / "a.ckpt", CARD, detector))
    assert card == CARD
    assert not loaded.training
    detector.to(memory_format=torch.channels_last)  # in which detectors are trained and loaded
    image = torch.rand(3, 64, 80)
    with torch.no_grad():
        (expected,), (found,) = detector([image]), loaded([image])
    assert len(expected["boxes"]) > 10
    for name, value in expected.items():
        assert torch.equal(found[name], value)


def test_images_can_be_read_in_another_way_than_in_training(path):
    _, card = restore_detector(path, exif="apply", range_=(-1000.0, 1000.0))
    reading = Reading(exif="apply", range=(-1000.0, 1000.0), clipped=True)
    assert card == replace(CARD, reading=reading)
    with refuses("unknown exif 'aply'"):
        restore_detector(path, exif="aply")
    with refuses(r"data.range takes the lowest and the highest.*\[5, 1\]"):
        restore_detector(path, range_=(5, 1))


def test_the_preprocessing_and_the_epsilon_come_back(path):
    loaded, _ = restore_detector(path)
    assert loaded.transform.image_mean == [0.1, 0.2, 0.3]
    assert loaded.transform.image_std == [0.4, 0.5, 0.6]
    assert (loaded.transform.min_size, loaded.transform.max_size) == ((64,), 96)
    fixed = replace(CARD, backbone_options=BackboneOptions(norm="frozen_batch")).build()
    norms = [m for m in fixed.backbone.body.modules() if isinstance(m, FrozenBatchNorm2d)]
    assert {norm.eps for norm in norms} == {1e-3}


def test_a_card_is_plain_values_and_survives_them():
    values = CARD.to_dict()
    assert json.loads(json.dumps(values)) == values
    assert DetectorCard.from_dict(values) == CARD
    assert values["task"] == "detection"


def test_the_card_of_an_earlier_version_counts_coordinates_from_1(path):
    values = CARD.to_dict()
    del values["one_based"]
    assert DetectorCard.from_dict(values) == CARD
    del values["reading"]  # 16 bits were cut to 8, and EXIF was not looked at
    old = Reading(exif="ignore", range=(0, 65535))
    assert DetectorCard.from_dict(values) == replace(CARD, reading=old)
    assert CARD.one_based
    # A run on 0-based files that began with that version goes on: the data's digest is compared.
    check_resume(path, replace(CARD, one_based=False), settings=SETTINGS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ("cat", "cow")}, r"classes is \['cat', 'cow'\], {} \['cat', 'd"),
        ({"category_ids": (1, 2)}, r"category_ids is \[1, 2\], {} \[3, 90\]"),
        ({"options": replace(CARD.options, max_size=128)}, "options.max_size is 128, {} 96"),
    ],
)
def test_a_run_of_another_detector_may_not_go_on(path, changes, message):
    with refuses(message.format("the checkpoint's is")):
        check_resume(path, replace(CARD, **changes), settings=SETTINGS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": {"depth": 3}}, "describes its detector in a way .*depth"),
        ({"options": {"min_size": 0}}, "model.min_size takes .* got 0"),
        ({"backbone": "resnet34"}, "lacks weights of the detector it describes"),
    ],
)
def test_a_checkpoint_that_this_version_cannot_read_is_refused(tmp_path, path, changes, message):
    checkpoint = torch.load(path, weights_only=True)
    torch.save(checkpoint | {"keel": checkpoint["keel"] | changes}, tmp_path / "a.ckpt")
    with refuses(message):
        restore_detector(tmp_path / "a.ckpt")
