"""Losses between logits and labels, in float32 whatever the precision of the network.

Pixels that are labelled `IGNORE` take part in no term. Where nothing is labelled the loss is 0,
with gradients of 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbones.errors import UserError
from tasks.segmentation.data.cases import IGNORE, ClassTable
from tasks.segmentation.options import LossOptions

SMOOTH: Final = 1.0
"""Added to both sides of Dice's fraction 2 |A and B| / (|A| + |B|), in pixels.

With 1 a class that is absent from labels and prediction has the loss 0, and one predicted over a
fraction of a pixel has little; with 1e-5 the latter has nearly 1, and gradients of up to 1e5. The
Tversky index has half of it, so that with 0.5 and 0.5 it is Dice.
"""


@dataclass(frozen=True, kw_only=True)
class _Batch:
    logits: Tensor  # (N, K, H, W), float32
    labels: Tensor  # (N, H, W) or (N, K, H, W), int64
    truth: Tensor  # (N, K, H, W) of 0 and 1; 0 where there is no label
    labelled: Tensor  # (N, K, H, W), or (N, 1, H, W) if exclusive, of 0 and 1
    class_weights: Tensor  # (K,)
    overlapping: Tensor  # (K,) of 0 and 1: the classes of Dice and Tversky terms
    exclusive: bool
    smoothing: float  # share of the truth that cross entropy spreads evenly

    def weights(self) -> Tensor:
        """Return the weight of each cross entropy: (N, H, W), or (N, K, H, W) if not exclusive."""
        weights = self.class_weights[:, None, None]
        return (self.truth * weights).sum(1) if self.exclusive else self.labelled * weights


def _ratio(total: Tensor, weight: Tensor) -> Tensor:
    return total / torch.where(weight > 0, weight, 1.0)


def _ce(batch: _Batch, _options: LossOptions) -> Tensor:
    weights, smoothing = batch.weights(), batch.smoothing
    if batch.exclusive:
        total = F.cross_entropy(
            batch.logits,
            batch.labels,
            weight=batch.class_weights,
            ignore_index=IGNORE,
            label_smoothing=smoothing,
            reduction="sum",
        )
    else:
        soft = batch.truth * (1 - smoothing) + smoothing / 2
        total = F.binary_cross_entropy_with_logits(batch.logits, soft, weights, reduction="sum")
    return _ratio(total, weights.sum())


def _focal(batch: _Batch, options: LossOptions) -> Tensor:
    """Lin et al., arXiv:1708.02002, equation 4; alpha_t is the weight of the class."""
    logits = batch.logits
    if batch.exclusive:
        entropy = F.cross_entropy(logits, batch.labels, ignore_index=IGNORE, reduction="none")
    else:
        entropy = F.binary_cross_entropy_with_logits(logits, batch.truth, reduction="none")
    # 1 - p of the true class; not quite 0, where a power below 1 has no derivative.
    wrong = (-torch.expm1(-entropy)).clamp(min=torch.finfo(entropy.dtype).tiny)
    weights = batch.weights()
    return _ratio((wrong**options.gamma * entropy * weights).sum(), weights.sum())


def _overlap(
    batch: _Batch, options: LossOptions, alpha: float, beta: float, power: float = 1.0
) -> Tensor:
    """Return the mean of ``(1 - Tversky index) ** power`` over what has labels."""
    chances = batch.logits.softmax(1) if batch.exclusive else batch.logits.sigmoid()
    chances = chances * batch.labelled
    axes = (0, 2, 3) if options.batch_dice else (2, 3)
    hits = (chances * batch.truth).sum(axes)  # (K,), or (N, K) of each image
    false_positives = chances.sum(axes) - hits
    false_negatives = batch.truth.sum(axes) - hits
    missing = alpha * false_positives + beta * false_negatives
    loss = missing / (hits + missing + SMOOTH / 2)
    if power != 1:
        loss = loss.clamp(min=1e-7) ** power  # which has no derivative at 0 if it is below 1
    counted = (batch.labelled.sum(axes) > 0) * batch.overlapping
    return _ratio((loss * counted).sum(), counted.sum())


def _dice(batch: _Batch, options: LossOptions) -> Tensor:
    return _overlap(batch, options, 0.5, 0.5)


Loss = Callable[[_Batch, LossOptions], Tensor]
LOSSES: Final[dict[str, Loss]] = {
    # Milletari et al., arXiv:1606.04797, without the squares, as MONAI and nnU-Net do.
    "dice": _dice,
    "ce": _ce,
    "dice_ce": lambda b, o: o.dice_weight * _dice(b, o) + o.ce_weight * _ce(b, o),
    "focal": _focal,
    # Salehi et al., arXiv:1706.05721, equation 3 and, for the constants, table 1.
    "tversky": lambda b, o: _overlap(b, o, o.alpha, o.beta),
    # Abraham and Khan, arXiv:1810.07842, equation 4; their alpha is our beta.
    "focal_tversky": lambda b, o: _overlap(b, o, o.alpha, o.beta, 1 / o.focal_tversky_gamma),
}

_SMOOTHED: Final = ("ce", "dice_ce")


def build_loss(
    options: LossOptions, classes: ClassTable, *, label_smoothing: float = 0.0
) -> nn.Module:
    """Return the loss of logits (N, K, H, W) and labels, a float32 number with a graph.

    Labels are (N, H, W) of class indices where classes exclude each other (softmax), otherwise (N,
    K, H, W) of 0 and 1 (sigmoid); `IGNORE` is no label. Cross entropy and focal loss are means over
    labelled pixels. Dice and Tversky terms are means over classes (and over images, unless
    ``batch_dice``) that have a labelled pixel. ``label_smoothing`` is the share of the truth that
    cross entropy spreads evenly: over all classes, or over yes and no where classes overlap.
    """
    if label_smoothing and options.name not in _SMOOTHED:
        raise UserError(
            f"recipe.label_smoothing={label_smoothing} is of cross entropy, which loss.name="
            f"{options.name} does not have; use {' or '.join(_SMOOTHED)}, or leave it out."
        )
    names = ", ".join(classes.names)
    if options.class_weights and len(options.class_weights) != len(classes.names):
        raise UserError(
            f"loss.class_weights has {len(options.class_weights)} numbers, expected one for each "
            f"of the {len(classes.names)} classes: {names}."
        )
    if classes.exclusive and len(classes.names) < 2:
        raise UserError(
            f"every pixel is {names}, the only class, where classes exclude each other; expected "
            "two or more. Add the background, or use exclusive=False."
        )
    return _Loss(options, classes, label_smoothing)


class _Loss(nn.Module):
    class_weights: Tensor
    overlapping: Tensor

    def __init__(self, options: LossOptions, classes: ClassTable, smoothing: float) -> None:
        super().__init__()
        self.options = options
        self.smoothing = smoothing
        self.exclusive = classes.exclusive
        count = len(classes.names)
        weights = torch.tensor(options.class_weights or [1.0] * count, dtype=torch.float32)
        counted = [float(options.include_background or k in classes.scored) for k in range(count)]
        self.register_buffer("class_weights", weights, persistent=False)
        self.register_buffer("overlapping", torch.tensor(counted), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        images, _, *size = logits.shape
        classes = len(self.class_weights)
        expected = (images, *size) if self.exclusive else (images, classes, *size)
        if logits.shape[1] != classes or labels.shape != expected:  # some would broadcast
            raise ValueError(
                f"got logits {tuple(logits.shape)} and labels {tuple(labels.shape)}; expected "
                f"{(images, classes, *size)} and {expected}."
            )
        layers = labels[:, None] if self.exclusive else labels
        indices = torch.arange(classes, device=labels.device)[:, None, None]
        with torch.autocast(logits.device.type, enabled=False):
            batch = _Batch(
                logits=logits.float(),
                labels=labels.long(),
                truth=(layers == (indices if self.exclusive else 1)).float(),
                labelled=(layers != IGNORE).float(),
                class_weights=self.class_weights,
                overlapping=self.overlapping,
                exclusive=self.exclusive,
                smoothing=self.smoothing,
            )
            return LOSSES[self.options.name](batch, self.options)
