"""What training, scores and pictures ask of a detector, whatever its architecture."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from backbones import BackboneWithFPN

Losses = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Proposals:
    """The R boxes of one image that a detector classifies, and what it makes of each."""

    boxes: Tensor  # (R, 4): x1, y1, x2, y2 in pixels of the resized image
    size: tuple[int, int]  # height and width of the resized image
    features: Tensor  # (R, D): what the classifier takes
    logits: Tensor  # (R, K + 1): of the background and the K classes


class Detector(nn.Module):
    """A detector with torchvision's interface, and a way to smooth its classifier's labels.

    With images and targets, in training mode, it returns its losses by name. With images alone, in
    eval mode, it returns for each ``boxes`` (B, 4), ``labels`` (B,) in 1..K and ``scores`` (B,),
    best first. Images are (C, H, W) in [0, 1], boxes are xyxy in pixels of the given image.
    """

    backbone: BackboneWithFPN  # its ``body`` is the `Backbone` whose stages can be frozen
    transform: Any  # torchvision's, which normalises and resizes images

    def losses_of(
        self, levels: dict[str, Tensor], images: ImageList, targets: list[dict[str, Any]]
    ) -> Losses:
        """Return the losses by name, in training mode, of the features that ``backbone`` returns.

        Of ``images`` only the sizes are needed; boxes of the targets are in pixels of the resized
        image.
        """
        raise NotImplementedError

    def smoothed_classes(
        self, smoothing: float
    ) -> AbstractContextManager[Callable[[Losses], Losses]]:
        """Give a function that smooths the classification loss of the forward pass within.

        ``smoothing`` is the share of the label that is spread over all classes, 0 to below 1.
        """
        raise NotImplementedError

    def recorded_proposals(self) -> AbstractContextManager[list[Proposals]]:
        """Give a list that gets the proposals of each image of the forward passes within."""
        raise NotImplementedError
