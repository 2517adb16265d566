"""Names that any network may have do not prove which images a file expects."""

import pytest
import torch

from backbones import build_backbone
from tests.backbones.errors import refuses
from tests.backbones.networks import without_classifier as bare
from tests.backbones.weights import spelling
from tests.backbones.weights.spelling import HALF, HALF_CARD, below, hub


def head(count, *, bias=True, name="fc"):
    """A last layer of so many classes."""
    layer = {f"{name}.weight": torch.ones(count, 512)}
    return layer | ({f"{name}.bias": torch.ones(count)} if bias else {})


def gray(state):
    return state | {"conv1.weight": state["conv1.weight"].sum(1, keepdim=True)}


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
    "one channel, torchvision's classes": gray,
    "DataParallel": lambda s: below("module.", bare(s) | head(2)),
    "compiled": lambda s: below("_orig_mod.", bare(s) | head(2)),
    "a training script": lambda s: {"model": bare(s) | head(7), "optimizer": {"lr": 0.1}},
    "averaged": lambda s: {"model": s, "model_ema": below("module.", bare(s) | head(2))},
    "Lightning": lambda s: {
        "state_dict": below("model.", s),
        "pytorch-lightning_version": "2.5.0",
    },
    "Lightning, no prefix": lambda s: {"state_dict": s, "pytorch-lightning_version": "2.5.0"},
    "a backbone and a classifier": lambda s: below("backbone.", bare(s))
    | head(2, name="classifier"),
    "a segmenter of other classes": lambda s: below("backbone.", bare(s))
    | {"classifier.4.weight": torch.ones(2, 8, 1, 1)},
    "a mean teacher": lambda s: {"student": bare(s), "teacher": bare(s)},
}


@pytest.mark.parametrize("kind", OWN)
def test_torchvisions_names_are_no_proof_of_torchvisions_images(small, save, kind):
    """Only what torchvision publishes is taken for torchvision's: colours, 1000 classes."""
    path = save(OWN[kind](small))
    file = {"weights": path, "out_features": ["c4"], "in_channels": 1 if "channel" in kind else 3}
    with refuses(r"this one does not say which\. A wrong mean.*Nothing wa"):
        build_backbone("resnet18", **file)
    told = build_backbone("resnet18", **file, conventions="inception")
    assert told.conventions.std == (0.5,) * file["in_channels"]
    assert "(inception, as given)" in told.provenance


def test_a_state_dict_can_be_saved_with_its_conventions(small, save, theirs, same_features):
    """As the message says, for those who load it where there is no option for them."""
    path = save({"state_dict": bare(small), "keel": HALF_CARD})
    same_features(path, theirs, HALF, origin="Keel")


@pytest.mark.parametrize(
    ("notes", "said"),
    [
        ({}, r"which\. A wrong mean"),
        (
            {"preprocessor_config": {"do_resize": True}},
            r"which\. preprocessor_config\.json beside it does not say either\. A wrong mean",
        ),
        (
            {"config": {"layer_type": "basic"}},
            r"which\. config\.json beside it does not say either\. A wrong mean",
        ),
    ],
    ids=["nothing", "a preprocessor without a mean", "a configuration without a mean"],
)
def test_only_notes_that_exist_are_named_in_the_message(small, tmp_path, notes, said):
    path = hub(tmp_path, spelling.transformers(small), **notes)
    with refuses(said):
        build_backbone("resnet18", weights=path, out_features=["c4"])


def test_a_meta_without_a_configuration_is_not_named_in_the_message(small, save):
    path = save({"meta": {"mmdet_version": "2.0", "epoch": 3}, "state_dict": small})
    with refuses(r"this one does not say which\. A wrong mean"):
        build_backbone("resnet18", weights=path, out_features=["c4"])
