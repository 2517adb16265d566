"""Label smoothing of the box classifier, which torchvision has no option for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor
from torchvision.models.detection import FasterRCNN

Losses = dict[str, Tensor]


@contextmanager
def smoothed_classes(network: FasterRCNN, smoothing: float) -> Iterator[Callable[[Losses], Losses]]:
    """Give a function that smooths the classifier's loss of the forward pass within.

    Cross entropy is linear in its target: of a truth that is spread by ``e`` it is ``1 - e`` times
    that of the truth and ``e`` times that of an even spread over the K + 1 classes (Szegedy et al.,
    arXiv:1512.00567, section 7).

    Args:
        network: A detector in training mode.
        smoothing: From 0, which changes nothing, to below 1.
    """
    if not smoothing:
        yield lambda losses: losses
        return
    logits: list[Tensor] = []

    def keep(_module: object, _inputs: object, outputs: tuple[Tensor, Tensor]) -> None:
        logits.append(outputs[0])

    def smooth(losses: Losses) -> Losses:
        (seen,) = logits
        even = -seen.log_softmax(dim=1).mean()
        mixed = (1 - smoothing) * losses["loss_classifier"] + smoothing * even
        return losses | {"loss_classifier": mixed}

    handle = network.roi_heads.box_predictor.register_forward_hook(keep)
    try:
        yield smooth
    finally:
        handle.remove()
