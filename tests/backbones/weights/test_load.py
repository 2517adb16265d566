"""Weights either fit a backbone and are loaded whole, or are refused and change nothing."""

import copy

import pytest
import torch

from backbones import BackboneOptions, Conventions, load_weights
from backbones.registry import BUILDERS
from backbones.weights.load import adapt_first_conv
from tasks.detection.model.card import DetectorCard
from tasks.detection.options import DetectorOptions
from tests.backbones.errors import refuses
from tests.backbones.networks import batch_norms, close, features_of, without
from tests.backbones.weights.small import build, holds, same_features
from tests.backbones.weights.spelling import IMAGENET, by


def with_epsilon(network, epsilon):
    """Return a copy whose batch norms have that epsilon."""
    network = copy.deepcopy(network)
    for norm in batch_norms(network):
        norm.eps = epsilon
    return network


def refused(backbone, weights, message, *, name="resnet18", **options):
    """Load, expect an error with that message, and see that nothing has changed."""
    before = copy.deepcopy(backbone)
    with refuses(message):
        load_weights(backbone, weights, name=name, **options)
    holds(backbone, before.state_dict())
    assert (backbone.conventions, backbone.provenance) == (Conventions(), before.provenance)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_torchvision_file_gives_torchvisions_features(theirs, state, save, suffix):
    path = save(state, f"resnet18{suffix}")
    ours = same_features(path, theirs, IMAGENET, origin="torchvision", out_features=None)
    told = Conventions(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), epsilon=1e-5)
    assert ours.conventions == told


def test_the_backbone_of_a_keel_detector_is_loaded_with_its_preprocessing(theirs, state, save):
    expected = Conventions(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), epsilon=1e-3)
    levels = {"features": ("c2", "c3"), "anchor_sizes": (32, 64, 128)}
    card = DetectorCard(
        backbone="resnet18",
        backbone_options=BackboneOptions(),
        options=DetectorOptions(head_width=8, fpn_channels=8, **levels),
        classes=("cell",),
        category_ids=(7,),
        conventions=expected,
        provenance="",
    )
    detector = card.build()
    detector.backbone.body.load_state_dict(state, strict=False)
    network = {f"network.{k}": v for k, v in detector.state_dict().items()}
    path = save({"state_dict": network, "keel": card.to_dict(), "epoch": 3}, "best.ckpt")
    reference, prepare = with_epsilon(theirs, 1e-3), by(expected.mean, expected.std)
    ours = same_features(path, reference, prepare, origin="Keel", out_features=["c3"])
    assert ours.conventions == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: without(state, "layer1.1.conv2.weight"),
            r"^the weights do not fit 'resnet18': 1 missing, such as layer1\.1\.conv2\.weight\. "
            r"Nothing was loaded; use weights of this architecture and norm\.\n",
        ),
        (
            lambda state: without(state, "layer1.0.bn1.running_var"),
            r"1 missing, such as layer1\.0\.bn1\.running_var\.",
        ),
        (
            lambda state: without(state, "conv1.weight"),
            r"weights\.pth does not hold weights of 'resnet18': expected one",
        ),
        (
            lambda state: state | {"layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)},
            r"1 of another shape, such as layer1\.0\.conv1\.weight "
            r"\(64, 64, 1, 1\) instead of \(64, 64, 3, 3\)\.",
        ),
        (
            lambda state: state | {"conv1.weight": torch.zeros(64)},
            r"1 of another shape, such as conv1\.weight \(64,\) instead of \(64, 3, 7, 7\)\."
            r"(.|\n)*  stem    5 of    6 tensors\n  c2     24 of   24 tensors$",
        ),
        (
            lambda state: state | {"conv1.weight": torch.zeros(64, 1, 7, 7, 7)},
            r"such as conv1\.weight \(64, 1, 7, 7, 7\) instead of \(64, 3, 7, 7\)\.",
        ),
        (
            lambda state: state | {"layer1.0.se.weight": torch.zeros(1), "mask": torch.zeros(1)},
            r"2 unexpected, such as layer1\.0\.se\.weight, mask\.",
        ),
        (
            lambda _: {"epoch": 3},
            r"weights\.pth does not hold weights of 'resnet18': expected a st",
        ),
    ],
    ids=[
        "lost",
        "lost statistics",
        "no stem",
        "shape",
        "dimensions",
        "volumes",
        "unexpected",
        "no tensors",
    ],
)
def test_a_file_that_does_not_fit_changes_nothing(shallow, save, change, message):
    refused(build(), save(change(shallow)), message)


FAMILY = {name: BUILDERS[name] for name in ("resnet18", "resnet34", "resnet50", "wide_resnet50_2")}


@pytest.mark.parametrize(
    ("file_of", "into", "faults"),
    [
        ("resnet34", "resnet18", r"10 unexpected, such as layer1\.2\.conv1\.weight"),
        ("resnet18", "resnet34", r"10 missing, such as layer1\.2\.conv1\.weight"),
        ("resnet50", "resnet18", r"[1-9]\d* unexpected, such as .*; [1-9]\d* of another shape"),
        ("resnet18", "resnet50", r"[1-9]\d* missing, such as .*; [1-9]\d* of another shape"),
        ("resnet50", "wide_resnet50_2", r"[1-9]\d* of another shape"),
    ],
)
def test_a_file_of_another_architecture_is_refused_with_its_name(save, file_of, into, faults):
    message = (
        rf"^the weights do not fit '{into}': {faults}.*\. This looks like {file_of}\. Nothing was "
        rf"loaded; use backbone '{file_of}', for a run backbone={file_of} backbone\.weights="
    )
    path = save(build(file_of).state_dict())
    refused(build(into), path, message, name=into, known=FAMILY)


def test_tensors_that_may_be_missing_keep_their_values(shallow, save):
    backbone = build(out_features=["c3"])
    before = copy.deepcopy(backbone.state_dict())
    path = save(shallow)
    refused(backbone, path, "21 missing, such as layer2", missing=("layer3.*", "layer2.0.bn1.*"))
    told = {"missing": ("layer2.*",), "conventions": "imagenet"}
    report = load_weights(backbone, path, name="resnet18", **told)
    holds(backbone, before | shallow)
    assert report.stages == ((6, 6), (24, 24), (0, 30))


def test_a_shape_that_does_not_fit_is_refused_even_where_it_may_be_missing(shallow, save):
    path = save(shallow | {"bn1.weight": torch.zeros(32)})
    refused(build(), path, r"1 of another shape, such as bn1\.weight", missing=("bn1.*",))


def test_a_file_older_than_batch_counters_is_loaded(shallow, save):
    old = {k: v for k, v in shallow.items() if not k.endswith("num_batches_tracked")}
    report = load_weights(build(), save(old), name="resnet18", conventions="imagenet")
    assert report.stages == ((5, 6), (20, 24))


def test_the_report_counts_every_tensor_of_the_file(state, save):
    path = save(state)
    backbone = build(weights=path, in_channels=1)
    assert backbone.provenance.splitlines() == [
        f"weights from {path}",
        "  origin: torchvision",
        "  images: RGB in [0, 1], mean 0.485 0.456 0.406, std 0.229 0.224 0.225 (torchvision)",
        "  stem    6 of    6 tensors",
        "  c2     24 of   24 tensors",
        "  dropped: 2 of other parts of the model, such as a classifier",
        "  dropped: 90 of stages that are not built",
        "  converted: conv1.weight from 3 to 1 input channels",
    ]
    assert len(state) == 6 + 24 + 2 + 90


COUNTERS = {"batch counters": 5}
STATISTICS = COUNTERS | {"running statistics, which this norm does not have": 10}
DROPPED = {"batch": {}, "sync_batch": {}, "frozen_batch": COUNTERS}
DROPPED |= dict.fromkeys(["group", "instance", "layer2d"], STATISTICS)


@pytest.mark.parametrize(("norm", "dropped"), DROPPED.items())
def test_another_norm_takes_what_it_can_hold_and_counts_the_rest(shallow, save, norm, dropped):
    backbone = build(norm=norm, weights="random")
    report = load_weights(backbone, save(shallow), name="resnet18", conventions="imagenet")
    assert report.dropped == dropped
    assert sum(got for got, _ in report.stages) + sum(dropped.values()) == len(shallow)
    holds(backbone, shallow)


def test_a_file_whose_norms_cannot_be_held_or_are_not_enough_is_refused(shallow, save):
    message = r"10 unexpected.*norm='none' cannot hold the learned scale and shift.*norm='batch' or"
    refused(build(norm="none"), save(shallow), message)
    message = r"10 missing, such as bn1\.running_mean.*weights of this architecture and norm\."
    refused(build(), save(build(norm="group").state_dict()), message)


@pytest.mark.parametrize(
    ("in_channels", "expected"),
    [
        (1, [6.0]),
        (2, [1.5, 3.0]),
        (3, [1.0, 2.0, 3.0]),
        (4, [0.75, 1.5, 2.25, 0.75]),
        (7, [3 / 7, 6 / 7, 9 / 7, 3 / 7, 6 / 7, 9 / 7, 3 / 7]),
    ],
)
def test_a_first_convolution_is_summed_for_one_channel_and_cycled_for_more(in_channels, expected):
    weight = torch.tensor([1.0, 2.0, 3.0])[None, :, None, None].expand(8, 3, 7, 7)
    found = adapt_first_conv(weight, in_channels)
    assert found.shape == (8, in_channels, 7, 7)
    torch.testing.assert_close(found[3, :, 2, 5], torch.tensor(expected))


@pytest.mark.parametrize(
    ("in_channels", "mean", "std"),
    [
        (1, (0.4,), (0.2,)),
        (3, (0.5, 0.4, 0.3), (0.3, 0.2, 0.1)),
        (4, (0.5, 0.4, 0.3, 0.5), (0.3, 0.2, 0.1, 0.3)),
    ],
)
def test_mean_and_std_follow_the_channels(shallow, save, in_channels, mean, std):
    card = {"mean": (0.5, 0.4, 0.3), "std": (0.3, 0.2, 0.1), "epsilon": 0.1}
    path = save({"state_dict": shallow, "keel": card})
    backbone = build(weights=path, in_channels=in_channels)
    assert backbone.conv1.weight.shape == (64, in_channels, 7, 7)
    assert backbone.conventions.mean == pytest.approx(mean)
    assert backbone.conventions.std == pytest.approx(std)
    assert backbone.conventions.epsilon == 0.1


def test_a_gray_image_gives_what_its_copy_in_three_channels_gave(shallow, save):
    file = {"weights": save(shallow), "conventions": "imagenet"}
    gray, colour = build(**file, in_channels=1).eval(), build(**file).eval()
    image = torch.randn(1, 1, 64, 64)
    close(gray(image), colour(image.expand(1, 3, 64, 64)))


@pytest.mark.parametrize("norm", ["batch", "sync_batch", "frozen_batch"])
def test_conventions_and_epsilon_come_from_the_file(theirs, shallow, save, norm):
    card = {"mean": [0.5], "std": [0.25], "epsilon": 0.1}
    gray = shallow | {"conv1.weight": shallow["conv1.weight"].sum(1, keepdim=True)}
    path = save({"state_dict": gray, "keel": card})
    backbone = build(norm=norm, weights=path, in_channels=1).eval()
    assert backbone.conventions == Conventions(mean=(0.5,), std=(0.25,), epsilon=0.1)
    image = torch.rand(1, 1, 64, 64)
    expected = features_of(with_epsilon(theirs, 0.1), image.expand(1, 3, 64, 64))
    close(backbone(image), expected)
