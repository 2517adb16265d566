"""Which backbone, with which weights, norm and frozen stages; what is left to us is explained."""

from dataclasses import dataclass

from tasks.common.machine import Decision

SMALL_BATCH = 8
"""Below it batch statistics are too noisy to train with (Wu and He, arXiv:1803.08494, figure 1)."""


@dataclass(frozen=True, kw_only=True)
class BackboneChoice:
    """The ``backbone`` group of the configuration.

    Attributes:
        name: A registered name.
        weights: A tag, a file, or ``random``; see `backbones.build_backbone`.
        conventions: What the weights expect of an image, where the file does not say so: a name in
            `backbones.conventions.CONVENTIONS`.
        norm: A norm's name, or ``auto``: see `choose_norm`.
        freeze: How many stages to freeze, or ``auto``: 2 (stem and c2) of loaded weights, as in
            detectron2 and torchvision, and none of random ones.
        in_channels: Of the image; None for what the task's data have, in detection 3 (RGB).
    """

    name: str
    weights: str | None = "imagenet"
    conventions: str | None = None
    norm: str = "auto"
    freeze: int | str = "auto"
    in_channels: int | None = None

    @property
    def loaded(self) -> bool:
        """Whether weights are loaded."""
        return self.weights not in (None, "random")


def choose_norm(choice: BackboneChoice, *, batch_size: int) -> Decision:
    """Return the backbone's norm.

    Loaded batch norms keep their statistics (``frozen_batch``), which small batches would spoil. A
    random backbone takes ``batch`` from 8 images per device on, ``group`` below.
    """
    if choice.norm != "auto":
        return Decision(value=choice.norm, reason="as told")
    if choice.loaded:
        return Decision(value="frozen_batch", reason="loaded statistics are kept")
    if batch_size < SMALL_BATCH:
        return Decision(value="group", reason=f"no weights, {batch_size} images per batch")
    return Decision(value="batch", reason="no weights to keep statistics of")


def choose_freeze(choice: BackboneChoice) -> Decision:
    """Return how many stages are frozen.

    Raises:
        ValueError: If ``freeze`` is neither ``auto`` nor a number.
    """
    if choice.freeze == "auto":
        reason = "of loaded weights" if choice.loaded else "no weights were loaded"
        return Decision(value="2" if choice.loaded else "0", reason=reason)
    if isinstance(choice.freeze, int):
        return Decision(value=str(choice.freeze), reason="as told")
    raise ValueError(f"backbone.freeze takes auto or 0 to 5, got {choice.freeze!r}.")
