"""The ``backbone`` group of the configuration."""

import os
import re
from dataclasses import dataclass

from backbones.choose import choose
from backbones.names import CONVENTION_NAMES, INIT_NAMES, NORM_NAMES, WEIGHT_TAGS
from tasks.common.options.limits import Options, checked, choice, integer


@dataclass(frozen=True, kw_only=True)
class BackboneChoice(Options, group="backbone"):
    """The ``backbone`` group of the configuration.

    Attributes:
        name: A registered name.
        weights: What the backbone begins with; see `backbones.build_backbone`.
        conventions: What the weights expect of an image, such as ``caffe``, where the file does not
            say so: a name in `backbones.weights.conventions.CONVENTIONS`.
        norm: The norm's name, such as ``group``, or ``auto``: see
            `tasks.common.recipe.build.choose_norm`.
        freeze: How many stages to freeze, or ``auto``: in detection 2 (stem and c2) of loaded
            weights, as in detectron2 and torchvision, otherwise none; with ``recipe.unfreeze`` all
            up to the last stage that it names; see `tasks.common.recipe.build.choose_freeze`.
        in_channels: Channels of the image; None for what the task's data have, in detection 3
            (RGB).
        output_stride: Pixels of the image per pixel of the last feature map: 32, or 16 or 8 to
            dilate the last stages instead of striding.
        drop_path: Probability that training skips the last block (stochastic depth), from 0 to
            below 1; that of earlier blocks rises linearly to it.
        init: How random weights are drawn, ``he``, ``zero_last``, ``scaled`` or ``auto``; ``auto``
            is ``zero_last`` where the backbone can do that, and its own way where not.
        deformable: Stages, such as c4 and c5, whose 3x3 convolutions are deformable.
        deformable_version: Version of deformable convolutions: 1 learns offsets, 2 masks as well.
    """

    name: str
    weights: str | None = checked(
        "imagenet",
        "a tag such as imagenet, a file, or random",
        lambda value: value != "",  # an unset shell variable
    )
    conventions: str | None = checked(
        None,
        f"a name ({', '.join(CONVENTION_NAMES)})",
        CONVENTION_NAMES.__contains__,
        also={None: "null"},
    )
    norm: str = choice("auto", ("auto", *NORM_NAMES))
    freeze: int | str = integer("auto", least=0, also={"auto": "auto"})
    in_channels: int | None = None
    output_stride: int = checked(32, "32, 16 or 8", (32, 16, 8).__contains__)
    drop_path: float = 0.0
    init: str = choice("he", ("auto", *INIT_NAMES))
    deformable: tuple[str, ...] = ()
    deformable_version: int = checked(2, "1 or 2", (1, 2).__contains__)

    def __post_init__(self) -> None:
        super().__post_init__()
        text = self.weights or ""
        is_word = re.fullmatch(r"[a-z]\w*", text) is not None and not os.path.lexists(text)
        if is_word and "/" not in self.name:  # a family may have tags of its own
            choose({**WEIGHT_TAGS, "random": ""}, text, what="backbone.weights, if it is no file,")

    @property
    def loaded(self) -> bool:
        """Whether weights are loaded."""
        return self.weights not in (None, "random")
