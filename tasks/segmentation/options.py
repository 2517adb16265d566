"""The groups of options that segmentation adds; imports no framework."""

from dataclasses import dataclass
from typing import Final

from backbones.errors import UserError
from backbones.names import NORM_NAMES
from tasks.common.data.splits import check_fractions
from tasks.common.options.augment import probability, zoom
from tasks.common.options.limits import (
    Options,
    are_numbers,
    checked,
    choice,
    integer,
    is_integer,
    number,
)
from tasks.common.options.run import RunOptions

WIDTHS: Final = (256, 128, 64, 32, 16)  # of the decoder's blocks, as in smp

ATTENTION: Final = ("none", "scse")
UPSAMPLING: Final = ("nearest", "bilinear", "transposed")
NORMALISATIONS: Final = ("auto", "imagenet", "percentile", "window", "zscore")
LOSSES: Final = ("ce", "dice", "dice_ce", "focal", "focal_tversky", "tversky")
REDUCTION: Final = 16  # of the channels of scSE, as in smp


@dataclass(frozen=True, kw_only=True)
class UNetOptions(Options, group="model"):
    """What makes one U-Net differ from another on the same backbone.

    Attributes:
        norm: The decoder's norm, a key of `backbones.layers.norm.NORMS`; the configuration also
            takes ``auto``, and gives the backbone the same unless told otherwise.
        deep_supervision: Whether every level of the decoder learns from a head of its own (Lee et
            al., arXiv:1409.5185).
        attention: Attention in each decoder block: ``none``, or ``scse`` (Roy et al.,
            arXiv:1803.02579).
        upsampling: How the decoder enlarges maps; ``transposed`` learns it.
        channels: Widths of the decoder's blocks, coarsest first: one per feature of the backbone;
            of the default a backbone with fewer features takes the last ones, one with more the
            first several times.
        image_skip: Whether the last block, at the image's resolution, sees the image itself.
    """

    norm: str = choice("auto", ("auto", *NORM_NAMES))
    deep_supervision: bool = False
    attention: str = choice("none", ATTENTION)
    upsampling: str = choice("nearest", UPSAMPLING)
    channels: tuple[int, ...] = checked(
        WIDTHS,
        "widths of at least 1",
        lambda value: are_numbers(value) and min(value, default=0) >= 1,
    )
    image_skip: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.attention == "scse" and min(self.channels) < REDUCTION:
            raise UserError(
                f"model.attention=scse takes model.channels of at least {REDUCTION}, since it "
                f"squeezes them {REDUCTION} times, got {list(self.channels)}."
            )


@dataclass(frozen=True, kw_only=True)
class InputOptions(Options, group="input"):
    """How images become what the network sees, in training and ever after.

    Attributes:
        normalisation: How intensities are scaled. ``imagenet``: the range of the file's numbers
            becomes [0, 1], then the mean and std of the weights. ``percentile``: as that, but what
            becomes [0, 1] is what lies between the 0.5th and the 99.5th percentile of the case, per
            channel; the rest is cut off. ``window``: as that, with ``window`` in place of the
            percentiles. ``zscore``: each case has mean 0 and std 1, per channel. ``auto``:
            ``imagenet`` for images of 8 bits, else ``zscore``.
        window: Lowest and highest value, such as -160 and 240 for soft tissue in CT.
        neighbours: How many slices before and after each are shown as further channels (2.5D).
        patch: Height and width in pixels of the patches of training and of the windows of
            inference; empty takes the training images' median, at most 256.
        patches: Patches of an epoch; 0 takes one of each slice, but 200 at least, so that few
            images make no shorter training.
        foreground: Share of patches in which a class other than the background is certain to be.
        overlap: Share of a window that the next one overlaps, in inference.
        flips: Whether the logits are averaged over the flips of the image.
    """

    normalisation: str = choice("auto", NORMALISATIONS)
    window: tuple[float, ...] = ()
    neighbours: int = integer(0, least=0)
    patch: tuple[int, ...] = checked(
        (),
        "height and width, such as [256, 256]",
        lambda value: are_numbers(value) and len(value) in (0, 2) and min(value, default=1) >= 1,
    )
    patches: int = integer(0, least=0)
    foreground: float = number(0.33, least=0, most=1, noun="share")
    overlap: float = number(0.5, least=0, below=1, noun="share")
    flips: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.normalisation == "window" and not (
            are_numbers(self.window, count=2) and self.window[0] < self.window[1]
        ):
            raise UserError(
                "input.window takes the lowest and the highest value, such as [-160, 240], got "
                f"{list(self.window)}."
            )


@dataclass(frozen=True, kw_only=True)
class LossOptions(Options, group="loss"):
    """Which loss, and its constants.

    Attributes:
        name: Which loss, or sum of two.
        batch_dice: Dice and Tversky terms count pixels over the batch; otherwise over each image,
            and the mean over images is taken.
        include_background: Whether those terms have the class called ``background`` as well.
        class_weights: Weight of each class in cross entropy and focal loss, which become weighted
            means. Dice and Tversky terms count every class the same, whatever its size.
        gamma: How much less easy pixels count in the focal loss; 0 makes it cross entropy.
        alpha: Weight of false positives in the Tversky index.
        beta: Weight of false negatives in the Tversky index.
        focal_tversky_gamma: The exponent of the focal Tversky loss is 1 / gamma, as in the paper.
        ce_weight: Weight of the cross entropy in ``dice_ce``.
        dice_weight: Weight of the Dice loss in ``dice_ce``.
    """

    name: str = choice("dice_ce", LOSSES)
    batch_dice: bool = True
    include_background: bool = False
    class_weights: tuple[float, ...] = checked(
        (),
        "numbers above 0, one per class",
        lambda value: are_numbers(value) and min(value, default=1) > 0,
    )
    gamma: float = number(2.0, least=0)
    alpha: float = number(0.3, least=0)
    beta: float = number(0.7, least=0)
    focal_tversky_gamma: float = number(4 / 3, least=1)
    ce_weight: float = number(1.0, least=0)
    dice_weight: float = number(1.0, least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, other in (("alpha", "beta"), ("ce_weight", "dice_weight")):
            if getattr(self, name) == getattr(self, other) == 0:
                raise UserError(f"loss.{name} and loss.{other} are both 0; one must be above.")


@dataclass(frozen=True, kw_only=True)
class AugmentOptions(Options, group="augment"):
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
        contrast: Largest change s of the contrast: differences from the mean are
            multiplied by a factor from [1 - s, 1 + s].
        noise: Largest std of Gaussian noise, in units of the normalised image.
    """

    flip: float = probability(0.5)
    vertical_flip: float = probability(0.5)
    rotate90: float = probability(0.0)
    rotation: float = number(0.0, least=0)
    scale: tuple[float, ...] = zoom()
    elastic: float = number(0.0, least=0)
    brightness: float = number(0.0, least=0)
    contrast: float = number(0.0, least=0, below=1)
    noise: float = number(0.0, least=0)


@dataclass(frozen=True, kw_only=True)
class DataOptions(Options, group="data"):
    """What every layout of a data set takes, beside its own options.

    Attributes:
        fractions: Shares of the cases in train, val and test, with the sum 1; that of test may be
            0. Not used where the data set has splits of its own.
        seed: Seed of the order in which patients are drawn.
        fold: For cross-validation, which of the ``folds`` is the test, from 0; val is drawn from
            the others, in proportion to its fraction. Null for no cross-validation.
        folds: How many folds there are.
        val: Patterns of case names, such as ``2[4-9]`` or ``site_b/*``, that are the validation;
            cases that match no pattern of ``val`` and ``test`` are trained on.
        test: Patterns of case names that are the test; empty for no test.
        limit: How many of the training cases are used, for learning curves; 0 for all. A smaller
            number takes some of those that a larger one takes.
        exif: What is done about images that are rotated by their EXIF orientation: apply, refuse or
            ignore (docs/data.md).
    """

    fractions: tuple[float, ...] = (0.7, 0.1, 0.2)
    seed: int = integer(0, least=0)
    fold: int | None = None
    folds: int = integer(5, least=2)
    val: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    limit: int = integer(0, least=0)
    exif: str = choice("refuse", ("apply", "refuse", "ignore"))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fractions(self.fractions)
        if self.fold is None:
            return
        if not is_integer(self.fold) or not 0 <= self.fold < self.folds:
            raise UserError(
                f"data.fold takes an integer from 0 to {self.folds - 1} where data.folds is "
                f"{self.folds}, got {self.fold!r}."
            )
        if self.val or self.test:
            raise UserError(
                f"data.fold={self.fold} draws val and test, but data.val or data.test names "
                "them as well. Give one or the other."
            )


@dataclass(frozen=True, kw_only=True)
class SegmentationOptions(RunOptions, group=""):
    """What to run, and how it is scored.

    Attributes:
        tolerance: Distance that the surface Dice (NSD) forgives, in mm of volumes, else pixels.
    """

    tolerance: float = number(2.0, above=0, noun="distance")
