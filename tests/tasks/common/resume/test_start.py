"""A run that begins with a whole trained network: the same outputs, and rows by class name."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from backbones import Conventions
from tasks.common.recipe.backbone import BackboneChoice
from tasks.common.resume.card import matched
from tasks.common.resume.start import read_start
from tasks.detection.model.build import new_detector
from tasks.detection.model.card import DetectorCard
from tasks.detection.options import DetectorOptions
from tasks.segmentation.model.build import choose_norms, new_segmenter, resumed_input
from tasks.segmentation.model.card import SegmenterCard
from tasks.segmentation.options import InputOptions, UNetOptions
from tests.tasks.both import boxes, masks, save

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


def trained(network):
    """Let every tensor have values that it is not drawn with."""
    generator = torch.Generator().manual_seed(3)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.1 + 0.05)
    return network.eval()


def both(ours, theirs, image):
    """What two networks give for an image, in eval mode."""
    with torch.no_grad():
        return ours.eval()(image), theirs.eval()(image)


def detector(data, *, choice=CHOICE, options=OPTIONS, norm="batch", start=None, freeze=0):
    return new_detector(choice, options, data=data, norm=norm, freeze=freeze, start=start)


@pytest.fixture(scope="module")
def detecting(tmp_path_factory):
    """A trained detector of cats and dogs, in a run folder, with a mean of its own."""
    network, card = detector(boxes("cat", "dog"))
    card = replace(
        card,
        conventions=Conventions(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), epsilon=1e-3),
    )
    network = trained(network)
    folder = tmp_path_factory.mktemp("run")
    save(network, card, folder / "checkpoints" / "best.ckpt")
    rebuilt = card.build()
    rebuilt.load_state_dict(network.state_dict())
    return rebuilt.eval(), card, folder


def begin(folder, choice=DEFAULT):
    return read_start(str(folder), DetectorCard, choice)


@pytest.mark.parametrize("norm", ["batch", "frozen_batch"])
def test_a_detector_with_the_same_classes_gives_the_same_at_once(detecting, norm):
    theirs, card, folder = detecting
    start = begin(folder)
    ours, own = detector(boxes("cat", "dog"), choice=DEFAULT, norm=norm, start=start, freeze=2)
    assert own.conventions == card.conventions
    assert own.provenance.startswith(f"init_from {folder / 'checkpoints' / 'best.ckpt'}; its ")
    assert ours.backbone.body.frozen == 2
    found, expected = both(ours, theirs, [torch.rand(3, 64, 64)])
    exact = {"rtol": 0, "atol": 0} if norm == "batch" else {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(found, expected, **exact)


def test_rows_of_a_detector_follow_the_names_of_the_classes(detecting):
    theirs, _, folder = detecting
    ours, own = detector(boxes("bird", "dog", "fox"), choice=DEFAULT, start=begin(folder))
    before, after = theirs.roi_heads.box_predictor, ours.roi_heads.box_predictor
    for layer, rows in ((lambda p: p.cls_score, 1), (lambda p: p.bbox_pred, 4)):
        for name in ("weight", "bias"):
            old = getattr(layer(before), name).unflatten(0, (-1, rows))
            new = getattr(layer(after), name).unflatten(0, (-1, rows))
            assert torch.equal(new[0], old[0])  # background
            assert torch.equal(new[2], old[2])  # dog
            for fresh in (1, 3):
                assert not any(torch.equal(new[fresh], row) for row in old)
    torch.testing.assert_close(ours.rpn.state_dict(), theirs.rpn.state_dict(), rtol=0, atol=0)
    kept = own.classes_of(begin(folder).card)
    assert str(kept) == "classes kept: dog; drawn anew: bird, fox; left out: cat"


def test_a_detector_of_another_build_is_refused_with_what_to_set(detecting):
    _, _, folder = detecting
    options = replace(OPTIONS, head_width=32, anchor_sizes=(8, 16, 32))
    message = (
        r"best\.ckpt is of another network: backbone is 'resnet34', its own 'resnet18'; "
        r"backbone\.norm is 'group', its own 'batch'; model\.head_width is 32, its own 16; .*"
        r"use backbone=resnet18 backbone\.norm=batch model\.head_width=16 "
        r"'model\.anchor_sizes=\[16,32,64\]', or for the backbone alone backbone\.weights="
    )
    choice = replace(DEFAULT, name="resnet34")
    with pytest.raises(ValueError, match=message):
        detector(boxes("cat"), choice=choice, options=options, norm="group", start=begin(folder))


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({"weights": "/x/y.pth"}, "backbone.weights"),
        ({"weights": None}, "backbone.weights"),
        ({"conventions": "caffe"}, "backbone.conventions"),
    ],
)
def test_weights_of_the_backbone_are_not_asked_for_as_well(detecting, changes, asked):
    with pytest.raises(ValueError, match=rf"and so does {asked}; leave one of them out"):
        begin(detecting[2], replace(DEFAULT, **changes))


def test_a_checkpoint_of_the_other_task_is_sent_to_the_backbone(detecting):
    _, _, folder = detecting
    message = r"is of the task detection, expected a segmenter; .* backbone\.weights=.*best"
    with pytest.raises(ValueError, match=message):
        read_start(str(folder), SegmenterCard, DEFAULT)


def test_what_is_no_run_is_refused(tmp_path):
    read = partial(read_start, kind=DetectorCard, choice=CHOICE)
    assert read(None) is None  # the run begins with a backbone alone
    with pytest.raises(FileNotFoundError, match=r"init_from: no checkpoint or run folder .*gone"):
        read(str(tmp_path / "gone"))
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no run folder with checkpoints/best\.ckpt or"):
        read(str(tmp_path))
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(ValueError, match=r"last\.ckpt is truncated or damaged"):
        read(str(tmp_path))


def test_norm_and_channels_are_those_of_the_network_where_nothing_is_told(tmp_path):
    network, card = detector(boxes("cat"), choice=replace(CHOICE, in_channels=1), norm="group")
    path = save(network, card, tmp_path / "gray.ckpt")
    start = begin(path)
    assert (start.norm(DEFAULT).value, start.norm(DEFAULT).reason) == ("group", "that of init_from")
    assert start.norm(replace(DEFAULT, norm="batch")).value == "batch"
    ours, own = detector(boxes("cat"), choice=DEFAULT, norm="group", start=start)
    assert (own.in_channels, ours.backbone.body.conv1.in_channels) == (1, 1)


# Segmentation.


def segmenter(data, *, choice=CHOICE, start=None, inputs=None, options=None):
    return new_segmenter(
        choice,
        options or UNetOptions(norm="group", channels=(16,) * 5, deep_supervision=True),
        inputs or InputOptions(normalisation="imagenet", patch=(64, 64)),
        data=data,
        channels=1,
        norm="group",
        freeze=0,
        start=start,
    )


@pytest.fixture(scope="module")
def segmenting(tmp_path_factory):
    network, card = segmenter(masks("background", "gland", "vessel"))
    card = replace(card, conventions=Conventions(mean=(0.2,), std=(0.3,)))
    network = trained(network)
    return network, card, save(network, card, tmp_path_factory.mktemp("seg") / "x.ckpt")


def begin_masks(path):
    return read_start(str(path), SegmenterCard, DEFAULT)


def test_a_segmenter_with_the_same_classes_gives_the_same_at_once(segmenting):
    theirs, card, path = segmenting
    data = masks("background", "gland", "vessel")
    ours, own = segmenter(data, choice=DEFAULT, start=begin_masks(path))
    assert own.conventions == card.conventions
    image = torch.rand(1, 1, 64, 64)
    assert torch.equal(*both(ours, theirs, image))
    with torch.no_grad():
        deep = zip(ours.train()(image), theirs.train()(image), strict=True)
        assert all(torch.equal(a, b) for a, b in deep)


def test_a_class_more_leaves_the_outputs_of_the_others(segmenting):
    theirs, _, path = segmenting
    data = masks("background", "vessel", "stroma", "gland")
    ours, own = segmenter(data, choice=DEFAULT, start=begin_masks(path))
    found, expected = both(ours, theirs, torch.rand(1, 1, 64, 64))
    for mine, other in ((0, 0), (1, 2), (3, 1)):
        torch.testing.assert_close(found[:, mine], expected[:, other], rtol=1e-5, atol=1e-5)
    assert "drawn anew: stroma" in str(own.classes_of(begin_masks(path).card))


def test_deep_supervision_may_begin_anew(segmenting):
    theirs, _, path = segmenting
    options = UNetOptions(norm="group", channels=(16,) * 5)
    data = masks("background", "gland", "vessel")
    ours, _ = segmenter(data, choice=DEFAULT, start=begin_masks(path), options=options)
    assert torch.equal(*both(ours, theirs, torch.rand(1, 1, 64, 64)))


def test_classes_that_exclude_each_other_are_no_others(segmenting):
    _, _, path = segmenting
    data = masks("gland", "vessel", exclusive=False)
    _, card = segmenter(data, choice=DEFAULT, start=begin_masks(path))
    assert card.classes_of(begin_masks(path).card).kept == ()


def test_what_a_segmenter_sees_comes_from_the_checkpoint(segmenting):
    _, _, path = segmenting
    start = begin_masks(path)
    assert resumed_input(InputOptions(), start).normalisation == "imagenet"
    assert resumed_input(InputOptions(), None).normalisation == "auto"
    norms = choose_norms(DEFAULT, UNetOptions(), batch_size=16, start=start)
    assert [norm.value for norm in norms] == ["group", "group"]
    inputs = InputOptions(normalisation="zscore", patch=(64, 64))
    with pytest.raises(ValueError, match=r"input\.normalisation is 'zscore', its own 'imagenet'"):
        segmenter(masks("background"), choice=DEFAULT, start=start, inputs=inputs)


def test_classes_agree_by_name():
    found = matched(["b", "c"], ["a", "b"])
    assert (found.kept, found.fresh, found.left) == (("b",), ("c",), ("a",))
    assert found.pairs == ((0, 1),)
