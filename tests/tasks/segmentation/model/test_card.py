"""A segmenter's checkpoint: what comes back is what went in, and nothing else is taken."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from backbones import BackboneOptions, Conventions
from tasks.common.resume.continuation import check_resume
from tasks.segmentation.data.cases import ClassTable, class_table
from tasks.segmentation.data.dataset import whole_input
from tasks.segmentation.data.input import scaling_of
from tasks.segmentation.model.card import SegmenterCard, restore_segmenter
from tasks.segmentation.options import InputOptions, UNetOptions
from tests.tasks.common.fakes import save
from tests.tasks.segmentation.conftest import refuses

pytestmark = pytest.mark.usefixtures("shallow")

CARD = SegmenterCard(
    backbone="resnet18",
    backbone_options=BackboneOptions(norm="group", in_channels=1),
    channels=1,
    options=UNetOptions(norm="group", channels=(8,) * 3),
    classes=class_table({0: "background", 80: "gland", 81: "gland", 255: "vessel"}),
    input=InputOptions(normalisation="imagenet", patch=(64, 64), patches=20),
    axis=-1,
    conventions=Conventions(mean=(0.1,), std=(0.4,), epsilon=1e-3),
    provenance="random initialisation",
)
OVERLAPPING = ClassTable(
    names=("whole", "core"), values=((1, 2, 4), (1,)), exclusive=False, ignored=(9,), inferred=True
)
TENTHS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
WINDOW = {"normalisation": "window", "window": (-160.0, 240.0), "neighbours": 1, "flips": True}
CARDS = {
    "plain": CARD,
    "overlapping, 2.5D of two channels, a window": replace(
        CARD,
        backbone_options=BackboneOptions(norm="group", in_channels=6),
        channels=2,
        classes=OVERLAPPING,
        input=replace(CARD.input, **WINDOW),
        axis=2,
        conventions=Conventions(mean=TENTHS, std=TENTHS[::-1], epsilon=1e-3),
    ),
    "batch norm, every option of the decoder": replace(
        CARD,
        backbone_options=BackboneOptions(norm="batch", in_channels=1),
        options=UNetOptions(
            norm="instance",
            deep_supervision=True,
            attention="scse",
            upsampling="transposed",
            channels=(16, 16, 32),
            image_skip=True,
        ),
        input=replace(CARD.input, normalisation="zscore"),
    ),
}
every_card = pytest.mark.parametrize("card", CARDS.values(), ids=CARDS.keys())
SETTINGS = {"recipe": {"epochs": 2, "lr": 0.1}, "trainer": {"max_steps": -1}}


@every_card
def test_a_checkpoint_gives_the_same_logits_and_preprocessing(tmp_path, card):
    network = card.build().eval()
    for tensor in network.state_dict().values():  # as after training: no weight is a round number
        if tensor.is_floating_point():
            tensor.add_(torch.rand_like(tensor) * 0.1)
    loaded, read = restore_segmenter(save(tmp_path / "a.ckpt", card, network))
    assert read == card
    assert not any(module.training for module in loaded.modules())
    volume = np.random.default_rng(0).integers(0, 200, (card.channels, 3, 40, 50), np.uint8)
    scaling = scaling_of(volume, read.input, source=Path())
    seen, expected = (
        whole_input(volume, scaling, preprocessing=told.preprocessing) for told in (read, card)
    )
    assert torch.equal(seen, expected)
    assert seen.shape[1] == card.in_channels == card.channels * (2 * card.input.neighbours + 1)
    with torch.no_grad():
        logits = network(seen)
        assert torch.equal(loaded(seen), logits)
    assert logits.shape == (3, len(card.classes.names), 40, 50)
    assert logits.std() > 1e-3


@every_card
def test_a_card_is_plain_values_and_survives_them(card):
    values = card.to_dict()
    assert json.loads(json.dumps(values)) == values
    again = SegmenterCard.from_dict(values)
    assert again == card
    assert hash(again) == hash(card)  # tuples all the way down
    assert values["task"] == "segmentation"


def test_the_preprocessing_is_that_of_the_weights():
    told = CARDS["overlapping, 2.5D of two channels, a window"].preprocessing
    assert (told.mean, told.std, told.neighbours) == (TENTHS, TENTHS[::-1], 1)


def test_the_epsilon_and_the_conventions_come_back():
    backbone = CARDS["batch norm, every option of the decoder"].build().backbone
    assert {m.eps for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}
    assert (backbone.conventions.mean, backbone.conventions.std) == ((0.1,), (0.4,))


@pytest.mark.parametrize("saved", [True, False])
def test_heads_of_deep_supervision_may_be_there_or_not(tmp_path, saved):
    """Whichever the checkpoint has, a run with and without them can begin with its weights."""
    kinds = (replace(CARD.options, deep_supervision=heads) for heads in (False, True))
    cards = [replace(CARD, options=kind) for kind in kinds]
    network = cards[saved].build().eval()
    loaded, card = restore_segmenter(save(tmp_path / "a.ckpt", cards[not saved], network))
    assert card == cards[not saved]
    assert (len(loaded.deep_heads) > 0) == (not saved)
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded(image), network(image))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": {"depth": 3}}, "describes its segmenter in a way .*depth"),
        ({"input": {"overlap": 2}}, "describes its segmenter .*input.overlap takes .* got 2"),
        ({"classes": {"names": ["a"]}}, "describes its segmenter .*'values'"),
        ({"axes": 3}, "describes its segmenter .*axes"),
        ({"backbone": "resnet34"}, "lacks weights of the segmenter it describes"),
        ({"channels": 2, "mean": [0, 0], "std": [1, 1]}, "lacks weights of the segmenter"),
    ],
)
def test_a_checkpoint_that_this_version_cannot_read_is_refused(tmp_path, changes, message):
    path = save(tmp_path / "a.ckpt", CARD.to_dict() | changes, CARD.build())
    with refuses(message):
        restore_segmenter(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"classes": class_table({0: "background", 1: "gland"})},
            r"cannot resume from .*best.ckpt: classes.names is \['background', 'gland'\], the "
            r"checkpoint's is .*'vessel'.*\. Use the command of that run",
        ),
        # No weights carry the mean.
        ({"conventions": replace(CARD.conventions, mean=(0.3,))}, r"mean is \[0.3\], the check"),
        ({"channels": 3}, "channels is 3, the checkpoint's is 1"),
        ({"axis": 0}, "axis is 0, the checkpoint's is -1"),
        ({"input": replace(CARD.input, patch=(32, 64))}, r"input.patch is \[32, 64\], the check"),
        ({"options": replace(CARD.options, image_skip=True)}, "options.image_skip is True, the"),
    ],
)
def test_a_run_of_another_segmenter_may_not_go_on(tmp_path, changes, message):
    path = save(tmp_path / "best.ckpt", CARD, CARD.build(), settings=SETTINGS)
    with refuses(message):
        check_resume(path, replace(CARD, **changes), settings=SETTINGS)
