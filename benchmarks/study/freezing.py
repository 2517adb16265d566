"""The arithmetic of a training step by part, and how much of it is left with frozen stages."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torchvision.models.detection.image_list import ImageList

from backbones import Backbone, build_backbone
from benchmarks.tables import markdown_table
from tasks.common.run.config import plain_values
from tasks.detection.config import DETECTION
from tasks.detection.model.detector import Detector
from tasks.detection.model.faster_rcnn import build_detector
from tasks.detection.options import DetectorOptions
from tasks.segmentation.model.unet import ResNetUNet
from tasks.segmentation.options import UNetOptions

FREEZES: Final = (0, 2, 4)
CLASSES: Final = 3
BOXES: Final = 14  # of an image, as in BCCD


class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts multiply-adds of convolutions and matrix products, by torch's own formulas.

    ``FlopCounterMode`` hooks every module, and an RPN with hooks is not trained on windows alone.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.multiply_adds = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Run an operator, and count it."""
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.multiply_adds += formula(*args, **(kwargs or {}), out_val=out) // 2
        return out


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Multiply-adds of a part of a network."""

    forward: int
    backward: int

    @property
    def total(self) -> int:
        """Of both passes."""
        return self.forward + self.backward


Costs = dict[str, Cost]  # by part


class _Parts:
    """Runs a network part by part, each on copies of its inputs, and counts its two passes."""

    def __init__(self) -> None:
        self.costs: Costs = {}
        self._backward: list[Callable[[], None]] = []

    def run(
        self, name: str, part: Callable[..., dict[str, Tensor]], inputs: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return copies of what ``part`` makes of copies of ``inputs``, outside of any graph.

        What has no inputs of its own, such as a loss, has a gradient of 1.
        """
        own = {k: x.detach().requires_grad_(x.requires_grad) for k, x in inputs.items()}
        with Counter() as counter:
            made = part(own)
        outputs = {k: x.detach().requires_grad_(x.requires_grad) for k, x in made.items()}
        forward = counter.multiply_adds

        def back() -> None:
            trained = [k for k, x in made.items() if x.requires_grad]
            gradients = [_gradient(outputs[k]) for k in trained]
            with Counter() as counter:
                if trained:
                    torch.autograd.backward([made[k] for k in trained], gradients)
            for k, x in own.items():
                if x.grad is not None:
                    before = inputs[k].grad
                    inputs[k].grad = x.grad if before is None else before + x.grad
            self.costs[name] = Cost(forward=forward, backward=counter.multiply_adds)

        self._backward.append(back)
        return outputs

    def backward(self) -> Costs:
        """Return the costs of the parts, the first one first."""
        for back in reversed(self._backward):
            back()
        return dict(reversed(self.costs.items()))


def _gradient(x: Tensor) -> Tensor:
    if x.grad is not None:
        return x.grad
    return torch.ones_like(x) if x.ndim == 0 else torch.zeros_like(x)


def _stages(parts: _Parts, backbone: Backbone, images: Tensor) -> dict[str, Tensor]:
    """Run the frozen stages and the others; return the features."""

    def frozen(own: dict[str, Tensor]) -> dict[str, Tensor]:
        return backbone.frozen_features(own["image"])

    made = parts.run("frozen stages", frozen, {"image": images})
    return parts.run("trained stages", backbone.forward_from, made)


def detector_costs(network: Detector, images: list[Tensor]) -> Costs:
    """Return what a training step of a Faster R-CNN on images (3, H, W) in [0, 1] costs."""
    parts, net = _Parts(), network.train()
    torch.manual_seed(1)
    height, width = images[0].shape[1:]
    corners = torch.rand(len(images), BOXES, 2) * torch.tensor([width * 0.8, height * 0.8])
    boxes = torch.cat([corners, corners + height * 0.15], dim=2)
    truth = [{"boxes": b, "labels": torch.ones(BOXES, dtype=torch.int64)} for b in boxes]
    resized: tuple[ImageList, list[dict[str, Tensor]]] = net.transform(images, truth)
    batch, targets = resized
    heads: Any = net
    features = _stages(parts, net.backbone.body, batch.tensors)
    levels = parts.run("pyramid", net.backbone.fpn, features)
    proposals: list[Tensor] = []

    def rpn(own: dict[str, Tensor]) -> dict[str, Tensor]:
        found, losses = heads.rpn(batch, own, targets)
        proposals.extend(found)
        return dict(losses)

    def box_head(own: dict[str, Tensor]) -> dict[str, Tensor]:
        return dict(heads.roi_heads(own, proposals, batch.image_sizes, targets)[1])

    parts.run("RPN", rpn, levels)
    parts.run("box head", box_head, levels)
    return parts.backward()


def segmenter_costs(network: ResNetUNet, images: Tensor) -> Costs:
    """Return what a training step of a U-Net on images (N, 3, H, W) costs, without its loss."""
    parts, net = _Parts(), network.train()

    def decoder(own: dict[str, Tensor]) -> dict[str, Tensor]:
        size = images.shape[2], images.shape[3]
        logits: Any = net.decode(own, size=size)
        return {"loss": logits.sum()}

    parts.run("decoder", decoder, _stages(parts, net.backbone, images))
    return parts.backward()


def detector(name: str, freeze: int, *, model: str) -> Costs:
    """Return the costs of a detector of a preset on two images of 480x640."""
    options = plain_values(DETECTION.compose([f"model={model}"]).model)
    chosen = DetectorOptions(**options | {"min_size": 480, "max_size": 640})
    backbone = build_backbone(
        name, weights="random", norm="frozen_batch", freeze=freeze, out_features=chosen.features
    )
    network = build_detector(backbone, num_classes=CLASSES, options=chosen)
    return detector_costs(network, list(torch.rand(2, 3, 480, 640)))


def segmenter(name: str, freeze: int) -> Costs:
    """Return the costs of a U-Net on eight images of 256x256."""
    backbone = build_backbone(name, weights="random", freeze=freeze)
    options = UNetOptions(norm="batch")
    network = ResNetUNet(backbone, num_classes=CLASSES, in_channels=3, options=options)
    return segmenter_costs(network, torch.rand(8, 3, 256, 256))


NETWORKS: Final[dict[str, Callable[[str, int], Costs]]] = {
    "Faster R-CNN, 2 x 480x640": partial(detector, model="faster_rcnn"),
    "Faster R-CNN, model=light, 2 x 480x640": partial(detector, model="light"),
    "U-Net, 8 x 256x256": segmenter,
}


def table(costs: Mapping[int, Costs]) -> str:
    """Return a row for each number of frozen stages: GFLOPs, forward + backward, and the ratio.

    The last column is how many times as fast as the first row arithmetic alone allows.
    """
    first = sum(cost.total for cost in next(iter(costs.values())).values())
    rows = []
    for freeze, parts in costs.items():
        total = sum(cost.total for cost in parts.values())
        cells = [f"{c.forward / 1e9:.1f} + {c.backward / 1e9:.1f}" for c in parts.values()]
        rows.append([str(freeze), *cells, f"{total / 1e9:.1f}", f"{first / total:.2f}"])
    parts = next(iter(costs.values()))
    return markdown_table(["frozen", *parts, "all", "at most"], rows)


def report(name: str) -> str:
    """Return the tables of every network on a backbone."""
    blocks = []
    for title, count in NETWORKS.items():
        costs = {freeze: count(name, freeze) for freeze in FREEZES}
        blocks.append(f"### {title}, {name}\n\n{table(costs)}")
    return "\n\n".join(blocks)
