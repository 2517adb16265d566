"""What a weight file states about its image format and its architecture."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from torch import Tensor

from backbones.lineage import Lineage, lineage_of
from backbones.weights.conventions import ImageFormat


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What a file states; None and empty strings stand for nothing."""

    by: str = ""  # where it states it, for the report
    images: ImageFormat | None = None  # the image format
    stride_in_1x1: bool | None = None  # whether bottlenecks stride in the first 1x1 convolution
    architecture: str | None = None  # the network's name
    project: str = ""  # who wrote the file
    lineage: Lineage = ()  # what the weights went through


def stated(content: Mapping[str, Any], state: Mapping[str, Tensor], *, hub: bool) -> Statement:
    """Return what a checkpoint states; ``hub``: JSON files beside it describe it."""
    if isinstance(card := content.get("keel"), Mapping):
        return _card(card)
    if isinstance(meta := content.get("meta"), Mapping):
        return _mmlab(meta)
    if "pixel_mean" in state and "pixel_std" in state:  # detectron2's
        mean, std = (state[name].flatten().tolist() for name in ("pixel_mean", "pixel_std"))
        images = _images(mean, std, white=255, by_mean=True)
        return Statement(by="pixel_mean and pixel_std", images=images)
    if isinstance(config := content.get("pretrained_cfg"), Mapping):
        return _timm({"pretrained_cfg": config}, by="the file's metadata")
    return _hub(content) if hub else Statement()


def _card(card: Mapping[str, Any]) -> Statement:
    images = _images(card.get("mean"), card.get("std"))
    if images is not None and isinstance(epsilon := card.get("epsilon"), int | float):
        images = replace(images, epsilon=epsilon)
    name, stride = card.get("backbone"), card.get("stride_in_1x1")
    return Statement(
        by="its card",
        images=images,
        stride_in_1x1=stride if isinstance(stride, bool) else None,
        architecture=name if isinstance(name, str) else None,
        lineage=lineage_of(card.get("lineage")),
    )


def _images(
    mean: object, std: object, *, white: float = 1, bgr: bool = False, by_mean: bool = False
) -> ImageFormat | None:
    """Return the format, or None if mean and std are not numbers.

    With ``by_mean`` the order of the channels follows from the mean: red is brightest in photos.
    """
    if not (_numbers(mean) and _numbers(std) and len(mean) == len(std)):  # type: ignore[arg-type]
        return None
    means, stds = tuple(map(float, mean)), tuple(map(float, std))  # type: ignore[call-overload]
    if by_mean and len(means) == 3:
        if means[0] == means[2]:
            return None
        bgr = means[0] < means[2]
    return ImageFormat(mean=means, std=stds, white=white, bgr=bgr)


def _numbers(values: object) -> bool:
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        return False
    return all(isinstance(value, int | float) for value in values)


def _mmlab(meta: Mapping[str, Any]) -> Statement:
    """Read the configuration that mmengine and mmcv keep as text in ``meta``."""
    text = meta.get("cfg", meta.get("config"))
    calls = list(_dictionaries(text)) if isinstance(text, str) else []
    formats = {_mmlab_images(call) for call in calls if "mean" in call and "std" in call}
    styles = {call.get("style", "pytorch") == "caffe" for call in calls if "depth" in call}
    return Statement(
        by="the configuration in meta" if isinstance(text, str) else "",
        images=formats.pop() if len(formats) == 1 else None,
        stride_in_1x1=styles.pop() if len(styles) == 1 else None,
    )


def _mmlab_images(call: Mapping[str, Any]) -> ImageFormat | None:
    rgb = call.get("to_rgb", call.get("bgr_to_rgb", False))
    return _images(call["mean"], call["std"], white=255, bgr=not rgb)


_UNREADABLE: Final = (SyntaxError, ValueError, TypeError, RecursionError, MemoryError)


def _dictionaries(text: str) -> Iterator[dict[str, Any]]:
    """Yield every ``dict(...)`` and ``{...}`` in a Python text, without running it."""
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except _UNREADABLE:
        return
    for node in nodes:
        if isinstance(node, ast.Call):
            pairs = [(word.arg, word.value) for word in node.keywords]
        elif isinstance(node, ast.Dict):
            pairs = [
                (getattr(k, "value", None), v) for k, v in zip(node.keys, node.values, strict=True)
            ]
        else:
            continue
        found = {}
        for key, value in pairs:
            with suppress(*_UNREADABLE):
                found[str(key)] = ast.literal_eval(value)
        yield found


_RESCALE: Final = 1 / 255
_BESIDE: Final = ("preprocessor_config.json", "config.json")


def _hub(content: Mapping[str, Any]) -> Statement:
    config = content.get("config.json", {})
    if "architecture" in config and _numbers(config.get("mean")):  # timm's before 0.9
        config = {"pretrained_cfg": config}
    if isinstance(config.get("pretrained_cfg"), Mapping):
        return _timm(config, by="config.json beside it")
    stride = config.get("downsample_in_bottleneck", False if "layer_type" in config else None)
    beside = next((f"{name} beside it" for name in _BESIDE if name in content), "")
    return Statement(
        by=beside,
        images=_transformers(content.get("preprocessor_config.json", {})),
        stride_in_1x1=stride if isinstance(stride, bool) else None,
    )


def _timm(config: Mapping[str, Any], *, by: str) -> Statement:
    inner = config["pretrained_cfg"]
    name = config.get("architecture", inner.get("architecture"))
    return Statement(
        by=by,
        images=_images(inner.get("mean"), inner.get("std")),
        architecture=name if isinstance(name, str) else None,
        project="timm",
    )


def _transformers(config: Mapping[str, Any]) -> ImageFormat | None:
    if not config:
        return None
    bgr = bool(config.get("do_flip_channel_order", False))
    rescaled = bool(config.get("do_rescale", True))
    if rescaled and abs(config.get("rescale_factor", _RESCALE) - _RESCALE) > 1e-6:
        return None
    white = 1 if rescaled else 255
    if not config.get("do_normalize", True):
        return _images([0.0] * 3, [1.0] * 3, white=white, bgr=bgr)
    return _images(config.get("image_mean"), config.get("image_std"), white=white, bgr=bgr)
