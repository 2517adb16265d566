"""A network that computes its activations twice is the same network, bit for bit."""

import copy

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from backbones import build_backbone
from backbones.layers.gate import record_gates
from tests.backbones.errors import refuses
from tests.backbones.networks import short, trained_looking

CASES = {  # what a second pass could change: statistics, dropped paths, gates, norms after a stage
    "batch norm": ("resnet18", {"drop_path": 0.5}),
    "fixed norm": ("resnet50", {"norm": "frozen_batch"}),
    "gates": ("dynamic_resnet18", {"drop_path": 0.5}),
    "norm first": ("resnetv2_18", {"drop_path": 0.5}),
    "group norm": ("resnet18d", {"norm": "group"}),
    "deformable": ("resnet18", {"deformable": ["c4"]}),
}


def pair(name, freeze=0, **options):
    """A backbone in training, and its copy that computes its activations twice."""
    once = trained_looking(short(name, **options)).freeze(freeze).train()
    twice = copy.deepcopy(once)
    twice.set_grad_checkpointing()
    return once, twice


def step(network, precision="float32"):
    """Features, gates, gradients, buffers, and what the generator draws afterwards."""
    network.zero_grad()
    torch.manual_seed(3)
    image = torch.rand(3, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    enabled = precision == "bfloat16"
    with record_gates(network) as gates, torch.autocast("cpu", enabled=enabled):
        features = network(image)
    drawn = torch.rand(1)
    loss = sum((x.float() * torch.rand(x.shape)).sum() for x in features.values())
    (loss + 100 * gates.penalty(0.5) if gates.shares else loss).backward()
    return {
        "drawn": [drawn, torch.rand(1)],
        "shares": list(gates.shares),
        **features,
        **{f"gradient of {name}": p.grad for name, p in network.named_parameters()},
        **{f"buffer {name}": buffer.clone() for name, buffer in network.named_buffers()},
    }


def equal(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    return len(found)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", CASES)
def test_features_gradients_statistics_and_random_numbers_are_the_same(case, precision):
    name, options = CASES[case]
    once, twice = pair(name, **options)
    for _ in range(2):  # the second begins with the statistics of the first
        assert equal(step(twice, precision), step(once, precision)) > 50
    moved = [int(b) for n, b in once.named_buffers() if n.endswith("num_batches_tracked")]
    assert set(moved) <= {2}


class Counted(TorchDispatchMode):
    """Counts convolutions."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten.convolution.default
        return func(*args, **kwargs or {})


# Convolutions of a stem and four stages; the first stage has two blocks, the others a shortcut.
EACH = [1, 4, 3, 3, 3]


@pytest.mark.parametrize("freeze", [0, 2, 5])
def test_each_stage_that_trains_is_computed_twice_and_no_frozen_one(freeze):
    _, twice = pair("resnet18", freeze)
    image = torch.rand(2, 3, 64, 64, requires_grad=True)
    with Counted() as counted:
        features = twice(image)
        assert counted.count == sum(EACH)
        sum(x.sum() for x in features.values()).backward()
    assert counted.count == sum(EACH) + sum(EACH[freeze:])


@pytest.mark.parametrize("off", ["eval", "no gradients", "switched off"])
def test_elsewhere_everything_is_computed_once(off):
    _, twice = pair("resnet18")
    twice.train(off != "eval")
    if off == "switched off":
        twice.set_grad_checkpointing(False)
    with Counted() as counted, torch.set_grad_enabled(off != "no gradients"):
        loss = sum(x.sum() for x in twice(torch.rand(2, 3, 64, 64)).values())
        if loss.requires_grad:
            loss.backward()
    assert counted.count == sum(EACH)


def test_a_backbone_divided_after_its_frozen_stages_does_so_too():
    once, twice = pair("resnet18", 2)
    gradients = []
    for network in (once, twice):
        frozen = network.frozen_features(torch.ones(2, 3, 64, 64))
        sum(x.sum() for x in network.forward_from(frozen).values()).backward()
        gradients.append({name: p.grad for name, p in network.named_parameters()})
    equal(*gradients)


def test_less_is_kept_for_the_backward_pass():
    def kept(network):
        """Bytes of the activations that autograd keeps, each once."""
        held = {}

        def pack(tensor):
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            alive.append(tensor)
            return tensor

        alive = []
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            features = network(torch.rand(3, 3, 64, 64))
        own = {tensor.untyped_storage().data_ptr() for tensor in network.parameters()}
        own |= {tensor.untyped_storage().data_ptr() for tensor in network.buffers()}
        assert features
        return sum(size for place, size in held.items() if place not in own)

    once, twice = pair("resnet50")
    assert kept(twice) < 0.3 * kept(once)


@pytest.mark.slow
def test_a_compiled_backbone_has_the_same_gradients_and_moves_its_statistics_once():
    once, twice = pair("resnet18")
    expected = step(once)
    twice.compile(backend="aot_eager")
    found = step(twice)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    torch.compiler.reset()


def test_timms_blocks_are_computed_twice_and_its_moving_statistics_refused():
    options = {"weights": "random", "drop_path": 0.5, "freeze": 1}
    once = build_backbone("timm/test_convnext", **options).train()
    twice = copy.deepcopy(once)
    twice.set_grad_checkpointing()
    image, found = torch.rand(2, 3, 64, 64), []
    for network in (once, twice):
        torch.manual_seed(1)
        with Counted() as counted:
            sum(x.sum() for x in network(image).values()).backward()
        found.append(({name: p.grad for name, p in network.named_parameters()}, counted.count))
    equal(found[1][0], found[0][0])
    assert found[1][1] > found[0][1]
    with refuses(r"timm/test_resnet has batch norms, whose .* build it with norm='frozen_batch'"):
        build_backbone("timm/test_resnet").set_grad_checkpointing()
    fixed = build_backbone("timm/test_resnet", weights="random", norm="frozen_batch")
    fixed.set_grad_checkpointing()
    assert fixed.grad_checkpointing


def test_one_that_cannot_says_so():
    class Whole(type(short("resnet18")).__mro__[1]):
        def stages(self):
            return []

        def forward(self, x):
            return {"c0": x}

    whole = Whole()
    whole.set_grad_checkpointing(False)
    with refuses(r"a Whole has no gradient checkpointing: leave it out"):
        whole.set_grad_checkpointing()
    assert not whole.grad_checkpointing
    assert isinstance(whole, nn.Module)
