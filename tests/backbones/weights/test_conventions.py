"""How a file expects its images: stated in it, given by the user, or asked for in an error."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import conv2d

from backbones import Conventions
from backbones.weights.conventions import CONVENTIONS
from tests.backbones.errors import refuses
from tests.backbones.networks import close, without
from tests.backbones.weights import spelling
from tests.backbones.weights.small import build, same_features
from tests.backbones.weights.spelling import (
    CV2_HALF,
    HALF,
    HALF_CARD,
    IMAGENET,
    MM2_CAFFE,
    below,
    by,
    hub,
    mmlab,
    zeros,
)


def head(count, *, bias=True, name="fc"):
    """A last layer of so many classes."""
    layer = {f"{name}.weight": torch.ones(count, 512)}
    return layer | ({f"{name}.bias": torch.ones(count)} if bias else {})


def bare(state):
    return without(state, "fc.")


def lightning(state):
    return {"state_dict": state, "pytorch-lightning_version": "2.5.0"}


X, LAST = torch.ones(21, 8, 1, 1), "classifier.4.weight"  # torchvision's segmenters' last layer
ONLINE = {
    "byol": lambda s: below("online_encoder.", s) | below("target_encoder.", zeros(s)),
    "byol, a net in it": lambda s: ONLINE["byol"](below("net.", s)),
    "byol, numbered": lambda s: spelling.children(s, "online_network.encoder."),
    "byol, its own key": lambda s: {
        "online_network_state_dict": spelling.children(s, "encoder."),
        "target_network_state_dict": spelling.children(zeros(s), "encoder."),
    },
    "simclr": lambda s: {"state_dict": below("encoder.", s) | {"projector.0.weight": X}},
    "simclr, numbered": lambda s: spelling.children(s, "f."),
    "solo-learn": lambda s: lightning(
        below("backbone.", s) | below("momentum_backbone.", zeros(s))
    ),
    "lightly": lambda s: {"state_dict": spelling.children(s)},
    "smp": lambda s: below("encoder.", s) | {"decoder.x.bias": X},
    "mmdetection without its configuration": lambda s: mmlab(s, "a = (", "cfg"),
    "transformers without its notes": lambda s: spelling.transformers(s),
}
OWN = {  # what people train on images of their own, by names that are torchvision's
    "two classes": lambda s: bare(s) | head(2),
    "one output": lambda s: bare(s) | head(1),
    "ImageNet-21k": lambda s: bare(s) | head(21843),
    "no bias": lambda s: bare(s) | head(1000, bias=False),
    "behind a dropout": lambda s: bare(s) | head(2, name="fc.1"),
    "behind another layer": lambda s: bare(s) | head(1000, name="fc.0") | head(2, name="fc.2"),
    "a second layer": lambda s: s | head(2, name="fc.out"),
    "classifier": lambda s: bare(s) | head(1000, name="classifier"),
    "head": lambda s: bare(s) | head(2, name="head.fc"),
    "no last layer": bare,
    "DataParallel": lambda s: below("module.", bare(s) | head(2)),
    "compiled": lambda s: below("_orig_mod.", bare(s) | head(2)),
    "a training script": lambda s: {"model": bare(s) | head(7), "optimizer": {"lr": 0.1}},
    "averaged": lambda s: {"model": zeros(s), "model_ema": below("module.", bare(s) | head(2))},
    "Lightning": lambda s: lightning(below("model.", s)),
    "Lightning, no prefix": lightning,
    "a classifier beside": lambda s: below("backbone.", bare(s)) | head(2, name="classifier"),
    "a segmenter of other classes": lambda s: below("backbone.", bare(s)) | {LAST: X[:2]},
    "a mean teacher": lambda s: {"student": zeros(bare(s)), "teacher": bare(s)},
}
UNKNOWN = ONLINE | OWN


@pytest.mark.parametrize("kind", UNKNOWN)
def test_a_file_of_unknown_conventions_asks_for_them(theirs, small, save, kind):
    """Only what torchvision publishes is taken for torchvision's: colours, 1000 classes."""
    path = save(UNKNOWN[kind](small))
    message = (
        r"weights\.pth comes from .*, whose files are made for images of different kinds, and this "
        r"one does not say which\..* A wrong mean.* conventions=<name> \(backbone\.conventions="
        r"<name> for a run\), one of imagenet, .*caffe.*none.*Nothing was loaded\."
    )
    with refuses(message):
        build(weights=path)
    ours = same_features(path, theirs, HALF, origin="", conventions="inception")
    assert "(inception, as given)" in ours.provenance


@pytest.mark.parametrize(
    "notes", [{}, {"preprocessor_config": {"do_resize": True}}, {"config": {"layer_type": "basic"}}]
)
def test_only_notes_that_exist_are_named_in_the_message(small, tmp_path, notes):
    path = hub(tmp_path, spelling.transformers(small), **notes)
    also = "".join(rf" {name}\.json beside it does not say either\." for name in notes)
    with refuses(rf"which\.{also} A wrong mean"):
        build(weights=path)


def test_a_meta_without_a_configuration_is_not_named_in_the_message(small, save):
    path = save({"meta": {"mmdet_version": "2.0", "epoch": 3}, "state_dict": small})
    with refuses(r"this one does not say which\. A wrong mean"):
        build(weights=path)


def test_a_gray_file_asks_for_conventions_and_has_no_colours_to_reorder(shallow, save):
    first = shallow["conv1.weight"].sum(1, keepdim=True)
    path = save(shallow | head(1000) | {"conv1.weight": first})
    file = {"weights": path, "in_channels": 1}
    with refuses(r"this one does not say which\. A wrong mean"):
        build(**file)
    backbone = build(**file, conventions="caffe")
    assert torch.equal(backbone.conv1.weight, first)
    assert backbone.conventions.mean == pytest.approx(((103.53 + 116.28 + 123.675) / 3 / 255,))


def test_a_card_is_in_the_checkpoint_or_in_safetensors_metadata(theirs, small, save, tmp_path):
    exported = tmp_path / "exported.safetensors"
    card = json.dumps(HALF_CARD | {"epsilon": 1e-5, "backbone": "resnet18"})
    save_file({k: v.clone() for k, v in small.items()}, exported, metadata={"keel": card})
    for path in (exported, save({"state_dict": bare(small), "keel": HALF_CARD})):
        same_features(path, theirs, HALF, origin="Keel")


def test_conventions_that_are_given_win_over_the_files(theirs, small, save):
    for content in (small, mmlab(small, MM2_CAFFE, "config")):
        ours = same_features(save(content), theirs, CV2_HALF, origin="", conventions="radimagenet")
        images = "BGR in [0, 1], mean 0.5 0.5 0.5, std 0.5 0.5 0.5 (radimagenet, as given)"
        assert f"images: {images}" in ours.provenance


def test_conventions_that_nobody_knows_are_refused(shallow, save):
    with refuses(r"^unknown conventions 'imagnet'; did you mean 'imagenet'\?"):
        build(weights=save(shallow), conventions="imagnet")
    with refuses(r"^conventions='caffe' says what loaded weights expect"):
        build(weights="random", conventions="caffe")


PREPROCESSOR = {"do_normalize": True, "do_rescale": True, "rescale_factor": 0.00392156862745098}
PREPROCESSOR |= {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}


@pytest.mark.parametrize(
    ("prefix", "change", "prepare"),
    [
        ("resnet.", {}, HALF),
        ("", {}, HALF),
        ("model.backbone.conv_encoder.model.", {}, HALF),
        ("resnet.", {"do_flip_channel_order": True}, CV2_HALF),
        ("resnet.", {"do_normalize": False}, lambda image: image),
        ("resnet.", {"do_rescale": False}, by((0.5,) * 3, (0.5,) * 3, white=255)),
    ],
)
def test_a_repository_of_transformers(theirs, small, tmp_path, prefix, change, prepare):
    notes = {"preprocessor_config": PREPROCESSOR | change, "config": {"layer_type": "basic"}}
    path = hub(tmp_path, spelling.transformers(small, prefix), **notes)
    same_features(path, theirs, prepare, origin="HuggingFace transformers")


def test_a_repository_of_timm(theirs, small, tmp_path):
    config = {"architecture": "resnet18", "pretrained_cfg": HALF_CARD}
    same_features(hub(tmp_path, small, config=config), theirs, HALF, origin="timm")
    # Another network, whose tensors have the same shapes.
    path = hub(tmp_path, small, config=config | {"architecture": "resnetblur18"})
    with refuses(r"is of a resnetblur18, says config\.json beside it, and was"):
        build(weights=path)


def test_json_beside_a_file_of_another_name_is_ignored(theirs, small, save):
    path = save(small)
    path.with_name("preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    same_features(path, theirs, IMAGENET, origin="torchvision")


def test_conventions_may_be_given_as_numbers(theirs, small, save):
    told = Conventions(mean=(0.5,) * 3, std=(0.5,) * 3, epsilon=1e-5)
    same_features(save(below("f.", small)), theirs, HALF, origin="", conventions=told)


@pytest.mark.parametrize("name", CONVENTIONS)
def test_a_format_as_conventions_is_the_same_function_of_an_image(name):
    form = CONVENTIONS[name]
    ours = form.conventions()
    image, weight = torch.rand(2, 3, 8, 8), torch.randn(4, 3, 3, 3)
    theirs = by(form.mean, form.std, white=form.white, bgr=form.bgr)(image)
    mine = by(ours.mean, ours.std)(image)
    close({"c1": conv2d(mine, form.in_rgb(weight))}, {"c1": conv2d(theirs, weight)})
