"""One network, spelt as every project spells it: recognised from the file, and the same features.

c4 and c5 are left out, being most of each file: test_renames has their names.
"""

import copy
import re
from argparse import Namespace

import pytest
import timm
import torch
import torchvision
from torchvision.models.resnet import Bottleneck

from tests.backbones.errors import refuses
from tests.backbones.networks import batch_norms, small_of, trained_looking, without
from tests.backbones.weights import spelling
from tests.backbones.weights.small import build, same_features
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
    hub,
    mmlab,
    write_pickle,
    zeros,
)


def fold(model):
    """Give norms the statistics 0 and 1, as if they were folded into scale and shift: Caffe2."""
    for norm in batch_norms(model):
        norm.running_mean.zero_()
        norm.running_var.fill_(1)
        norm.eps = 0.0
    return model


@pytest.fixture(scope="module")
def folded(theirs):
    return fold(copy.deepcopy(theirs))


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
    heads = dict.fromkeys(["projection_head.0.weight", "prototypes.weight"], torch.ones(1))
    return below("module.", without(state, "fc.") | heads)


def detector(state):
    """A detector of detectron2, its pyramid and its heads beside the backbone."""
    body = without(spelling.detectron2(state), "stem.fc")
    others = ["backbone.fpn_lateral2.weight", "proposal_generator.rpn_head.conv.weight"]
    return {"model": below("backbone.bottom_up.", body) | dict.fromkeys(others, torch.ones(1))}


def averaged(state):
    average = below("module.", state) | {"n_averaged": torch.ones(1)}
    return {"model": zeros(state), "model_ema": average}


MMLAB = "mmdetection, mmpretrain"
FILES = {
    "DataParallel": (lambda s: below("module.", s), IMAGENET, "torchvision"),
    "compiled": (lambda s: below("_orig_mod.module.", s), IMAGENET, "torchvision"),
    "averaged": (averaged, IMAGENET, "torchvision, below 'model_ema'"),
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
    "mmdetection 2, caffe": (lambda s: mmlab(s, MM2_CAFFE, "config"), CAFFE, MMLAB),
    "mmdetection 2": (lambda s: mmlab(s, MM2_TORCH, "config"), IMAGENET, MMLAB),
    "mmdetection 3": (lambda s: mmlab(s, MM3, "cfg"), IMAGENET, MMLAB),
    "MoCo v2": (lambda s: moco(s, "encoder_q", "encoder_k"), IMAGENET, "MoCo v1/v2"),
    "MoCo v3": (lambda s: moco(s, "base_encoder", "momentum_encoder"), IMAGENET, "MoCo v3"),
    "DINO": (dino, IMAGENET, "DINO, below 'teacher'"),
    "SwAV": (swav, SWAV, "SwAV"),
    "RadImageNet": (spelling.children, CV2_HALF, "RadImageNet"),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_is_recognised_and_gives_the_same_features(theirs, small, save, kind):
    make, prepare, origin = FILES[kind]
    same_features(save(make(small)), theirs, prepare, origin=origin)


def test_a_detectron2_pickle_converted_from_torchvision(theirs, small, tmp_path):
    more = {"__author__": "torchvision", "matching_heuristics": True}
    names = spelling.detectron2(small)
    path = write_pickle(tmp_path / "R-18.pkl", names, lambda arrays: {"model": arrays} | more)
    same_features(path, theirs, IMAGENET, origin="detectron2, converted from torchvision's names")


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("norm", ["batch", "frozen_batch"])
def test_a_caffe2_pickle(folded, tmp_path, wrapped, norm):
    blobs = spelling.caffe2(small_of(folded))
    blobs |= {"conv1_w_momentum": blobs["conv1_w"] * 0, "conv1_b": blobs["res_conv1_bn_b"] + 9}
    wrap = (lambda arrays: {"blobs": arrays, "cfg": "MODEL: ..."}) if wrapped else None
    path = write_pickle(tmp_path / "R-18.pkl", blobs, wrap)
    ours = same_features(path, folded, CAFFE, origin="Caffe2 (detectron2's MSRA)", norm=norm)
    assert ours.conventions.mean == pytest.approx((0.485, 0.456, 0.406), abs=1e-6)
    assert ours.conventions.std == pytest.approx((1 / 255,) * 3)
    for line in (
        "converted: added 20 tensors: running statistics of 0 and 1",
        "converted: BGR to RGB, in the first convolution",
        "converted: [0, 255] to [0, 1], in mean and std",
    ):
        assert line in ours.provenance


def test_a_caffe2_pickle_of_bottlenecks_strides_as_caffe(tmp_path):
    """Against torchvision's network with the stride moved."""
    model = fold(trained_looking(torchvision.models.ResNet(Bottleneck, [3, 4, 1, 1])))
    model.layer2[0].conv1.stride, model.layer2[0].conv2.stride = (2, 2), (1, 1)
    path = write_pickle(tmp_path / "R-50.pkl", spelling.caffe2(small_of(model)))
    told = {"origin": "Caffe2 (detectron2's MSRA)", "out_features": ["c3"]}
    same_features(path, model, CAFFE, name="resnet50_caffe", **told)


def test_a_detectron2_detector(folded, save):
    path = save(detector(small_of(folded)), "model_final.pth")
    same_features(path, folded, CAFFE, origin="detectron2, ResNet of Caffe2, below 'model'")


def test_a_detectron2_detector_that_says_its_mean(theirs, small, save):
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
    path = hub(tmp_path, without(model.state_dict(), "layer4.", "stages.3."), config=config)
    ours = same_features(path, model, HALF, origin="timm", name=name, out_features=["c3"])
    assert ours.conventions.std == (0.5,) * 3


@pytest.mark.parametrize("name", ["resnet18d", "resnetv2_18"])
def test_a_file_of_timms_own_names_alone_asks_for_conventions(name, save):
    with refuses(r"comes from timm.*, whose files are made for images of di"):
        build(name, weights=save(timm.create_model(name).state_dict()))


def test_a_deep_stem_of_mmlab(save):
    model = trained_looking(timm.create_model("resnet18d"))
    named = {re.sub(r"^conv1\.", "stem.", k): v for k, v in model.state_dict().items()}
    named = {re.sub(r"^bn1\.", "stem.7.", k): v for k, v in named.items()}
    path = save(mmlab(named, MM3, "cfg"))
    same_features(path, model, IMAGENET, origin="mmdetection", name="resnet18d")
