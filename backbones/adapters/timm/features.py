"""Our backbones in the shape of timm's ``features_only`` models."""

import copy
from contextlib import suppress
from functools import partial
from typing import Any, Final

import torch
from timm.models import FeatureInfo
from torch import Tensor, nn

from backbones import Backbone

_CROP: Final = {"crop_pct": 0.875, "interpolation": "bilinear", "pool_size": None}
"""What timm has for its ResNets; taken for backbones that are not timm's."""


class TimmFeatures(nn.Module):
    """A backbone of ours in the shape of ``timm.create_model(..., features_only=True)``.

    Attributes:
        backbone: Any of ours.
        taps: By name, modules that return those features that are no module's output, such as
            features that a function has rectified. A hook on a tap gets the feature.
        feature_info: timm's: channels, reduction (stride) and module of each feature. The output of
            that module is the feature.
        pretrained_cfg: What timm's tools read, such as ``timm.data.resolve_data_config``: mean, std
            and channels of what the weights expect, sizes, interpolation, the first convolution.
        default_cfg: The same.

    Shape:
        - Input: as of the backbone.
        - Output: a list of its feature maps, finest first.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        found = {name: f"backbone.{path}" for name, path in _modules(backbone).items()}
        missing = [name for name in backbone.channels if name not in found]
        self.taps = nn.ModuleDict({name: nn.Identity() for name in missing})
        info = [
            {
                "num_chs": backbone.channels[name],
                "reduction": backbone.strides[name],
                "module": found.get(name, f"taps.{name}"),
            }
            for name in backbone.channels
        ]
        self.feature_info = FeatureInfo(info, out_indices=tuple(range(len(info))))
        self.pretrained_cfg = self.default_cfg = _configuration(backbone)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the feature maps, finest first."""
        features = self.backbone(x)
        for name, tap in self.taps.items():
            features[name] = tap(features[name])
        return list(features.values())


def _configuration(backbone: Backbone) -> dict[str, Any]:
    """Return what timm keeps as ``pretrained_cfg``."""
    mean, std = backbone.conventions.mean, backbone.conventions.std
    timms: dict[str, Any] = getattr(getattr(backbone, "net", None), "pretrained_cfg", {})
    side = 32 if backbone.strides.get("c1") == 1 else 224
    size = timms.get("input_size", (len(mean), side, side))
    return {
        **_CROP,
        **timms,
        "input_size": (len(mean), *size[1:]),
        "mean": mean,
        "std": std,
        "num_classes": 0,
        "first_conv": f"backbone.{backbone.first_conv.removesuffix('.weight')}",
        "classifier": None,
    }


def _modules(backbone: Backbone) -> dict[str, str]:
    """Return by feature the outermost module whose output, unchanged in place, it is."""
    tensors = [*backbone.parameters(), *backbone.buffers()]
    with torch.no_grad():
        memo: dict[int, Any] = {id(t): t.to("meta") for t in tensors}
    memo |= {id(p): nn.Parameter(memo[id(p)]) for p in backbone.parameters()}
    outputs: list[tuple[str, Tensor, int]] = []
    found: dict[str, str] = {}

    def keep(path: str, _module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            outputs.append((path, output, output._version))

    # A backbone that does not run on meta tensors has taps for all features.
    with suppress(Exception), torch.device("meta"), torch.no_grad():
        empty: Backbone = copy.deepcopy(backbone, memo)
        for path, module in empty.named_modules():
            if not isinstance(module, nn.Identity):  # returns the output of another module
                module.register_forward_hook(partial(keep, path))
        features = empty.train()(torch.zeros(2, *_configuration(backbone)["input_size"]))
        for name, feature in features.items():
            same = [p for p, x, version in outputs if x is feature and version == feature._version]
            around = [path for path in same if path and f"{same[0]}.".startswith(f"{path}.")]
            found |= {name: around[-1]} if around else {}
    return found
