"""Whoever watches a module sees what it gets and returns, as on the plain path."""

from contextlib import ExitStack
from functools import partial

import pytest
import torch
from torch import nn
from torchvision.models import resnet18
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.feature_extraction import create_feature_extractor

from backbones import FPN, BackboneWithFPN, build_backbone, list_backbones
from backbones.layers.hooks import watched
from tests.backbones.networks import on_meta, short, trained_looking

NAMES = ["resnet18", "resnet18d", "res2net50_26w_4s", "cbam_resnet18", "resnetv2_18"]
LEAVES = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Linear)


def build(name):
    return trained_looking(short(name).double())


def picture(count):
    return torch.rand(count, 3, 64, 64, dtype=torch.float64)


def leaves(network):
    """Return every module that a picture passes through."""
    return {n: module for n, module in network.named_modules() if isinstance(module, LEAVES)}


def watch(network, seen):
    """Keep what every layer gets and returns, without copies: nothing may change them later."""

    def keep(key, _module, inputs, output):
        seen[key] = inputs[0], output

    for key, layer in leaves(network).items():
        layer.register_forward_hook(partial(keep, key))


def gradients(network, image):
    network.zero_grad()
    sum(x.mean() for x in network(image).values()).backward()
    return [p.grad for p in network.parameters() if p.grad is not None]


@pytest.mark.parametrize("name", [*NAMES, "dynamic_resnet18", "resnet50"])
def test_every_layer_is_seen_as_the_plain_path_calls_it(name, monkeypatch):
    network, image = build(name), picture(2)
    unwatched = network(image)
    seen, plain = {}, {}
    watch(network, seen)
    torch.testing.assert_close(network(image), unwatched)
    assert seen.keys() == leaves(network).keys()
    for key, layer in leaves(network).items():
        layer._forward_hooks.clear()
        x, output = seen[key]
        torch.testing.assert_close(output, layer(x.clone()), rtol=0, atol=0, msg=key)
    monkeypatch.setattr("backbones.layers.conv.fixed_affine", lambda _: None)
    watch(network, plain)
    network(image)
    torch.testing.assert_close(seen, plain, rtol=0, atol=0)


@pytest.mark.parametrize("name", [*NAMES, "dynamic_resnet18", "seresnet18"])
@pytest.mark.filterwarnings("ignore:For backward hooks to be called")  # of dictionaries
@pytest.mark.parametrize("everywhere", [False, True])
def test_backward_hooks_see_the_gradients(name, everywhere):
    """Full backward hooks do not bear a result that is changed in place."""
    network, image = build(name), picture(2)
    expected = gradients(network, image)
    fired = set()
    keep = lambda module, _inputs, _outputs: fired.add(module)  # noqa: E731
    with ExitStack() as handles:
        if everywhere:
            handles.enter_context(nn.modules.module.register_module_full_backward_hook(keep))
        else:
            for layer in leaves(network).values():
                layer.register_full_backward_hook(keep)
        found = gradients(network, image.requires_grad_())
    assert set(leaves(network).values()) <= fired
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
@pytest.mark.parametrize("training", [False, True])
def test_a_deep_stem_that_is_watched_leaves_what_its_layers_returned(norm, training):
    """Its inner modules and itself, but not the ReLUs between, which write in place."""
    network = short("resnet18d", norm=norm).train(training)
    image = torch.rand(2, 3, 64, 64)
    seen = []
    for module in (network.conv1, network.conv1[1], network.conv1[6], network.bn1):
        module.register_forward_hook(lambda _m, _i, y: seen.append((y, y.clone())))
        module.register_full_backward_hook(lambda *_: None)
    sum(x.mean() for x in network(image.requires_grad_()).values()).backward()
    assert len(seen) == 4
    assert all(torch.equal(kept, then) for kept, then in seen)


@pytest.mark.parametrize(
    "register",
    [
        *("register_forward_hook", "register_forward_pre_hook"),
        *("register_full_backward_hook", "register_full_backward_pre_hook"),
        "register_module_forward_hook",  # on every module
    ],
)
def test_any_hook_watches_until_it_is_removed(register):
    module = nn.Conv2d(1, 1, 1)
    of = nn.modules.module if "module" in register else module
    with getattr(of, register)(lambda *_: None):
        assert watched(module)
    assert not watched(module)


def test_a_hook_may_replace_what_a_layer_returns():
    network, image = build("resnet18"), picture(1)
    block = network.layer1[1]
    block.bn2.register_forward_hook(lambda _m, _i, output: output * 0)
    features = network(image)
    skip = network.layer1[0](network.maxpool(features["c1"]))
    torch.testing.assert_close(features["c2"], skip.relu())


def test_torchvisions_layer_getter_runs_the_children_one_by_one():
    """It knows no forward; what torchvision's own network gives is the oracle."""
    theirs = resnet18().double().eval()
    ours = trained_looking(build_backbone("resnet18").double())
    theirs.load_state_dict(ours.state_dict(), strict=False)
    image = picture(1)
    wanted = {"relu": "c1", "layer1": "c2", "layer4": "c5"}
    expected = IntermediateLayerGetter(theirs, wanted)(image)
    found = IntermediateLayerGetter(ours, wanted)(image)
    torch.testing.assert_close(dict(found), dict(expected))
    torch.testing.assert_close(found["c5"], ours(image)["c5"])


@pytest.mark.parametrize("name", ["resnet18d", "res2net50_26w_4s", "dynamic_resnet18"])
def test_the_layer_getter_gives_our_features(name):
    network, image = build(name), picture(2)
    found = IntermediateLayerGetter(network, {"layer3": "c4"})(image)
    torch.testing.assert_close(found["c4"], network(image)["c4"])


GATES = pytest.mark.filterwarnings("ignore:NOTE. The nodes obtained by tracing")


@GATES
@pytest.mark.parametrize("name", [*NAMES, "dynamic_resnet18", "resnet20_cifar"])
def test_torch_fx_follows(name):
    network = build(name)
    extractor = create_feature_extractor(network, {"layer1": "c2", "layer2": "c3"})
    inner = "layer1.0.norm2" if "v2" in name else "layer1.0.conv1"
    first = create_feature_extractor(network, {inner: "inner"})
    other = torch.rand(3, 3, 96, 64, dtype=torch.float64)  # the graph depends on no size, no data
    for mode, image in ((False, picture(2)), (True, picture(2)), (False, other)):
        found = extractor.train(mode)(image)
        layers = IntermediateLayerGetter(network.train(mode), {"layer1": "c2"})
        torch.testing.assert_close(found["c2"], layers(image)["c2"])
    assert first.eval()(picture(2))["inner"].isfinite().all()


@pytest.mark.slow
@GATES
@pytest.mark.parametrize("name", [n for n in list_backbones() if "/" not in n])
def test_torch_fx_follows_every_variant(name):
    graph = create_feature_extractor(on_meta(build_backbone, name), {"layer2": "c3"})
    assert graph(torch.rand(2, 3, 64, 64, device="meta"))["c3"].shape[1] > 0


@GATES
def test_a_gate_that_skips_skips_in_a_graph_of_torch_fx():
    network, image = build("dynamic_resnet18"), picture(2)
    network.layer1[0].gate.openness[2].bias.data.fill_(-5.0)
    graph = create_feature_extractor(network, {"layer4": "c5"}).eval()
    torch.testing.assert_close(graph(image)["c5"], network(image)["c5"])


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize(
    "module",
    [
        lambda: build_backbone("resnet18"),
        lambda: build_backbone("resnet18").layer1,
        lambda: FPN({"c2": 8}),
        lambda: BackboneWithFPN(build_backbone("resnet18"), FPN({"c5": 512})),
        lambda: nn.Sequential(build_backbone("resnetv2_18")),
    ],
)
def test_torchscript_is_refused_in_plain_words(module):
    message = r"^torch.jit.script cannot express the code of \w+; use torch.export.export, "
    with pytest.raises(RuntimeError, match=message):
        torch.jit.script(module())
