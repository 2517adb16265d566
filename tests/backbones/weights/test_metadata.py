"""What the metadata of a file state, read as text and never run."""

import pytest
import torch

from backbones.weights.conventions import CONVENTIONS
from backbones.weights.metadata import stated
from tests.backbones.weights.spelling import MM2_CAFFE


def says(content, state=None):
    return stated(content, state or {}, hub=True)


HALF_IMAGES = {"image_mean": [0.5], "image_std": [0.5]}


CONFIGURATIONS = {
    "no Python": "a = (",
    "two answers": "a = dict(mean=[1, 2, 3], std=[1] * 3)\nb = dict(mean=[9, 2, 3], std=[1] * 3)",
    "a call": "x = dict(mean=means(), std=[1, 1, 1])",
    "text": "x = dict(mean='abc', std='abc')",
    "parentheses": "(" * 5000,
    "deep": "-" * 100000 + "1",
    "zero": "\0",
}


@pytest.mark.parametrize("text", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_a_configuration_that_is_no_answer_is_none(text):
    assert says({"meta": {"cfg": text}}).images is None


def test_a_configuration_is_read_and_not_run(tmp_path):
    proof = tmp_path / "pwned"
    call = f"open({str(proof)!r}, 'w')"
    found = says({"meta": {"config": f"{MM2_CAFFE}\nx = dict(mean={call}, std=[1])\n{call}"}})
    assert (found.images, found.stride_in_1x1) == (CONVENTIONS["caffe"], True)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("content", "stride"),
    [
        ({"meta": {"cfg": "m = dict(type='ResNet', depth=50, style='caffe')"}}, True),
        ({"meta": {"cfg": "m = dict(type='ResNet', depth=50)"}}, False),
        ({"meta": {"cfg": "m = dict(type='X')"}}, None),
        ({"config.json": {"layer_type": "bottleneck", "downsample_in_bottleneck": True}}, True),
        ({"config.json": {"layer_type": "bottleneck"}}, False),
        ({"config.json": {}}, None),
    ],
)
def test_a_file_may_say_where_it_strides(content, stride):
    assert says(content).stride_in_1x1 is stride


@pytest.mark.parametrize(
    ("mean", "bgr"), [([103.53, 116.28, 123.675], True), ([123.675, 116.28, 103.53], False)]
)
def test_detectron2s_mean_tells_the_order_of_the_colours(mean, bgr):
    state = {"pixel_mean": torch.tensor(mean), "pixel_std": torch.ones(3)}
    assert says({}, state).images.bgr is bgr
    assert says({}, state | {"pixel_mean": torch.full((3,), 127.5)}).images is None


@pytest.mark.parametrize(
    "content",
    [
        {"keel": {"mean": None, "std": [1.0]}},
        {"keel": {"backbone": 3}},
        {"config.json": {"pretrained_cfg": {"mean": [0.5], "std": [1, 2]}}},
        {"preprocessor_config.json": {"image_mean": "x", "image_std": [1]}},
        {"preprocessor_config.json": HALF_IMAGES | {"rescale_factor": 1 / 127.5}},
        {"preprocessor_config.json": {"image_mean": [], "image_std": []}},
    ],
)
def test_what_cannot_be_a_mean_and_a_std_is_ignored(content):
    assert says(content).images is None
