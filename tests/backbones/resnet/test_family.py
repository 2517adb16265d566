"""Every variant: its published size, and every option it is built with, run."""

import copy
import pickle

import pytest
import torch
import torchvision

from backbones import FPN, NORMS, BackboneWithFPN, build_backbone
from backbones.resnet.variants import VARIANTS
from tests.backbones.errors import refuses
from tests.backbones.networks import close, on_meta, short, trained_looking
from tests.backbones.resnet.conftest import ONE_OF_EACH

LAST = {name: f"c{len(spec.depths) + 1}" for name, spec in VARIANTS.items()}


def check_gradients(backbone, features):
    sum(x.square().mean() for x in features.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in backbone.parameters())


PUBLISHED = {  # classes, and millions with the classifier, as printed in the papers
    "resnet20_cifar": (10, 0.27),  # arXiv:1512.03385, table 6
    "resnet56_cifar": (10, 0.85),
    "resnet110_cifar": (10, 1.7),
    "resnetv2_110_cifar": (10, 1.7),  # arXiv:1603.05027, table 4
    "resnetv2_164_cifar": (10, 1.7),
    "wrn_28_10": (10, 36.479194),  # arXiv:1605.07146, table 4, and every public reproduction
    "wrn_40_4": (10, 8.9),
    "resnet200": (1000, 64.7),  # timm's resnet200
    "res2net50_26w_4s": (1000, 25.7),  # timm's results-imagenet.csv
    "seresnet50": (1000, 28.1),  # arXiv:1709.01507, table 2 (28.09 M with the classifier)
}


@pytest.mark.parametrize("name", VARIANTS)
def test_parameters_are_those_of_the_table_and_of_the_papers(name):
    backbone = on_meta(build_backbone, name, out_features=[LAST[name]])
    count = sum(p.numel() for p in backbone.parameters())
    assert count == VARIANTS[name].parameters
    if name in torchvision.models.list_models():
        published = torchvision.models.get_model_weights(name).DEFAULT.meta["num_params"]
        assert count + 1000 * (backbone.channels["c5"] + 1) == published
    if name in PUBLISHED:
        classes, published = PUBLISHED[name]
        count += classes * (backbone.channels[LAST[name]] + 1)
        digits = len(str(published).partition(".")[2])
        assert round(count / 1e6, digits) == published


@pytest.mark.parametrize("norm", sorted(NORMS.keys() - {"sync_batch"}))
def test_every_norm_runs_forward_and_backward(name, image, norm):
    backbone = short(name, norm=norm, drop_path=0.1).train()
    features = backbone(image)
    assert {k: v.shape[1] for k, v in features.items()} == backbone.channels
    assert {k: image.shape[-1] // v.shape[-1] for k, v in features.items()} == backbone.strides
    assert all((x >= 0).all() and (x > 0).any() for x in features.values())  # rectified
    check_gradients(backbone, features)


def test_features_and_pyramid_follow_channels_and_strides(name, image):
    body = short(name, out_features=["c4", "c3", "c2"], in_channels=1)
    model = BackboneWithFPN(body, FPN(body.channels, out_channels=8))
    levels = model(image[:, :1])
    assert list(levels) == ["p2", "p3", "p4", "p5"]
    sides = [image.shape[-1] // stride for stride in body.strides.values()]
    assert [x.shape[-1] for x in levels.values()][:3] == sides


def test_a_copy_is_the_same_function(name, image, clone):
    backbone = trained_looking(short(name, drop_path=0.1).freeze(1))
    twin = clone(backbone)
    torch.testing.assert_close(twin(image), backbone(image), rtol=0, atol=0)
    assert (twin.frozen, twin.conventions) == (1, backbone.conventions)


EXPORTED = ["resnetv2_18"]
OTHERS = [pytest.param(n, marks=pytest.mark.slow) for n in ONE_OF_EACH if n not in EXPORTED]


@pytest.mark.parametrize("name", [*EXPORTED, *OTHERS])
def test_an_exported_graph_is_the_same_function(name, image):
    backbone = trained_looking(short(name, deformable=["c3"]))
    program = torch.export.export(backbone, (image,)).module()
    close(program(image), backbone(image))


def traced(backbone, image):
    return torch.jit.trace(backbone, (image,), strict=False)  # a dictionary comes out


def compiled(backbone, _image):
    torch._dynamo.reset()
    return torch.compile(backbone, fullgraph=True, backend="aot_eager")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.trace:FutureWarning")  # torch still has it
@pytest.mark.parametrize(("capture", "deformable"), [(traced, []), (compiled, ["c3"])])
@torch.no_grad()
def test_a_captured_graph_is_the_same_function(name, image, capture, deformable):
    backbone = trained_looking(build_backbone(name, deformable=deformable))
    close(capture(backbone, image)(image), backbone(image))


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_exports_compiles_copies_and_learns(name):
    backbone = build_backbone(name)
    image = torch.rand(2, 3, *((16, 16) if name.endswith("_cifar") else (64, 64)))
    check_gradients(backbone, backbone(image))
    backbone.zero_grad()
    trained_looking(backbone)
    twin = pickle.loads(pickle.dumps(copy.deepcopy(backbone)))  # noqa: S301 (our own)
    exported = torch.export.export(backbone, (image,)).module()
    with torch.no_grad():
        for same in (twin, exported, compiled(backbone, image)):
            torch.testing.assert_close(same(image), backbone(image), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drop_path": 1.0}, r"drop_path takes a probability from 0 to below 1, got 1\.0\."),
        ({"init": "zero"}, r"unknown initialisation 'zero'; did you mean 'zero_last'\?"),
        ({"deformable": "c5"}, r"deformable takes stages, such as \['c4', 'c5'\], got 'c5'\."),
        ({"in_channels": 0}, r"in_channels takes an integer from 1, got 0\."),
        ({"in_channels": "3"}, r"in_channels takes an integer from 1, got '3'\."),
        ({"deformable": ["c1"]}, "unknown stage for deformable convolutions 'c1';"),
        ({"deformable": ["c4"], "deformable_version": 3}, "deformable_version takes 1 or 2, got 3"),
        ({"out_features": ["c6"]}, "unknown feature 'c6'; Known: c1, c2, c3, c4, c5"),
        ({"out_features": []}, r"out_features takes one or more of c1, .* got \[\]\."),
        ({"out_features": ["c2", "c2"]}, r"each once, got \['c2', 'c2'\]\."),
        ({"output_stride": 4}, "output_stride takes 8, 16 or 32, got 4"),
        ({"norm": "bacth"}, "unknown norm 'bacth'; did you mean 'batch'"),
    ],
)
def test_bad_options_are_refused(options, message):
    with refuses(message):
        build_backbone("resnet18", **options)


@pytest.mark.parametrize("output_stride", [8, 16])
def test_a_cifar_network_has_nothing_to_dilate(output_stride):
    with refuses(rf"output_stride={output_stride} has nothing to dilate"):
        build_backbone("wrn_40_4", output_stride=output_stride)
    with refuses(r"unknown feature 'c5'.* Known: c1, c2, c3, c4"):
        build_backbone("wrn_40_4", out_features=["c5"])
