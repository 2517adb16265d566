"""Our backbones under torchvision's detectors."""

from collections import OrderedDict

from torch import Tensor

from backbones import FPN, Backbone, BackboneWithFPN
from backbones.fpn import ExtraLevels


class DetectionBackbone(BackboneWithFPN):
    """A backbone and its pyramid as torchvision's detectors expect them.

    ``FasterRCNN(DetectionBackbone(backbone), num_classes=3)`` needs no further argument, nor do
    ``MaskRCNN``, ``RetinaNet`` and ``FCOS``: their default anchors are for five levels, which are
    c2 to c5 with ``extra="pool"``, or c3 to c5 with ``extra="conv"``. They normalise images by
    themselves; give them ``image_mean`` and ``image_std`` from ``backbone.conventions`` where those
    are not torchvision's. Names in the state dict are torchvision's: ``body.`` and ``fpn.``, so
    that a checkpoint of ``fasterrcnn_resnet50_fpn`` loads strictly.

    The backbone returns three or four features; a c1 is left out, and one that returns no other is
    a ValueError, as is an unknown ``extra``. ``pool`` adds a level named "pool" (Faster and Mask
    R-CNN); ``conv`` adds "p6" and "p7" (RetinaNet and FCOS, on c3 to c5); ``none`` adds nothing.

    Shape:
        - Input: (N, C, H, W).
        - Output: ``{"0": (N, out_channels, H / 4, W / 4), ..., "pool": ...}``, finest first; from
          "0" on whatever the first stride is.

    >>> import torch
    >>> from backbones import build_backbone
    >>> maps = DetectionBackbone(build_backbone("resnet18"))(torch.zeros(1, 3, 64, 64))
    >>> [(name, tuple(x.shape[1:])) for name, x in maps.items()][::4]
    [('0', (256, 16, 16)), ('pool', (256, 1, 1))]
    """

    def __init__(
        self, backbone: Backbone, *, out_channels: int = 256, extra: ExtraLevels = "pool"
    ) -> None:
        channels = {name: width for name, width in backbone.channels.items() if name != "c1"}
        super().__init__(backbone, FPN(channels, out_channels=out_channels, extra=extra))
        more = {"pool": ["pool"], "conv": self.fpn.levels[-2:], "none": []}[extra]
        self._names = [*map(str, range(len(channels))), *more]

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Return the levels under torchvision's names, finest first."""
        return OrderedDict(zip(self._names, super().forward(x).values(), strict=True))
