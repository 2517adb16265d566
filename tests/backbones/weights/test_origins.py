"""One network, spelt as every project spells it: recognised from the file, and the same features.

c5 is left out, being three quarters of each file: test_renames has its names.
"""

import copy
import json
import re
from argparse import Namespace

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from backbones import build_backbone
from tests.backbones.errors import refuses
from tests.backbones.networks import trained_looking, without_classifier
from tests.backbones.weights import spelling
from tests.backbones.weights.spelling import (
    CAFFE,
    CV2_HALF,
    HALF,
    HALF_CARD,
    IMAGENET,
    MM2_CAFFE,
    MM2_TORCH,
    MM3,
    SWAV,
    below,
    mmlab,
    write_pickle,
    zeros,
)


@pytest.fixture(scope="module")
def folded(theirs):
    """The network with its norms' statistics folded into scale and shift, as in Caffe2."""
    model = copy.deepcopy(theirs)
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.zero_()
        norm.running_var.fill_(1)
        norm.eps = 0.0
    return model


def small_of(model):
    """As the fixture of that name."""
    return {k: v for k, v in model.state_dict().items() if not k.startswith("layer4.")}


def moco(state, good, bad):
    queue = {"module.queue": torch.ones(2, 2)}
    both = below(f"module.{bad}.", zeros(state)) | below(f"module.{good}.", state) | queue
    return {"epoch": 800, "arch": "resnet18", "state_dict": both}


def dino(state):
    heads = {"module.head.mlp.0.weight": torch.ones(1)}
    return {
        "student": below("module.backbone.", zeros(state)) | heads,
        "teacher": below("backbone.", state),
        "args": Namespace(arch="resnet18"),
    }


def swav(state):
    heads = {
        "module.projection_head.0.weight": torch.ones(1),
        "module.prototypes.weight": torch.ones(1),
    }
    return below("module.", without_classifier(state)) | heads


def detector(state):
    """A detector of detectron2, its pyramid and its heads beside the backbone."""
    body = {k: v for k, v in spelling.detectron2(state).items() if "stem.fc" not in k}
    others = {"backbone.fpn_lateral2.weight": 1, "proposal_generator.rpn_head.conv.weight": 2}
    return {
        "model": below("backbone.bottom_up.", body) | {k: torch.ones(v) for k, v in others.items()}
    }


FILES = {
    "DataParallel": (lambda s: below("module.", s), IMAGENET, "torchvision"),
    "compiled": (lambda s: below("_orig_mod.module.", s), IMAGENET, "torchvision"),
    "averaged": (
        lambda s: {
            "model": zeros(s),
            "model_ema": below("module.", s) | {"n_averaged": torch.ones(1)},
        },
        IMAGENET,
        "torchvision, below 'model_ema'",
    ),
    "timm's average": (
        lambda s: {"state_dict": zeros(s), "state_dict_ema": s, "args": Namespace(lr=1)},
        IMAGENET,
        "torchvision, below 'state_dict_ema'",
    ),
    "torchvision's detector": (
        lambda s: below("backbone.body.", s) | {"rpn.head.conv.0.0.bias": torch.ones(1)},
        IMAGENET,
        "a detector of torchvision's",
    ),
    "torchvision's segmenter": (
        lambda s: below("backbone.", s) | {"classifier.4.weight": torch.ones(21, 8, 1, 1)},
        IMAGENET,
        "a segmenter of torchvision's",
    ),
    "mmdetection 2, caffe": (
        lambda s: mmlab(s, MM2_CAFFE, "config"),
        CAFFE,
        "mmdetection, mmpretrain",
    ),
    "mmdetection 2": (lambda s: mmlab(s, MM2_TORCH, "config"), IMAGENET, "mmdetection, mmpretrain"),
    "mmdetection 3": (lambda s: mmlab(s, MM3, "cfg"), IMAGENET, "mmdetection, mmpretrain"),
    "MoCo v2": (lambda s: moco(s, "encoder_q", "encoder_k"), IMAGENET, "MoCo v1/v2"),
    "MoCo v3": (lambda s: moco(s, "base_encoder", "momentum_encoder"), IMAGENET, "MoCo v3"),
    "DINO": (dino, IMAGENET, "DINO, below 'teacher'"),
    "SwAV": (swav, SWAV, "SwAV"),
    "RadImageNet": (spelling.children, CV2_HALF, "RadImageNet"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_is_recognised_and_gives_the_same_features(theirs, small, save, same_features, kind):
    make, prepare, origin = FILES[kind]
    same_features(save(make(small)), theirs, prepare, origin=origin)


def test_a_detectron2_pickle_converted_from_torchvision(theirs, small, tmp_path, same_features):
    more = {"__author__": "torchvision", "matching_heuristics": True}
    names = spelling.detectron2(small)
    path = write_pickle(tmp_path / "R-18.pkl", names, lambda arrays: {"model": arrays} | more)
    same_features(path, theirs, IMAGENET, origin="detectron2, converted from torchvision's names")


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("norm", ["batch", "frozen_batch"])
def test_a_caffe2_pickle(folded, tmp_path, same_features, wrapped, norm):
    blobs = spelling.caffe2(small_of(folded))
    blobs |= {"conv1_w_momentum": blobs["conv1_w"] * 0, "conv1_b": blobs["res_conv1_bn_b"] + 9}
    wrap = (lambda arrays: {"blobs": arrays, "cfg": "MODEL: ..."}) if wrapped else None
    path = write_pickle(tmp_path / "R-18.pkl", blobs, wrap)
    ours = same_features(path, folded, CAFFE, origin="Caffe2 (detectron2's MSRA)", norm=norm)
    assert ours.conventions.mean == pytest.approx((0.485, 0.456, 0.406), abs=1e-6)
    assert ours.conventions.std == pytest.approx((1 / 255,) * 3)
    for line in (
        "converted: added 30 tensors: running statistics of 0 and 1",
        "converted: BGR to RGB, in the first convolution",
        "converted: [0, 255] to [0, 1], in mean and std",
    ):
        assert line in ours.provenance


def test_a_detectron2_detector(folded, save, same_features):
    path = save(detector(small_of(folded)), "model_final.pth")
    same_features(path, folded, CAFFE, origin="detectron2, ResNet of Caffe2, below 'model'")


def test_a_detectron2_detector_that_says_its_mean(theirs, small, save, same_features):
    content = detector(small)
    content["model"]["pixel_mean"] = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1)
    content["model"]["pixel_std"] = torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    path = save(content, "model_final.pth")
    same_features(path, theirs, IMAGENET, origin="detectron2, a model")


@pytest.mark.parametrize("name", ["resnet18d", "seresnet18", "res2net50_26w_4s", "resnetv2_18"])
def test_a_file_of_timms_own_names(name, tmp_path):
    """Its hub's folder says what it wants of an image; here as resnetv2_50 does."""
    model = trained_looking(timm.create_model(name))
    config = {"architecture": name, "pretrained_cfg": HALF_CARD}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    ours = build_backbone(name, weights=tmp_path / "model.safetensors").eval()
    assert "\n  origin: timm" in ours.provenance
    assert ours.conventions.std == (0.5,) * 3
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected, found = model.forward_features(HALF(image)), ours((image - 0.5) / 0.5)["c5"]
    size = expected.abs().max().item()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * size)


@pytest.mark.parametrize("name", ["resnet18d", "resnetv2_18"])
def test_a_file_of_timms_own_names_alone_asks_for_conventions(name, save):
    with refuses(r"comes from timm.*, whose files are made for images of di"):
        build_backbone(name, weights=save(timm.create_model(name).state_dict()))


def test_a_deep_stem_of_mmlab(save):
    model = trained_looking(timm.create_model("resnet18d"))
    named = {re.sub(r"^conv1\.", "stem.", k): v for k, v in model.state_dict().items()}
    named = {re.sub(r"^bn1\.", "stem.7.", k): v for k, v in named.items()}
    path = save(mmlab(named, MM3, "cfg"))
    ours = build_backbone("resnet18d", weights=path).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected, found = model.forward_features(image), ours(image)["c5"]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())
