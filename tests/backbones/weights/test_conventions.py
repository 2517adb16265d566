"""How a file expects its images: stated in it, given by the user, or asked for in an error."""

import json

import pytest
import torch
from safetensors.torch import save_file

from backbones import Conventions, build_backbone
from backbones.weights.conventions import CONVENTIONS
from backbones.weights.metadata import stated
from tests.backbones.errors import refuses
from tests.backbones.weights import spelling
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

ONLINE = {
    "byol": lambda s: below("online_encoder.", s) | below("target_encoder.", zeros(s)),
    "byol, a net in it": lambda s: below("online_encoder.net.", s)
    | below("target_encoder.net.", zeros(s)),
    "byol, numbered": lambda s: spelling.children(s, "online_network.encoder."),
    "byol, its own key": lambda s: {
        "online_network_state_dict": spelling.children(s, "encoder."),
        "target_network_state_dict": spelling.children(zeros(s), "encoder."),
    },
    "simclr": lambda s: {
        "state_dict": below("encoder.", s) | {"projector.0.weight": torch.ones(1)}
    },
    "simclr, numbered": lambda s: spelling.children(s, "f."),
    "solo-learn": lambda s: {
        "state_dict": below("backbone.", s) | below("momentum_backbone.", zeros(s)),
        "pytorch-lightning_version": "2.0.0",
    },
    "lightning": lambda s: {"state_dict": below("model.", s), "pytorch-lightning_version": "2.0.0"},
    "lightly": lambda s: {"state_dict": spelling.children(s)},
    "smp": lambda s: below("encoder.", s) | {"decoder.x.bias": torch.ones(1)},
    "mmdetection without its configuration": lambda s: mmlab(s, "a = (", "cfg"),
    "transformers without its notes": lambda s: spelling.transformers(s),
}


@pytest.mark.parametrize("kind", ONLINE)
def test_a_file_of_unknown_conventions_asks_for_them(theirs, small, save, same_features, kind):
    path = save(ONLINE[kind](small))
    message = (
        r"weights\.pth comes from .*, whose files are made for images of different kinds.*"
        r"conventions=<name> \(backbone\.conventions=<name> for a run\), one of imagenet, .*caffe.*"
        r"none.*Nothing was loaded\."
    )
    with refuses(message):
        build_backbone("resnet18", weights=path, out_features=["c4"])
    same_features(path, theirs, HALF, origin="", conventions="inception")


def test_conventions_given_by_the_user_win_over_those_of_the_file(
    theirs, small, save, same_features
):
    for content in (small, mmlab(small, MM2_CAFFE, "config")):
        ours = same_features(save(content), theirs, CV2_HALF, origin="", conventions="radimagenet")
        assert (
            "images: BGR in [0, 1], mean 0.5 0.5 0.5, std 0.5 0.5 0.5 (radimagenet, as given)"
            in (ours.provenance)
        )


def test_conventions_that_nobody_knows_are_refused(shallow, save):
    with refuses(r"^unknown conventions 'imagnet'; did you mean 'imagenet'\?"):
        build_backbone("resnet18", weights=save(shallow), conventions="imagnet")
    with refuses(r"^conventions='caffe' says what loaded weights expect"):
        build_backbone("resnet18", weights="random", conventions="caffe")


PREPROCESSOR = {
    "do_normalize": True,
    "do_rescale": True,
    "rescale_factor": 0.00392156862745098,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}


@pytest.mark.parametrize("prefix", ["resnet.", "", "model.backbone.conv_encoder.model."])
def test_a_repository_of_transformers(theirs, small, tmp_path, same_features, prefix):
    spelt = spelling.transformers(small, prefix)
    path = hub(tmp_path, spelt, preprocessor_config=PREPROCESSOR, config={"layer_type": "basic"})
    same_features(path, theirs, HALF, origin="HuggingFace transformers")


@pytest.mark.parametrize(
    ("change", "prepare"),
    [
        ({"do_flip_channel_order": True}, CV2_HALF),
        ({"do_normalize": False}, lambda image: image),
        ({"do_rescale": False}, by((0.5,) * 3, (0.5,) * 3, white=255)),
    ],
)
def test_what_a_preprocessor_can_say(theirs, small, tmp_path, same_features, change, prepare):
    path = hub(tmp_path, spelling.transformers(small), preprocessor_config=PREPROCESSOR | change)
    same_features(path, theirs, prepare, origin="HuggingFace transformers")


def test_a_repository_of_timm(theirs, small, tmp_path, same_features):
    config = {"architecture": "resnet18", "pretrained_cfg": HALF_CARD}
    same_features(hub(tmp_path, small, config=config), theirs, HALF, origin="timm")
    # Another network, whose tensors have the same shapes.
    path = hub(tmp_path, small, config=config | {"architecture": "resnetblur18"})
    with refuses(r"is of a resnetblur18, says config\.json beside it, and was"):
        build_backbone("resnet18", weights=path)


def test_json_beside_a_file_of_another_name_is_ignored(theirs, small, save, same_features):
    path = save(small)
    path.with_name("preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    same_features(path, theirs, IMAGENET, origin="torchvision")


def test_metadata_of_a_safetensors_file_are_its_card(theirs, small, tmp_path, same_features):
    card = HALF_CARD | {"epsilon": 1e-5, "backbone": "resnet18"}
    path = tmp_path / "exported.safetensors"
    save_file({k: v.clone() for k, v in small.items()}, path, metadata={"keel": json.dumps(card)})
    same_features(path, theirs, HALF, origin="Keel")


def test_conventions_may_be_given_as_numbers(theirs, small, save, same_features):
    told = Conventions(mean=(0.5,) * 3, std=(0.5,) * 3, epsilon=1e-5)
    same_features(save(below("f.", small)), theirs, HALF, origin="", conventions=told)


def test_a_gray_file_has_no_colours_to_reorder(shallow, save):
    gray = shallow | {"conv1.weight": shallow["conv1.weight"].sum(1, keepdim=True)}
    backbone = build_backbone(
        "resnet18", weights=save(gray), conventions="caffe", in_channels=1, out_features=["c2"]
    )
    assert torch.equal(backbone.conv1.weight, gray["conv1.weight"])
    assert backbone.conventions.mean == pytest.approx(((103.53 + 116.28 + 123.675) / 3 / 255,))


@pytest.mark.parametrize("name", CONVENTIONS)
def test_a_format_as_conventions_is_the_same_function_of_an_image(name):
    form = CONVENTIONS[name]
    ours = form.conventions()
    image, weight = torch.rand(2, 3, 8, 8), torch.randn(4, 3, 3, 3)
    theirs = by(form.mean, form.std, white=form.white, bgr=form.bgr)(image)
    mine = by(ours.mean, ours.std)(image)
    expected = torch.nn.functional.conv2d(theirs, weight)
    found = torch.nn.functional.conv2d(mine, form.in_rgb(weight))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3 * expected.abs().max().item())


def says(content, state=None, *, hub=True):
    return stated(content, state or {}, hub=hub)


@pytest.mark.parametrize(
    "text",
    [
        "a = (",
        "x = dict(mean=[1, 2, 3], std=[1, 1, 1])\ny = dict(mean=[9, 2, 3], std=[1, 1, 1])",
        "x = dict(mean=means(), std=[1, 1, 1])",
        "x = dict(mean='abc', std='abc')",
        "(" * 5000,
        "-" * 100000 + "1",
        "\0",
    ],
    ids=["no Python", "two answers", "a call", "text", "parentheses", "deep", "zero"],
)
def test_a_configuration_that_is_no_answer_is_none(text):
    assert says({"meta": {"cfg": text}}).images is None


def test_a_configuration_is_read_and_not_run(tmp_path):
    proof = tmp_path / "pwned"
    text = (
        MM2_CAFFE
        + f"\nx = dict(mean=open({str(proof)!r}, 'w'), std=[1])\nopen({str(proof)!r}, 'w')"
    )
    found = says({"meta": {"config": text}})
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
        {
            "preprocessor_config.json": {
                "rescale_factor": 1 / 127.5,
                "image_mean": [1],
                "image_std": [1],
            }
        },
        {"preprocessor_config.json": {"image_mean": [], "image_std": []}},
    ],
)
def test_what_cannot_be_a_mean_and_a_std_is_ignored(content):
    assert says(content).images is None


def test_json_beside_a_file_of_another_origin_is_ignored():
    config = {"pretrained_cfg": {"mean": [0.5], "std": [0.5]}}
    assert says({"config.json": config}).images is not None
    assert says({"config.json": config}, hub=False).images is None
