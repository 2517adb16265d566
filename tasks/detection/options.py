"""The groups of options that detection adds; imports no framework."""

from dataclasses import dataclass
from typing import Final

from tasks.common.data.augmentation import check_amounts, check_probabilities, check_zoom

USUAL_LIMIT: Final = 100
"""How many detections of a class COCO counts in an image, those of the highest scores."""


@dataclass(frozen=True, kw_only=True)
class DetectorOptions:
    """What makes one Faster R-CNN differ from another on the same backbone.

    Attributes:
        head: ``v1`` is torchvision's ``fasterrcnn_resnet50_fpn``: two linear layers, one RPN
            convolution. ``v2`` is its ``_v2``: four normalised convolutions and one linear layer,
            two RPN convolutions (Li et al., arXiv:2111.11429).
        head_width: Width of the box head's linear layers.
        features: The backbone's features that the pyramid stands on; a run leaves out those that
            its backbone does not have, as transformers of one stride, with their anchors.
        fpn_channels: Width of the pyramid.
        fpn_norm: Norm of the pyramid; ``none`` in v1, ``batch`` in v2.
        anchor_sizes: Side of the anchors of each pyramid level in pixels of the resized image,
            finest first: one more than ``features``, for the pooled level.
        min_size: Images are resized so that the shorter side is this, in pixels ...
        max_size: ... unless the longer one would exceed this.
        rois_per_image: Proposals sampled per image to train the box head.
        detections_per_image: At most so many are returned per image, best first. Images with more
            objects need more.
        score_threshold: Detections below it are dropped; AP wants it low.
    """

    head: str = "v1"
    head_width: int = 1024
    features: tuple[str, ...] = ("c2", "c3", "c4", "c5")
    fpn_channels: int = 256
    fpn_norm: str = "none"
    anchor_sizes: tuple[int, ...] = (32, 64, 128, 256, 512)
    min_size: int = 800
    max_size: int = 1333
    rois_per_image: int = 512
    detections_per_image: int = 100
    score_threshold: float = 0.05

    @property
    def scored_detections(self) -> int:
        """How many detections of a class count in an image: COCO's 100, or all there can be."""
        return max(USUAL_LIMIT, self.detections_per_image)

    def __post_init__(self) -> None:
        """Refuse sizes and counts that no detector can have."""
        positive = ("head_width", "fpn_channels", "min_size", "rois_per_image")
        for name in (*positive, "detections_per_image"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"model.{name} takes an integer of at least 1, got {value!r}.")
        if self.max_size < self.min_size:
            raise ValueError(
                f"model.max_size takes at least min_size={self.min_size}, got {self.max_size}."
            )
        if any(size <= 0 for size in self.anchor_sizes):
            raise ValueError(
                f"model.anchor_sizes takes sizes above 0, got {list(self.anchor_sizes)}."
            )
        if not 0 <= self.score_threshold < 1:
            raise ValueError(
                f"model.score_threshold takes a number from 0 to below 1, got "
                f"{self.score_threshold!r}."
            )


@dataclass(frozen=True, kw_only=True)
class AugmentOptions:
    """How training images and their boxes are changed.

    Attributes:
        flip: Probability of a horizontal flip. 0 if left and right mean something.
        vertical_flip: Probability of a vertical flip, for images without an up, such as
            microscopy.
        color_jitter: Strength s in [0, 1): brightness, contrast and saturation are multiplied
            by a factor from [1 - s, 1 + s], the hue is turned by up to s / 4 of the circle. A
            gray image gets the first two.
        scale: Lowest and highest zoom about the centre; above 1 crops, below 1 pads with gray.
            The size of the image stays.
        shift: Largest move in each direction, as a fraction of the side, in [0, 1).
    """

    flip: float = 0.5
    vertical_flip: float = 0.0
    color_jitter: float = 0.0
    scale: tuple[float, ...] = (1.0, 1.0)
    shift: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values outside their ranges."""
        check_probabilities(self, "flip", "vertical_flip")
        check_amounts(self, "color_jitter", "shift", below=1)
        check_zoom(self.scale)
