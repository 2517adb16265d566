"""Weight gradients from contiguous copies are those of torch's kernel."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F

from backbones.layers import conv_backward
from backbones.layers.conv_backward import (
    gains,
    install,
    speed_up_weight_gradients,
    torchs_backward,
)


@pytest.fixture
def replaced():
    """The faster kernel in place of torch's, on any CPU."""
    library = install()
    yield
    library._destroy()


def draw(*shape, dtype=torch.float64, last=True):
    layout = torch.channels_last if last else torch.contiguous_format
    return torch.randn(*shape, dtype=dtype).contiguous(memory_format=layout).requires_grad_()


def gradients(x, weight, bias, **how):
    out = F.conv2d(x, weight, bias, padding=1, **how)
    wanted = [t for t in (x, weight, bias) if t is not None and t.requires_grad]
    return torch.autograd.grad(out.square().sum(), wanted)


CASES = list(product([(1, 1), (2, 1), (1, 2)], [False, True]))


@pytest.mark.parametrize(("strides", "with_bias"), CASES)
def test_gradients_are_torchs(strides, with_bias):
    stride, dilation = strides
    torch.manual_seed(0)
    given = draw(2, 64, 7, 9), draw(65, 64, 3, 3), torch.randn(65).double() if with_bias else None
    if with_bias:
        given[2].requires_grad_()
    expected = gradients(*given, stride=stride, dilation=dilation)
    library = install()
    found = gradients(*given, stride=stride, dilation=dilation)
    library._destroy()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.usefixtures("replaced")
def test_first_and_second_derivatives_agree_with_differences():
    torch.manual_seed(0)
    x, weight = draw(1, 64, 2, 2), draw(64, 64, 3, 3).detach() * 0.1
    few = weight[:1].clone().requires_grad_()  # differences of all weights would take minutes

    def convolve(x, few):
        return F.conv2d(x, torch.cat([few, weight[1:]]), padding=1).square().mean(1)

    assert gains(x, weight)
    assert torch.autograd.gradcheck(convolve, (x, few))
    assert torch.autograd.gradgradcheck(convolve, (x[:, :, :1, :1].detach().requires_grad_(), few))


@pytest.mark.parametrize("frozen", ["input", "weight"])
@pytest.mark.usefixtures("replaced")
def test_what_needs_no_gradient_gets_none(frozen):
    x, weight = draw(1, 64, 4, 4), draw(64, 64, 3, 3)
    (x if frozen == "input" else weight).requires_grad_(requires_grad=False)
    (found,) = gradients(x, weight, None)
    assert found.shape == (weight if frozen == "input" else x).shape


def test_the_copies_are_what_reaches_torchs_kernel(replaced, monkeypatch):  # noqa: ARG001
    seen = []
    original = torch.Tensor.contiguous

    def contiguous(self, *, memory_format=torch.contiguous_format):
        seen.append((tuple(self.shape), memory_format))
        return original(self, memory_format=memory_format)

    x, weight = draw(1, 64, 4, 4), draw(64, 64, 3, 3)
    monkeypatch.setattr(torch.Tensor, "contiguous", contiguous)
    gradients(x, weight, None)
    copied = [shape for shape, layout in seen if layout == torch.contiguous_format]
    assert copied.count((1, 64, 4, 4)) == 2  # the input, and the gradient of the output


def test_torchs_own_kernel_is_at_hand_when_it_is_replaced(replaced, monkeypatch):  # noqa: ARG001
    x, weight, grad = (
        t.detach() for t in (draw(1, 64, 4, 4), draw(64, 64, 3, 3), draw(1, 64, 4, 4))
    )
    arguments = grad, x, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False]
    copying = torch.ops.aten.convolution_backward(*arguments)
    monkeypatch.setattr(conv_backward, "gains", lambda *_: pytest.fail("it is the replacement"))
    for one, other in zip(torchs_backward(*arguments)[:2], copying[:2], strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("x", "weight", "expected"),
    [
        (draw(1, 64, 4, 4), (64, 64, 3, 3), True),
        (draw(1, 64, 4, 4, dtype=torch.float32), (64, 64, 3, 3), True),
        (draw(1, 64, 4, 4, dtype=torch.bfloat16), (64, 64, 3, 3), False),
        (draw(1, 64, 4, 4, last=False), (64, 64, 3, 3), False),
        (draw(1, 64, 4, 4), (63, 64, 3, 3), False),
        (draw(1, 3, 4, 4), (64, 3, 7, 7), False),
        (draw(1, 64, 4, 4), (64, 64, 1, 1), False),
    ],
)
def test_copies_are_made_by_channels_kernel_type_and_layout(x, weight, expected):
    assert gains(x, torch.empty(weight)) is expected


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.usefixtures("replaced")
def test_a_compiled_network_has_the_same_gradients(backend):
    torch.manual_seed(0)
    network = torch.nn.Conv2d(64, 64, 3, padding=1).double().to(memory_format=torch.channels_last)
    x = draw(2, 64, 5, 6)
    found = []
    for forward in (network, torch.compile(network, backend=backend)):
        network.zero_grad()
        forward(x).square().sum().backward()
        found.append([p.grad.clone() for p in network.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("capability", "expected"), [("AVX2", 1), ("AVX512", 0), ("DEFAULT", 0)])
def test_only_a_cpu_with_avx2_alone_takes_it_and_once(monkeypatch, capability, expected):
    made = []
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(conv_backward, "install", lambda: made.append(1) or "kernel")
    speed_up_weight_gradients.cache_clear()
    try:
        assert speed_up_weight_gradients() == speed_up_weight_gradients()
        assert (speed_up_weight_gradients() is not None) == bool(expected)
        assert len(made) == expected
    finally:
        speed_up_weight_gradients.cache_clear()
