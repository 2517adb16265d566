"""How a model of timm is built: for images of any size and dilated, where it can be."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import timm
import torch
from torch import nn

_ANY_SIZE: Final[tuple[dict[str, Any], ...]] = (
    {"dynamic_img_size": True},
    {"strict_img_size": False},
)
"""What lets timm's transformers take images of other sizes, by family."""


def create(model: str, given: Mapping[str, Any], *, output_stride: int = 32) -> Any:  # noqa: ANN401
    """Return a model of timm without a classifier, on the device of the context.

    An option of ``timm.create_model`` that the model does not take is a TypeError.
    """
    if output_stride == 32:
        return timm.create_model(model, num_classes=0, **given)
    try:
        return timm.create_model(model, num_classes=0, output_stride=output_stride, **given)
    except TypeError as refused:
        return _dilated(model, given, output_stride=output_stride, refused=refused)


def any_size(model: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the first option of `_ANY_SIZE` that a model takes beside those given, or none."""
    for option in _ANY_SIZE:
        with suppress(TypeError), torch.device("meta"):
            create(model, {**given, **option})
            return option
    return {}


def _dilated(
    model: str, given: Mapping[str, Any], *, output_stride: int, refused: TypeError
) -> Any:  # noqa: ANN401
    """Return a model with the dilated blocks of a ``features_only`` one (MobileNetV3 ...)."""
    net: Any = timm.create_model(model, num_classes=0, **given)
    options = {"features_only": True, "output_stride": output_stride, **given}
    try:
        features: Any = timm.create_model(model, **options)
    except (TypeError, AssertionError, RuntimeError):
        raise refused from None
    if not isinstance(getattr(features, "blocks", None), nn.Module):
        raise refused
    shapes = {key: tensor.shape for key, tensor in net.blocks.state_dict().items()}
    dilated = features.blocks.state_dict()
    if any(tensor.shape != shapes.get(key) for key, tensor in dilated.items()):
        raise refused
    for index, block in enumerate(features.blocks):
        net.blocks[index] = block
    info = {feature["module"]: feature for feature in features.feature_info.info}
    for feature in net.feature_info:
        feature["reduction"] = info[feature["module"]]["reduction"]
    return net
