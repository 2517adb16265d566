"""The figures that the project was founded on, and which way of counting gives them."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.models import get_model, get_model_weights, list_models

from backbones import build_backbone
from backbones.resnet.variants import VARIANTS
from benchmarks.study.costs import facts
from benchmarks.study.page import formulas
from benchmarks.study.published import FOUNDING

PARAMETERS = dict(zip(FOUNDING, (11.7, 21.8, 25.6, 44.5, 60.2), strict=True))
GFLOPS = dict(zip(FOUNDING, (1.8, 3.6, 4.1, 7.9, 11.6), strict=True))
CLASSES = 1000


class Elementwise(TorchDispatchMode):
    """Counts the values that a norm, a ReLU, an addition and a pooling touch; a norm's twice."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::").rstrip("_")
        image = args and isinstance(args[0], torch.Tensor) and args[0].ndim == 4
        if image and "batch_norm" in name:
            self.count += 2 * args[0].numel()
        elif image and (name in ("relu", "add", "clamp_min") or "pool" in name):
            self.count += args[0].numel()
        return result


def elementwise(name):
    """Elementwise operations at 224x224, the classifier's global pooling included."""
    with torch.device("meta"), torch.no_grad(), Elementwise() as counter:
        backbone = build_backbone(name).train()  # in eval mode norms are inside the convolutions
        maps = backbone(torch.empty(1, 3, 224, 224))
    return counter.count + maps["c5"].numel()


def multiply_adds(name):
    """Of torchvision's model with its classifier at 224x224, counted layer by layer."""
    sums = []
    with torch.device("meta"):
        model = get_model(name).eval()
        for conv in (m for m in model.modules() if isinstance(m, nn.Conv2d)):
            conv.register_forward_hook(lambda m, _, y: sums.append(y.numel() * m.weight[0].numel()))
        model(torch.empty(1, 3, 224, 224))
    return sum(sums) + model.fc.weight.numel()


@pytest.mark.parametrize("name", [name for name in VARIANTS if name in list_models()])
def test_counts_with_the_classifier_are_torchvisions(counted, name):
    row = counted[name] if name in counted else facts(name)
    meta = get_model_weights(name).DEFAULT.meta
    classifier = CLASSES * row.channels["c5"]
    assert row.parameters + classifier + CLASSES == meta["num_params"]
    assert (row.multiply_adds + classifier) / 1e9 == pytest.approx(meta["_ops"], abs=6e-4)


@pytest.mark.parametrize("name", GFLOPS)
def test_the_founding_figures_count_more_than_multiply_adds(counted, name):
    count = counted[name].parameters + CLASSES * (counted[name].channels["c5"] + 1)
    assert round(count / 1e6, 1) == PARAMETERS[name] == FOUNDING[name][0]
    products = multiply_adds(name)
    assert counted[name].multiply_adds + CLASSES * counted[name].channels["c5"] == products
    everything = (products + elementwise(name)) / 1e9
    assert FOUNDING[name][1] == GFLOPS[name]
    if name == "resnet34":  # the paper's table 1: shortcuts without a convolution
        projected = ((64, 128, 28), (128, 256, 14), (256, 512, 7))
        identities = products - sum(a * b * side**2 for a, b, side in projected)
        assert round(identities / 1e9, 2) == 3.64
        assert round(identities / 1e9, 1) == GFLOPS[name]
        assert round(products / 1e9, 1) == round(everything, 1) == 3.7
        return
    assert round(everything, 1) == GFLOPS[name]
    assert f"{everything:.2f}" in formulas(counted)


def test_only_the_two_deepest_need_the_elementwise_operations(counted):
    rounded = {
        name: round((row.multiply_adds + CLASSES * row.channels["c5"]) / 1e9, 1)
        for name, row in counted.items()
    }
    assert rounded == {**GFLOPS, "resnet34": 3.7, "resnet101": 7.8, "resnet152": 11.5}


@pytest.mark.parametrize(("stage", "channels"), [(1, 64), (2, 128), (3, 256), (4, 512)])
def test_a_basic_block_has_18_c2_plus_4_c_parameters(stage, channels):
    with torch.device("meta"):
        block = build_backbone("resnet34").stages()[stage][0][1]
    weights = {name: p.numel() for name, p in block.named_parameters()}
    assert sum(weights.values()) == 18 * channels**2 + 4 * channels
    norms = {name: count for name, count in weights.items() if name.startswith("bn")}
    assert norms == dict.fromkeys(["bn1.weight", "bn1.bias", "bn2.weight", "bn2.bias"], channels)
    one_norm = sum(weights.values()) - weights["bn2.weight"] - weights["bn2.bias"]
    scales_only = sum(weights.values()) - weights["bn1.bias"] - weights["bn2.bias"]
    assert one_norm == scales_only == 18 * channels**2 + 2 * channels


def test_a_bottleneck_has_69632_weights_and_two_3x3_have_1179648():
    with torch.device("meta"):
        block = build_backbone("resnet50").stages()[1][0][1]  # 256 -> 64 -> 64 -> 256
        wide = nn.Conv2d(256, 256, 3, bias=False)
    narrow = [block.conv1, block.conv2, block.conv3]
    shapes = [(64, 256, 1, 1), (64, 64, 3, 3), (256, 64, 1, 1)]
    assert [conv.weight.shape for conv in narrow] == shapes
    assert sum(c.weight.numel() for c in narrow) == 69_632
    assert 2 * wide.weight.numel() == 1_179_648
