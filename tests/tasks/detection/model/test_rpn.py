"""The RPN that is trained on windows, against torchvision's on whole maps."""

import copy

import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

from tasks.detection.model.rpn import FullRPNHead, SampledRPN

SIZE = (64, 96)
STRIDES = (4, 8, 16)
BOXES = [
    [[0.0, 0.0, 20.0, 16.0], [60.0, 30.0, 96.0, 64.0]],  # at the borders, where windows reach over
    [[30.0, 20.0, 44.0, 40.0]],
    [],
]


def networks(depth, samples=8):
    """torchvision's RPN in float64, and ours with the same head."""
    torch.manual_seed(0)
    sides = ((8,), (16,), (32,))
    limits = {"training": 40, "testing": 40}
    theirs = RegionProposalNetwork(
        AnchorGenerator(sides, ((0.5, 1.0, 2.0),) * 3),
        FullRPNHead(6, 3, conv_depth=depth),
        *(0.6, 0.2, samples, 0.25, limits, limits, 0.6, 0.3),
    ).double()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return theirs, SampledRPN.of(copy.deepcopy(theirs))


def inputs(boxes=BOXES):
    torch.manual_seed(1)
    maps = {
        str(stride): torch.randn(len(boxes), 6, SIZE[0] // stride, SIZE[1] // stride).double()
        for stride in STRIDES
    }
    images = ImageList(torch.zeros(len(boxes), 3, *SIZE), [SIZE] * len(boxes))
    return images, maps, [{"boxes": torch.tensor(b).double().view(-1, 4)} for b in boxes]


def trained(rpn, boxes=BOXES):
    """Return proposals, losses, and the gradients of every parameter and every map."""
    images, maps, targets = inputs(boxes)
    leaves = {name: x.requires_grad_() for name, x in maps.items()}
    torch.manual_seed(2)  # of the sampled anchors
    proposals, losses = rpn.train()(images, maps, targets)
    (losses["loss_objectness"] + 3 * losses["loss_rpn_box_reg"]).backward()
    gradients = {name: p.grad for name, p in (*rpn.named_parameters(), *leaves.items())}
    return proposals, losses, gradients


@pytest.mark.parametrize(
    ("depth", "samples"), [(1, 8), (1, 50), (2, 8), (2, 20), (3, 8), (3, 10), (1, 256)]
)
def test_losses_proposals_and_gradients_are_torchvisions(depth, samples):
    theirs, ours = networks(depth, samples)
    expected, found = trained(theirs), trained(ours)
    for kind in range(3):
        torch.testing.assert_close(found[kind], expected[kind], rtol=1e-9, atol=1e-12)
    assert all(gradient.abs().sum() > 0 for gradient in expected[2].values())


def hook(head):
    head.conv[0].register_full_backward_hook(lambda *_: None)


def spectral(head):
    torch.nn.utils.parametrizations.spectral_norm(head.conv[0][0])


def adapter(head):
    """A layer as LoRA adds them, beside the convolution."""

    class Adapted(torch.nn.Conv2d):
        def __init__(self):
            super().__init__(6, 6, 3, padding=1)
            self.beside = torch.nn.Conv2d(6, 6, 3, padding=1)

        def forward(self, maps):
            return super().forward(maps) + self.beside(maps)

    head.conv[0][0] = Adapted().double()


def geometry(**options):
    """Another convolution of the same parameters' shapes, in the place of the first."""

    def change(head):
        head.conv[0][0] = torch.nn.Conv2d(6, 6, 3, **options).double()

    return change


def wide_predictor(head):
    head.cls_logits = torch.nn.Conv2d(6, 3, 3, padding=1).double()


@pytest.mark.parametrize(
    "change",
    [
        hook,
        spectral,
        adapter,
        geometry(padding=2, dilation=2),
        geometry(padding=1, padding_mode="reflect"),
        wide_predictor,
    ],
)
def test_a_head_that_is_not_plain_is_called_as_torchvisions_is(change):
    theirs, ours = networks(1)
    change(theirs.head)
    ours.head = copy.deepcopy(theirs.head)
    expected, found = trained(theirs), trained(ours)
    torch.testing.assert_close(found[1], expected[1], rtol=0, atol=0)
    torch.testing.assert_close(found[2], expected[2], rtol=0, atol=0)


def test_under_autocast_every_weight_has_torchvisions_gradient_in_float32():
    pair = [rpn.float() for rpn in networks(1)]
    results = []
    for rpn in pair:
        images, maps, targets = inputs()
        maps = {name: x.float() for name, x in maps.items()}
        targets = [{"boxes": t["boxes"].float()} for t in targets]
        torch.manual_seed(2)
        with torch.autocast("cpu", torch.bfloat16):
            _, losses = rpn.train()(images, maps, targets)
        assert {loss.dtype for loss in losses.values()} == {torch.float32}
        sum(losses.values()).backward()
        results.append([losses, {name: p.grad for name, p in rpn.named_parameters()}])
    torch.testing.assert_close(results[1], results[0], rtol=0.02, atol=0.02)
    assert all(gradient.abs().max() > 0 for gradient in results[0][1].values())


def test_images_without_boxes_train_the_scores_alone():
    theirs, ours = networks(1)
    expected, found = trained(theirs, [[], []]), trained(ours, [[], []])
    torch.testing.assert_close(found[1], expected[1])
    torch.testing.assert_close(found[2], expected[2], rtol=1e-9, atol=1e-12)
    assert found[1]["loss_objectness"] > 0
    assert found[1]["loss_rpn_box_reg"] == 0


def test_proposals_of_inference_are_torchvisions():
    images, maps, _ = inputs()
    theirs, ours = (rpn.eval() for rpn in networks(2))
    expected, found = theirs(images, maps), ours(images, maps)
    assert found[1] == expected[1] == {}
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=0)


@pytest.mark.parametrize(("samples", "kept"), [(50, False), (60, True)])
def test_activations_of_whole_maps_are_kept_only_where_these_are_small(samples, kept, monkeypatch):
    """The maps have 1512 cells, the windows of 3 images 27 times ``samples``."""
    whole, seen = RPNHead.forward, []

    def spy(head, maps):
        seen.append(torch.is_grad_enabled())
        return whole(head, maps)

    monkeypatch.setattr(RPNHead, "forward", spy)
    trained(networks(1, samples)[1])
    assert seen == [kept]
