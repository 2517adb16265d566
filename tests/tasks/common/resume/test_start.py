"""A run that begins with a whole trained network: the same outputs, and rows by class name."""

from dataclasses import replace

import pytest
import torch

from backbones import Conventions
from tasks.common.recipe.backbone import BackboneChoice
from tasks.common.resume.start import read_start
from tasks.detection.model.build import new_detector
from tasks.detection.model.card import DetectorCard
from tasks.detection.options import DetectorOptions
from tasks.segmentation.model.build import choose_norms, new_segmenter, resumed_input
from tasks.segmentation.model.card import SegmenterCard
from tasks.segmentation.options import InputOptions, UNetOptions
from tests.tasks.common.fakes import save
from tests.tasks.data_sets import boxes, masks

OPTIONS = DetectorOptions(
    features=("c2", "c3"),
    fpn_channels=16,
    head_width=16,
    anchor_sizes=(16, 32, 64),
    min_size=64,
    max_size=64,
    score_threshold=0.0,
)
CHOICE = BackboneChoice(name="resnet18", weights="random")
DEFAULT = BackboneChoice(name="resnet18")  # as the configuration has it: weights=imagenet
DECODER = UNetOptions(norm="group", channels=(16,) * 5, deep_supervision=True)
INPUT = InputOptions(normalisation="imagenet", patch=(64, 64))


def detector(data, *, choice=DEFAULT, options=OPTIONS, norm="batch", start=None, freeze=0):
    return new_detector(choice, options, data=data, norm=norm, freeze=freeze, start=start)


def segmenter(data, *, choice=DEFAULT, start=None, inputs=INPUT, options=DECODER):
    parts = {"data": data, "channels": 1, "norm": "group", "freeze": 0}
    return new_segmenter(choice, options, inputs, **parts, start=start)


def trained(network):
    """Let every tensor have values that it is not drawn with."""
    generator = torch.Generator().manual_seed(3)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.1 + 0.05)
    return network.eval()


def outputs(ours, theirs, image):
    """What two networks give for an image, in eval mode."""
    with torch.no_grad():
        return ours.eval()(image), theirs.eval()(image)


@pytest.fixture(scope="module")
def detecting(tmp_path_factory):
    """A trained detector of cats and dogs, in a run folder, with a mean of its own."""
    network, card = detector(boxes("cat", "dog"), choice=CHOICE)
    own = Conventions(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), epsilon=1e-3)
    card, folder = replace(card, conventions=own), tmp_path_factory.mktemp("run")
    save(folder / "checkpoints" / "best.ckpt", card, trained(network))
    rebuilt = card.build()
    rebuilt.load_state_dict(network.state_dict())
    return rebuilt.eval(), card, folder


def begin(path, kind=DetectorCard, choice=DEFAULT):
    return read_start(str(path), kind, choice)


@pytest.mark.parametrize("norm", ["batch", "frozen_batch"])
def test_a_detector_with_the_same_classes_gives_the_same_at_once(detecting, norm):
    theirs, card, folder = detecting
    ours, own = detector(boxes("cat", "dog"), norm=norm, start=begin(folder), freeze=2)
    assert own.conventions == card.conventions
    assert own.provenance.startswith(f"init_from {folder / 'checkpoints' / 'best.ckpt'}; its ")
    assert ours.backbone.body.frozen == 2
    found, expected = outputs(ours, theirs, [torch.rand(3, 64, 64)])
    exact = {"rtol": 0, "atol": 0} if norm == "batch" else {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(found, expected, **exact)


def test_rows_of_a_detector_follow_the_names_of_the_classes(detecting):
    theirs, _, folder = detecting
    ours, own = detector(boxes("bird", "dog", "fox"), start=begin(folder))
    before, after = theirs.roi_heads.box_predictor, ours.roi_heads.box_predictor
    for layer, rows in (("cls_score", 1), ("bbox_pred", 4)):
        for name in (f"{layer}.weight", f"{layer}.bias"):
            old = before.get_parameter(name).unflatten(0, (-1, rows))
            new = after.get_parameter(name).unflatten(0, (-1, rows))
            assert torch.equal(new[0], old[0])  # background
            assert torch.equal(new[2], old[2])  # dog
            assert not any(torch.equal(new[fresh], row) for row in old for fresh in (1, 3))
    torch.testing.assert_close(ours.rpn.state_dict(), theirs.rpn.state_dict(), rtol=0, atol=0)
    kept = own.classes_of(begin(folder).card)
    assert str(kept) == "classes kept: dog; drawn anew: bird, fox; left out: cat"


def test_a_detector_of_another_build_is_refused_with_what_to_set(detecting):
    options = replace(OPTIONS, head_width=32, anchor_sizes=(8, 16, 32))
    choice, start = replace(DEFAULT, name="resnet34"), begin(detecting[2])
    message = (
        r"best\.ckpt is of another network: backbone is 'resnet34', its own 'resnet18'; "
        r"backbone\.norm is 'group', its own 'batch'; model\.head_width is 32, its own 16; .*"
        r"use backbone=resnet18 backbone\.norm=batch model\.head_width=16 "
        r"'model\.anchor_sizes=\[16,32,64\]', or for the backbone alone backbone\.weights="
    )
    with pytest.raises(ValueError, match=message):
        detector(boxes("cat"), choice=choice, options=options, norm="group", start=start)


@pytest.mark.parametrize(
    ("changes", "given"),
    [
        ({"weights": "/x/y.pth"}, "backbone.weights"),
        ({"weights": None}, "backbone.weights"),
        ({"conventions": "caffe"}, "backbone.conventions"),
    ],
)
def test_weights_of_the_backbone_may_not_be_given_as_well(detecting, changes, given):
    with pytest.raises(ValueError, match=rf"and so does {given}; leave one of them out"):
        begin(detecting[2], choice=replace(DEFAULT, **changes))


def test_a_checkpoint_of_the_other_task_is_sent_to_the_backbone(detecting):
    message = r"is of the task detection, expected a segmenter; .* backbone\.weights=.*best"
    with pytest.raises(ValueError, match=message):
        begin(detecting[2], SegmenterCard)


def test_what_is_no_run_is_refused(tmp_path):
    assert read_start(None, DetectorCard, CHOICE) is None  # the run begins with a backbone alone
    with pytest.raises(FileNotFoundError, match=r"init_from: no checkpoint or run folder .*gone"):
        begin(tmp_path / "gone")
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no run folder with checkpoints/best\.ckpt or"):
        begin(tmp_path)
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(ValueError, match=r"last\.ckpt is truncated or damaged"):
        begin(tmp_path)


def test_norm_and_channels_are_those_of_the_network_unless_they_are_given(tmp_path):
    network, card = detector(boxes("cat"), choice=replace(CHOICE, in_channels=1), norm="group")
    start = begin(save(tmp_path / "gray.ckpt", card, network))
    assert str(start.norm(DEFAULT)) == "group (that of init_from)"
    assert start.norm(replace(DEFAULT, norm="batch")).value == "batch"
    ours, own = detector(boxes("cat"), norm="group", start=start)
    assert (own.in_channels, ours.backbone.body.conv1.in_channels) == (1, 1)


SEEN = masks("background", "gland", "vessel")


@pytest.fixture(scope="module")
def segmenting(tmp_path_factory):
    """A trained segmenter, and what a run that goes on from it reads."""
    network, card = segmenter(SEEN, choice=CHOICE)
    card = replace(card, conventions=Conventions(mean=(0.2,), std=(0.3,)))
    path = save(tmp_path_factory.mktemp("seg") / "x.ckpt", card, trained(network))
    return network, begin(path, SegmenterCard)


def test_a_segmenter_with_the_same_classes_gives_the_same_at_once(segmenting):
    theirs, start = segmenting
    ours, own = segmenter(SEEN, start=start)
    assert own.conventions == Conventions(mean=(0.2,), std=(0.3,))
    image = torch.rand(1, 1, 64, 64)
    assert torch.equal(*outputs(ours, theirs, image))
    with torch.no_grad():
        deep = zip(ours.train()(image), theirs.train()(image), strict=True)
        assert all(torch.equal(a, b) for a, b in deep)
    ours, _ = segmenter(SEEN, start=start, options=replace(DECODER, deep_supervision=False))
    assert torch.equal(*outputs(ours, theirs, image))


def test_a_class_more_leaves_the_outputs_of_the_others(segmenting):
    theirs, start = segmenting
    ours, own = segmenter(masks("background", "vessel", "stroma", "gland"), start=start)
    found, expected = outputs(ours, theirs, torch.rand(1, 1, 64, 64))
    for mine, other in ((0, 0), (1, 2), (3, 1)):
        torch.testing.assert_close(found[:, mine], expected[:, other], rtol=1e-5, atol=1e-5)
    assert "drawn anew: stroma" in str(own.classes_of(start.card))


def test_classes_that_exclude_each_other_are_no_others(segmenting):
    _, card = segmenter(masks("gland", "vessel", exclusive=False), start=segmenting[1])
    assert card.classes_of(segmenting[1].card).kept == ()


def test_what_a_segmenter_sees_comes_from_the_checkpoint(segmenting):
    start = segmenting[1]
    assert resumed_input(InputOptions(), start).normalisation == "imagenet"
    assert resumed_input(InputOptions(), None).normalisation == "auto"
    norms = choose_norms(DEFAULT, UNetOptions(), batch_size=16, start=start)
    assert [norm.value for norm in norms] == ["group", "group"]
    inputs = replace(INPUT, normalisation="zscore")
    with pytest.raises(ValueError, match=r"input\.normalisation is 'zscore', its own 'imagenet'"):
        segmenter(masks("background"), start=start, inputs=inputs)
