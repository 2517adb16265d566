"""The groups of options that detection adds; imports no framework."""

from dataclasses import dataclass
from typing import Final

from backbones.errors import UserError
from backbones.names import NORM_NAMES
from tasks.common.options.augment import probability, zoom
from tasks.common.options.limits import Options, are_numbers, checked, choice, integer, number

USUAL_LIMIT: Final = 100  # detections of a class that COCO counts in an image, the best


@dataclass(frozen=True, kw_only=True)
class DetectorOptions(Options, group="model"):
    """What makes one Faster R-CNN differ from another on the same backbone.

    Attributes:
        head: Which of torchvision's two heads: ``v1`` is its ``fasterrcnn_resnet50_fpn``: two
            linear layers, one RPN convolution. ``v2`` is its ``_v2``: four normalised convolutions
            and one linear layer, two RPN convolutions (Li et al., arXiv:2111.11429).
        head_width: Width of the box head's linear layers.
        features: The backbone's features that the pyramid stands on; a run leaves out those that
            its backbone does not have, as transformers of one stride, with their anchors.
        fpn_channels: Width of the pyramid.
        fpn_norm: Norm of the pyramid; ``none`` in v1, ``batch`` in v2.
        anchor_sizes: Side of the anchors of each pyramid level in pixels of the resized image,
            finest first: one more than ``features``, for the pooled level.
        min_size: Pixels that the shorter side of an image is resized to.
        max_size: Pixels that the longer side may have; then the shorter one has fewer.
        proposals: Most boxes per image that the RPN passes on, and that it compares per pyramid
            level; twice as many in training. At least ``detections_per_image`` are.
        rois_per_image: Proposals sampled per image to train the box head.
        detections_per_image: Most detections that are returned per image, best first. Images with
            more objects need more.
        class_agnostic_nms: Whether the best of several boxes that overlap by more than half is
            kept, whatever their classes, so that no object is found as two; else that of each
            class.
        score_threshold: Score below which detections are dropped; AP wants it low.
    """

    head: str = choice("v1", ("v1", "v2"))
    head_width: int = integer(1024, least=1)
    features: tuple[str, ...] = ("c2", "c3", "c4", "c5")
    fpn_channels: int = integer(256, least=1)
    fpn_norm: str = choice("none", NORM_NAMES)
    anchor_sizes: tuple[int, ...] = checked(
        (32, 64, 128, 256, 512),
        "sizes above 0",
        lambda value: are_numbers(value) and all(size > 0 for size in value),
    )
    min_size: int = integer(800, least=1)
    max_size: int = integer(1333, least=1)
    proposals: int = integer(1000, least=1)
    rois_per_image: int = integer(512, least=1)
    detections_per_image: int = integer(100, least=1)
    class_agnostic_nms: bool = False
    score_threshold: float = number(0.05, least=0, below=1)

    @property
    def scored_detections(self) -> int:
        """How many detections of a class count in an image: COCO's 100, or all there can be."""
        return max(USUAL_LIMIT, self.detections_per_image)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_size < self.min_size:
            raise UserError(
                f"model.max_size takes at least min_size={self.min_size}, got {self.max_size}."
            )


@dataclass(frozen=True, kw_only=True)
class AugmentOptions(Options, group="augment"):
    """How training images and their boxes are changed.

    Attributes:
        flip: Probability of a horizontal flip. 0 if left and right mean something.
        vertical_flip: Probability of a vertical flip, for images without an up, such as
            microscopy.
        color_jitter: Strength s of changes of colour: brightness, contrast and
            saturation are multiplied by a factor from [1 - s, 1 + s], the hue is turned by up to s
            / 4 of the circle. A gray image gets the first two.
        scale: Lowest and highest zoom about the centre; above 1 crops, below 1 pads with gray.
            The size of the image stays.
        shift: Largest move in each direction, as a fraction of the side.
    """

    flip: float = probability(0.5)
    vertical_flip: float = probability(0.0)
    color_jitter: float = number(0.0, least=0, below=1)
    scale: tuple[float, ...] = zoom()
    shift: float = number(0.0, least=0, below=1)


@dataclass(frozen=True, kw_only=True)
class DataOptions(Options, group="data"):
    r"""What every layout of a data set takes, beside its own options.

    Attributes:
        fractions: Shares of train, val and test where the data set has no val, stratified by class;
            their sum is 1, and that of test may be 0. If the data set has a test split, train and
            val share the rest.
        seed: Seed of that random split.
        group: Regular expression for what images of one split share in their file names, such as
            '(video\d+)_'. Splits that the data set has are checked too.
        exif: What is done about images that are rotated by their EXIF orientation: apply, refuse or
            ignore (docs/data.md).
        range: What becomes 0 and 255 of images of more than 8 bits, such as [0, 4095]; empty for
            the bits in use.
    """

    fractions: tuple[float, ...] = (0.7, 0.15, 0.15)
    seed: int = 0
    group: str | None = None
    exif: str = choice("refuse", ("apply", "refuse", "ignore"))
    range: tuple[float, ...] = ()
