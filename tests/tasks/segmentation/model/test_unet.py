"""The U-Net: smp's function under our names, any size, any norm, deep supervision in training."""

import copy
from functools import partial

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import nn

from backbones import build_backbone, list_backbones
from backbones.layers.norm import NORMS
from tasks.segmentation.model.unet import ResNetUNet
from tasks.segmentation.options import WIDTHS, UNetOptions
from tests.backbones.networks import short
from tests.tasks.segmentation.conftest import refuses

SMALL = (16, 16, 8, 8, 8)
QUICK = {  # one of each width and stride, which is what a U-Net sees; and one of each block
    *("resnet18", "resnet50", "resnetv2_18", "dynamic_resnet18", "res2net50_26w_4s"),
    *("resnet20_cifar", "wrn_40_4"),
}


def unet(name=None, *, num_classes=2, in_channels=3, backbone_norm="group", **options):
    """A U-Net on a narrow ResNet of one or two blocks in each stage, or on a backbone of a name."""
    build = partial(build_backbone, name, weights="random") if name else partial(short, "resnet18")
    backbone = build(in_channels=in_channels, norm=backbone_norm)
    options = UNetOptions(**{"norm": "group", "channels": SMALL} | options)
    return ResNetUNet(backbone, num_classes=num_classes, in_channels=in_channels, options=options)


def shaken(network):
    """Give every parameter and statistic a random value, so that none hides behind a 0 or a 1."""
    generator = torch.Generator().manual_seed(0)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.1 + 0.05)
    return network


@pytest.mark.parametrize("attention", ["none", "scse"])
def test_the_function_and_the_names_are_those_of_smp(attention):
    widths = (32, 32, 16, 16, 16)
    theirs = {"decoder_channels": widths, "decoder_attention_type": attention}
    theirs |= {"decoder_attention_type": None} if attention == "none" else {}
    reference = shaken(smp.Unet("resnet18", encoder_weights=None, classes=3, **theirs)).eval()
    norms = {"norm": "batch", "backbone_norm": "batch"}
    ours = unet("resnet18", num_classes=3, channels=widths, attention=attention, **norms).eval()
    state = {k.replace("encoder.", "backbone."): v for k, v in reference.state_dict().items()}
    # smp builds, and never runs, attention over a skip connection that the last block lacks.
    state = {k: v for k, v in state.items() if "blocks.4.attention1" not in k}
    ours.load_state_dict(state)
    image = torch.rand(2, 3, 96, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), reference(image), rtol=1e-4, atol=1e-4)


def test_the_weights_begin_as_those_of_smp():
    """The decoder's convolutions by He, the heads' by Glorot, both uniform; biases are 0."""
    network = unet(deep_supervision=True, upsampling="transposed", channels=(32,) * 5)
    transposed = [m for m in network.decoder.modules() if isinstance(m, nn.ConvTranspose2d)]
    convolutions = [m for m in network.decoder.modules() if isinstance(m, nn.Conv2d)]
    heads = [*network.segmentation_head, *network.deep_heads]
    for module in (*convolutions, *transposed, *heads):
        receptive = module.weight[0, 0].numel()
        fan_in, fan_out = (n * receptive for n in (module.weight.shape[1], len(module.weight)))
        bound = (6 / (fan_in + fan_out) if module in heads else 6 / fan_in) ** 0.5
        assert 0.9 * bound < module.weight.abs().max() <= bound
        assert module.bias is None or not module.bias.any()
    assert (len(transposed), len(heads)) == (5, 5)


@pytest.mark.parametrize("size", [(65, 97), (33, 64), (7, 5)])
def test_any_size_is_predicted_as_the_image_padded_by_its_edge(size):
    network = shaken(unet()).eval()
    image = torch.rand(1, 3, *size)
    down, right = (-side % 32 for side in size)
    padded = nn.functional.pad(image, (0, right, 0, down), mode="replicate")
    with torch.no_grad():
        found, expected = network(image), network(padded)[..., : size[0], : size[1]]
    assert found.shape == (1, 2, *size)
    torch.testing.assert_close(found, expected)


def train_step(network, image):
    """One step of SGD; returns the names of the parameters that have no gradient."""
    network.train()
    output = network(image)
    levels = output if isinstance(output, tuple) else (output,)
    torch.stack([level.square().mean() for level in levels]).sum().backward()
    torch.optim.SGD(network.parameters(), lr=1e-3).step()
    return [name for name, p in network.named_parameters() if p.grad is None]


@pytest.mark.parametrize("norm", [n for n in NORMS if n != "sync_batch"])
def test_every_norm_trains_in_encoder_and_decoder(norm):
    network = unet(norm=norm, backbone_norm=norm)
    kinds = {type(m) for m in network.modules() if "orm" in type(m).__name__}
    kinds -= {type(m) for m in network.modules() if type(m).__name__ == "ConvNorm"}
    assert len(kinds) == (0 if norm == "none" else 1)
    assert train_step(network, torch.rand(2, 3, 64, 64)) == []


@pytest.mark.parametrize("upsampling", ["nearest", "bilinear", "transposed"])
@pytest.mark.parametrize("attention", ["none", "scse"])
@pytest.mark.parametrize("image_skip", [False, True])
def test_every_option_of_the_decoder_is_trained(upsampling, attention, image_skip):
    options = {"attention": attention, "image_skip": image_skip}
    network = unet(in_channels=4, upsampling=upsampling, channels=(16,) * 5, **options)
    assert train_step(network, torch.rand(2, 4, 32, 64)) == []


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in list_backbones()]
)
def test_every_registered_backbone_fits(name):
    with torch.device("meta"):
        network = unet(name, channels=WIDTHS)
        assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 2, 64, 64)


def test_the_last_block_sees_the_image_if_it_is_told_to():
    network = unet(image_skip=True).eval()
    for p in network.backbone.parameters():
        nn.init.zeros_(p)
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert not torch.equal(network(image), network(1 - image))
        blind = copy.deepcopy(network)
        weight = blind.decoder["blocks"][-1].conv1[0].weight
        weight[:, -3:] = 0
        torch.testing.assert_close(blind(image), blind(1 - image))


def test_instance_norm_works_on_images_that_end_in_one_pixel():
    assert unet().smallest == 32
    assert unet(backbone_norm="instance").smallest == unet(norm="instance").smallest == 64
    network = shaken(unet(norm="instance", backbone_norm="instance"))
    assert train_step(network, torch.rand(1, 3, 32, 32)) == []
    image = torch.rand(1, 3, 20, 20)
    padded = nn.functional.pad(image, (0, 44, 0, 44), mode="replicate")
    network.eval()
    with torch.no_grad():
        torch.testing.assert_close(network(image), network(padded)[..., :20, :20])


@pytest.mark.parametrize(("height", "width"), [(64, 96), (33, 50)])
def test_deep_supervision_gives_every_level_in_training_only(height, width):
    """The sizes of levels are rounded up."""
    network = shaken(unet(deep_supervision=True))
    image = torch.rand(2, 3, height, width)
    levels = network.train()(image)
    sizes = [(2, 2, -(-height // stride), -(-width // stride)) for stride in (1, 2, 4, 8, 16)]
    assert [level.shape for level in levels] == sizes
    torch.testing.assert_close(network.eval()(image), levels[0])


def test_the_head_of_a_level_stands_on_that_level():
    """The k-th coarser output changes with the k-th head alone."""
    network = shaken(unet(deep_supervision=True)).train()
    image = torch.rand(1, 3, 64, 64)
    before = network(image)
    with torch.no_grad():
        network.deep_heads[0].bias += 1  # the coarsest
    changed = [not torch.equal(a, b) for a, b in zip(before, network(image), strict=True)]
    assert changed == [False, False, False, False, True]


def test_weights_load_with_and_without_deep_supervision():
    deep, plain = shaken(unet(deep_supervision=True)).eval(), unet().eval()
    image = torch.rand(1, 3, 32, 32)
    plain.load_state_dict(deep.state_dict())
    torch.testing.assert_close(plain(image), deep(image), rtol=0, atol=0)
    other = unet(deep_supervision=True).eval()
    heads = copy.deepcopy(other.deep_heads.state_dict())
    other.load_state_dict(plain.state_dict())
    torch.testing.assert_close(other(image), deep(image), rtol=0, atol=0)
    for name, tensor in heads.items():
        assert torch.equal(other.deep_heads.state_dict()[name], tensor)
    other.load_state_dict(deep.state_dict())  # heads that are there are loaded
    for ours, theirs in zip(other.deep_heads, deep.deep_heads, strict=True):
        assert torch.equal(ours.weight, theirs.weight)


def test_a_state_dict_that_lacks_more_is_refused():
    state = unet(deep_supervision=True).state_dict()
    del state["segmentation_head.0.weight"]
    with pytest.raises(RuntimeError, match=r"segmentation_head\.0\.weight"):
        unet().load_state_dict(state)


@pytest.mark.parametrize("freeze", range(6))
def test_a_frozen_encoder_trains_and_does_not_move(freeze):
    network = unet(norm="batch", backbone_norm="batch")
    network.backbone.freeze(freeze)
    stages = network.backbone.stages()
    frozen = [t for stage in stages[:freeze] for m in stage for t in m.state_dict().values()]
    before = [tensor.clone() for tensor in frozen]
    head = network.segmentation_head[0].weight.clone()
    without = train_step(network, torch.rand(2, 3, 64, 64))
    assert all(torch.equal(a, b) for a, b in zip(before, frozen, strict=True))
    assert not torch.equal(head, network.segmentation_head[0].weight)
    expected = sum(len(list(m.parameters())) for stage in stages[:freeze] for m in stage)
    assert len(without) == expected


def test_a_decoder_that_cannot_be_is_refused():
    with refuses(r"model.channels has 2 widths; expected one per .*c1, c2, c3, c4"):
        unet(channels=(8, 8))
    with refuses("norm.*did you mean 'instance'"):
        unet(norm="instanse")


def test_a_copy_trains_by_itself():
    network = unet(deep_supervision=True)
    twin = copy.deepcopy(network)
    twin.load_state_dict(network.state_dict())
    train_step(twin, torch.rand(2, 3, 32, 32))
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.filterwarnings("ignore:`torch.jit", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(
    ("traced_at", "backbone_norm"),
    [((2, 70, 50), "instance"), pytest.param((2, 96, 64), "batch", marks=pytest.mark.slow)],
)
def test_a_trace_takes_other_sizes_and_batches(traced_at, backbone_norm):
    network = unet(backbone_norm=backbone_norm).eval()
    count, *sides = traced_at
    traced = torch.jit.trace(network, torch.rand(count, 3, *sides), check_trace=False)
    for other, *size in ((3, 96, 128), (2, 70, 50), (1, 20, 20)):
        image = torch.rand(other, 3, *size)
        # A trace convolves after the upsampling: other sums, in another order.
        torch.testing.assert_close(traced(image), network(image), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_torchscript_is_refused_in_plain_words():
    with pytest.raises(RuntimeError, match=r"^torch.jit.script cannot express the code of "):
        torch.jit.script(unet())


def test_torch_fx_follows_for_images_of_any_size():
    network = unet(norm="batch", backbone_norm="batch").eval()
    graph = torch.fx.symbolic_trace(network)
    for sides in ((64, 64), (50, 70)):
        image = torch.rand(2, 3, *sides)
        torch.testing.assert_close(graph(image), network(image))


@pytest.mark.parametrize("options", [{"norm": "batch"}, {"deep_supervision": True}])
def test_a_decoder_that_is_computed_twice_has_the_same_gradients_and_statistics(options):
    once = shaken(unet(backbone_norm="batch", **options)).train()
    twice = copy.deepcopy(once)
    twice.set_grad_checkpointing()
    seen = []
    for block in twice.decoder["blocks"]:
        block.register_forward_pre_hook(lambda *_: seen.append(1))
    found = []
    for network in (once, twice):
        logits = network(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)))
        logits = logits if isinstance(logits, tuple) else (logits,)
        sum(x.square().sum() for x in logits).backward()
        gradients = {name: p.grad for name, p in network.named_parameters()}
        found.append((logits, gradients, dict(network.named_buffers())))
    torch.testing.assert_close(*found, rtol=0, atol=0)
    assert len(seen) == 2 * 5
    assert twice.backbone.grad_checkpointing
