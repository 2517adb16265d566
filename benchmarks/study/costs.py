"""Each backbone in numbers, counted on torch's meta device: nothing is computed."""

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from backbones import build_backbone


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A backbone in numbers."""

    name: str  # as registered
    parameters: int  # without a classifier
    # of convolutions and matrix products for one image; a multiply-add is one operation, as in the
    # papers. All blocks count where the image decides which ones run.
    multiply_adds: int
    size: int  # pixels along each side of the image: 224, or 32 where c1 has stride 1 (CIFAR)
    strides: dict[str, int]  # by feature, finest first
    channels: dict[str, int]  # by feature, finest first

    def cells(self) -> tuple[str, str, str, str, str]:
        """Return name, millions of parameters, GFLOPs (a star: at 32x32), strides and channels."""
        return (
            self.name,
            f"{self.parameters / 1e6:.2f}",
            f"{self.multiply_adds / 1e9:.2f}" + ("*" if self.size == 32 else ""),
            " ".join(map(str, self.strides.values())),
            " ".join(map(str, self.channels.values())),
        )


def facts(name: str) -> Facts:
    """Count a registered backbone."""
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), torch.no_grad():
        backbone = build_backbone(name).eval()
        size = 32 if min(backbone.strides.values()) == 1 else 224
        image = torch.empty(1, 3, size, size)
        try:
            with counter:
                backbone(image)
        except NotImplementedError:  # values decide which blocks run; in training all of them do
            with counter:
                backbone.train()(image)
    return Facts(
        name=name,
        parameters=sum(p.numel() for p in backbone.parameters()),
        multiply_adds=counter.get_total_flops() // 2,
        size=size,
        strides=dict(backbone.strides),
        channels=dict(backbone.channels),
    )
