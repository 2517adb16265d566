"""The groups of options that segmentation adds; imports no framework."""

import math
from dataclasses import dataclass
from typing import Final

from backbones.choose import choose
from tasks.common.data.augmentation import check_amounts, check_probabilities, check_zoom

WIDTHS: Final = (256, 128, 64, 32, 16)
"""Of the decoder's blocks, as in smp."""

ATTENTION: Final = ("none", "scse")
UPSAMPLING: Final = ("nearest", "bilinear", "transposed")
NORMALISATIONS: Final = ("auto", "imagenet", "percentile", "window", "zscore")
LOSSES: Final = ("ce", "dice", "dice_ce", "focal", "focal_tversky", "tversky")
_REDUCTION: Final = 16  # of smp's scSE
_NOT_NEGATIVE: Final = ("gamma", "alpha", "beta", "ce_weight", "dice_weight")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


@dataclass(frozen=True, kw_only=True)
class UNetOptions:
    """What makes one U-Net differ from another on the same backbone.

    Attributes:
        norm: Of the decoder, a key of `backbones.layers.norm.NORMS`; the configuration also takes
            ``auto``, and gives the backbone the same unless told otherwise.
        deep_supervision: Whether every level of the decoder learns from a head of its own (Lee et
            al., arXiv:1409.5185).
        attention: In each decoder block: ``none``, or ``scse`` (Roy et al., arXiv:1803.02579).
        upsampling: ``nearest``, ``bilinear`` or ``transposed``, a learnt one.
        channels: Of the decoder's blocks, coarsest first: one per feature of the backbone; of the
            default a backbone with fewer features takes the last ones, one with more the first
            several times.
        image_skip: Whether the last block, at the image's resolution, sees the image itself.
    """

    norm: str = "auto"
    deep_supervision: bool = False
    attention: str = "none"
    upsampling: str = "nearest"
    channels: tuple[int, ...] = WIDTHS
    image_skip: bool = False

    def __post_init__(self) -> None:
        """Refuse names and widths that no decoder can have."""
        choose(dict.fromkeys(ATTENTION), self.attention, what="attention")
        choose(dict.fromkeys(UPSAMPLING), self.upsampling, what="upsampling")
        if self.attention == "scse" and min(self.channels, default=16) < _REDUCTION:
            raise ValueError(
                f"model.attention=scse takes model.channels of at least {_REDUCTION}, since it "
                f"squeezes them {_REDUCTION} times, got {list(self.channels)}."
            )
        if not self.channels or any(width < 1 for width in self.channels):
            raise ValueError(
                f"model.channels takes widths of at least 1, got {list(self.channels)}."
            )


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """How images become what the network sees, in training and ever after.

    Attributes:
        normalisation: ``imagenet``: the range of the file's numbers becomes [0, 1], then the mean
            and std of the weights. ``percentile``: as that, but what becomes [0, 1] is what lies
            between the 0.5th and the 99.5th percentile of the case, per channel; the rest is cut
            off. ``window``: as that, with ``window`` in place of the percentiles. ``zscore``: each
            case has mean 0 and std 1, per channel. ``auto``: ``imagenet`` for images of 8 bits,
            else ``zscore``.
        window: Lowest and highest value, such as -160 and 240 for soft tissue in CT.
        neighbours: How many slices before and after each are shown as further channels (2.5D).
        patch: Height and width in pixels of the patches of training and of the windows of
            inference; empty takes the training images' median, at most 256.
        patches: To learn from in an epoch; 0 takes one of each slice, but 200 at least, so that few
            images make no shorter training.
        foreground: Share of patches in which a class other than the background is certain to be.
        overlap: Of neighbouring windows, in [0, 1).
        flips: Whether the logits are averaged over the flips of the image.
    """

    normalisation: str = "auto"
    window: tuple[float, ...] = ()
    neighbours: int = 0
    patch: tuple[int, ...] = ()
    patches: int = 0
    foreground: float = 0.33
    overlap: float = 0.5
    flips: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        choose(dict.fromkeys(NORMALISATIONS), self.normalisation, what="normalisation")
        if self.normalisation == "window" and not (
            len(self.window) == 2 and self.window[0] < self.window[1]
        ):
            raise ValueError(
                "input.window takes the lowest and the highest value, such as [-160, 240], got "
                f"{list(self.window)}."
            )
        for name in ("neighbours", "patches"):
            if (value := getattr(self, name)) < 0:
                raise ValueError(f"input.{name} takes a number from 0, got {value}.")
        if len(self.patch) not in (0, 2) or any(side < 1 for side in self.patch):
            raise ValueError(
                f"input.patch takes height and width, such as [256, 256], got {list(self.patch)}."
            )
        if not 0 <= self.foreground <= 1:
            raise ValueError(f"input.foreground takes a share from 0 to 1, got {self.foreground}.")
        if not 0 <= self.overlap < 1:
            raise ValueError(f"input.overlap takes a share from 0 to below 1, got {self.overlap}.")


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """Which loss, and its constants.

    Attributes:
        name: One of `LOSSES`.
        batch_dice: Dice and Tversky terms count pixels over the batch; otherwise over each image,
            and the mean over images is taken.
        include_background: Whether those terms have the class called ``background`` as well.
        class_weights: Of each class in cross entropy and focal loss, which become weighted means.
            Dice and Tversky terms count every class the same, whatever its size.
        gamma: Of the focal loss: how much less easy pixels count; 0 makes it cross entropy.
        alpha: Of the Tversky index: the weight of false positives.
        beta: Of the Tversky index: the weight of false negatives.
        focal_tversky_gamma: The exponent is 1 / gamma, as in the paper, so at least 1.
        ce_weight: Of the cross entropy in ``dice_ce``.
        dice_weight: Of the Dice loss in ``dice_ce``.
    """

    name: str = "dice_ce"
    batch_dice: bool = True
    include_background: bool = False
    class_weights: tuple[float, ...] = ()
    gamma: float = 2.0
    alpha: float = 0.3
    beta: float = 0.7
    focal_tversky_gamma: float = 4 / 3
    ce_weight: float = 1.0
    dice_weight: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values that no loss can be made of, and strings where numbers belong."""
        choose(dict.fromkeys(LOSSES), self.name, what="loss.name")
        for name in _NOT_NEGATIVE:
            if not (_is_number(value := getattr(self, name)) and value >= 0):
                raise ValueError(f"loss.{name} takes a number of at least 0, got {value!r}.")
        for name, other in (("alpha", "beta"), ("ce_weight", "dice_weight")):
            if getattr(self, name) == getattr(self, other) == 0:
                raise ValueError(f"loss.{name} and loss.{other} are both 0; one must be above.")
        if not (_is_number(value := self.focal_tversky_gamma) and value >= 1):
            raise ValueError(f"loss.focal_tversky_gamma takes a number from 1 on, got {value!r}.")
        if not all(_is_number(weight) and weight > 0 for weight in self.class_weights):
            raise ValueError(f"loss.class_weights are numbers above 0, got {self.class_weights!r}.")


@dataclass(frozen=True, kw_only=True)
class AugmentOptions:
    """How training patches are changed.

    Attributes:
        flip: Probability of a horizontal flip. 0 if left and right mean something.
        vertical_flip: Probability of a vertical flip. 0 if the image has an up.
        rotate90: Probability of a turn by a multiple of 90 degrees; for square patches.
        rotation: Largest angle in degrees.
        scale: Lowest and highest zoom about the centre.
        elastic: Mean shift of a pixel by an elastic deformation that is smooth over some 10 pixels
            (Simard et al., 2003), in pixels; half of the patches are deformed.
        brightness: Largest shift, in units of the normalised image (about its std).
        contrast: Strength s in [0, 1): differences from the mean are multiplied by a factor from
            [1 - s, 1 + s].
        noise: Largest std of Gaussian noise, in units of the normalised image.
    """

    flip: float = 0.5
    vertical_flip: float = 0.5
    rotate90: float = 0.0
    rotation: float = 0.0
    scale: tuple[float, ...] = (1.0, 1.0)
    elastic: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values outside their ranges."""
        check_probabilities(self, "flip", "vertical_flip", "rotate90")
        check_amounts(self, "rotation", "elastic", "brightness", "noise")
        check_amounts(self, "contrast", below=1)
        check_zoom(self.scale)
