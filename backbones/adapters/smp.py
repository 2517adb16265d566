"""Our backbones as encoders of segmentation_models_pytorch.

Importing this registers every name of ours under ``keel-``: ``smp.Unet("keel-resnet18")``.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import wraps
from typing import Any, Final

import segmentation_models_pytorch.encoders as smp_encoders
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbones import Backbone, Conventions, UserError, build_backbone, list_backbones
from backbones.layers.torchscript import NoTorchScript
from backbones.lineage import lineage_of
from backbones.weights.load import adapt_first_conv
from backbones.weights.locate import published_images

_CARD_BYTES: Final = 4096


class SmpEncoder(NoTorchScript, nn.Module):
    """A backbone under smp's contract for encoders.

    smp builds it by name; ``encoder.body`` is the backbone, with its `freeze`, its conventions and
    its lineage. The state dict has them in the buffer ``card``, as JSON in UTF-8, and loading it
    restores them: a model is saved and restored by smp's ``save_pretrained`` and
    ``from_pretrained`` or by its state dict. State dicts without a card load too. A backbone that
    is frozen already keeps its count of frozen stages.
    If the backbone has no feature of stride 2 (ConvNeXt), that map has no channels, as in smp's own
    ``tu-`` encoders. ``depth`` is how many features there are, from stride 2 on: 1 to 5; the other
    arguments are those of `backbones.build_backbone`. One that is out of range is a UserError, as
    is a backbone without the strides 2, 4, 8, ... that smp's decoders take.

    Shape:
        - Input: (N, C, H, W).
        - Output: a list of the input and ``depth`` maps (N, out_channels[k], H / 2**k, W / 2**k).
    """

    # smp's own tests read these.
    _is_torch_scriptable = False
    _is_torch_exportable = True
    _is_torch_compilable = True

    card: Tensor

    def __init__(
        self, *, name: str, depth: int = 5, output_stride: int = 32, norm: str = "batch"
    ) -> None:
        super().__init__()
        if not 1 <= depth <= 5:
            raise UserError(f"depth takes 1 to 5 features, got {depth}.")
        self.name, self._norm = name, norm
        self._in_channels, self._dilated = 3, output_stride
        self._names = [f"c{k}" for k in range(1, depth + 1)]
        self._wanted: list[str] | None = None
        body = self._build()
        self._check(body)
        wanted = [feature for feature in self._names if feature in body.channels]
        if wanted != list(body.channels):
            self._wanted = wanted
            body = self._build()
        self.body, self._untrained = body, False
        self.register_buffer("card", torch.zeros(_CARD_BYTES, dtype=torch.uint8))
        self.register_state_dict_pre_hook(_write_card)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_read_card)  # type: ignore[no-untyped-call]

    @property
    def out_channels(self) -> list[int]:
        """Channels of the input and of every feature; 0 if there is no feature of that stride."""
        widths = (self.body.channels.get(feature, 0) for feature in self._names)
        return [self._in_channels, *widths]

    @property
    def output_stride(self) -> int:
        """Stride of the last feature."""
        return max(self.body.strides.values())

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the input and the features, finest first.

        It is a UserError if norm='frozen_batch' would fix statistics that were never trained.
        """
        if self._untrained:
            raise UserError(
                f"norm='frozen_batch' would fix what was never trained: {self.name!r} has no "
                "weights. Give encoder_weights='imagenet' or a file, or load a state dict."
            )
        features = self.body(x)
        if "c1" not in features:
            features["c1"] = x.new_zeros(x.shape[0], 0, x.shape[2] // 2, x.shape[3] // 2)
        return [x, *(features[feature] for feature in self._names)]

    def set_in_channels(
        self,
        in_channels: int,
        pretrained: bool = True,  # noqa: FBT001, FBT002 (smp's signature)
    ) -> None:
        """Take images of another number of channels.

        If ``pretrained`` the weights are kept, and the first convolution is adapted as in
        `backbones.weights.load.adapt_first_conv`. Otherwise they are drawn again; with
        norm='frozen_batch' the encoder then does not run until a state dict is loaded.
        """
        self._untrained = not pretrained and self._norm == "frozen_batch"
        if in_channels != self._in_channels:
            self._in_channels = in_channels
            self._rebuild(keep=pretrained)

    def make_dilated(self, output_stride: int) -> None:
        """Dilate the last stages to stride 8 or 16, instead of striding, with the same weights."""
        if output_stride not in (8, 16):
            raise UserError(f"output_stride takes 8 or 16, got {output_stride}.")
        if output_stride != self._dilated:
            self._dilated = output_stride
            self._rebuild(keep=True)

    def load_state_dict(
        self,
        state_dict: "Mapping[str, Any] | _Weights",
        strict: bool = True,  # noqa: FBT001, FBT002 (nn.Module's signature)
        assign: bool = False,  # noqa: FBT001, FBT002
    ) -> Any:  # noqa: ANN401 (torch's result has no public name)
        """Load a state dict, or the ``encoder_weights`` that smp hands on; see `load_weights`."""
        if isinstance(state_dict, _Weights):
            try:
                self.body, self._untrained = self._build(weights=state_dict.name), False
            except OSError as error:
                error.add_note("encoder_weights=None builds a model whose state dict follows.")
                raise
            return None
        return super().load_state_dict(state_dict, strict=strict, assign=assign)

    def _build(self, *, weights: str = "random") -> Backbone:
        return build_backbone(
            self.name,
            weights=weights,
            in_channels=self._in_channels,
            norm=self._norm,
            out_features=self._wanted,
            output_stride=self._dilated,
        )

    def _rebuild(self, *, keep: bool) -> None:
        """Build another backbone; keep weights, conventions, frozen stages and mode if wanted."""
        old, self.body = self.body, self._build()
        if keep:
            state, channels = old.state_dict(), self._in_channels
            state[old.first_conv] = adapt_first_conv(state[old.first_conv], channels)
            self.body.load_state_dict(state)
            self.body.adopt(old.conventions.for_channels(channels))
            self.body.provenance = old.provenance
            self.body.lineage = old.lineage
            self.body.freeze(old.frozen).train(old.training)

    def _check(self, body: Backbone) -> None:
        """Raise unless the strides are those of smp's decoders."""
        ideal = {feature: min(2 ** int(feature[1:]), self._dilated) for feature in self._names}
        found = {feature: body.strides.get(feature, 0) for feature in self._names}
        if found | ({"c1": 2} if not found["c1"] else {}) != ideal:
            expected, got = (", ".join(map(str, s.values())) for s in (ideal, body.strides))
            raise UserError(
                f"smp's decoders take features of the strides {expected} (of which the first may "
                f"be missing); {self.name!r} has {got}. Take another backbone."
            )


def _write_card(encoder: SmpEncoder, _prefix: str, _keep: bool) -> None:  # noqa: FBT001
    """Write the backbone's conventions, frozen stages, provenance and lineage into the buffer."""
    body = encoder.body
    steps = [{k: v for k, v in asdict(step).items() if v} for step in body.lineage]
    content = {**asdict(body.conventions), "frozen": body.frozen, "lineage": steps}
    source = body.provenance.partition("\n")[0].removeprefix("weights from ")
    unknown = {"provenance": "a file"}
    for more in ({"provenance": source}, unknown, {**unknown, "lineage": []}):  # till it fits
        text = json.dumps({**content, **more}).encode()
        if len(text) <= _CARD_BYTES:
            break
    if len(text) <= _CARD_BYTES and not encoder.card.is_meta:  # more: dozens of channels
        encoder.card.copy_(torch.tensor(list(text.ljust(_CARD_BYTES)), dtype=torch.uint8))


def _read_card(encoder: SmpEncoder, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Restore what `_write_card` wrote; a blank card changes nothing."""
    body = encoder.body
    if all(f"{prefix}body.{key}" in state for key in body.state_dict()):
        encoder._untrained = False
    # Those of earlier versions were shorter.
    card = state.setdefault(f"{prefix}card", torch.zeros(_CARD_BYTES, dtype=torch.uint8))
    state[f"{prefix}card"] = F.pad(card, (0, max(0, _CARD_BYTES - len(card))))
    if not card.any():
        return
    content = json.loads(bytes(card.tolist()).rstrip(b"\0"))
    mean, std = tuple(content["mean"]), tuple(content["std"])
    saved = Conventions(mean=mean, std=std, epsilon=content["epsilon"])
    body.adopt(saved.for_channels(encoder._in_channels))
    if not body.frozen:
        body.freeze(min(content["frozen"], len(body.stages())))
    body.provenance = f"a state dict, whose weights were from {content['provenance']}"
    body.lineage = lineage_of(content.get("lineage"))


@dataclass(frozen=True)
class _Weights:
    """The user's ``encoder_weights``, which smp hands from one function to the next."""

    name: str


class _AnyWeights(dict[str, Any]):
    """smp's ``pretrained_settings`` of our encoders: takes every tag and file."""

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str)

    def __missing__(self, name: str) -> dict[str, Any]:
        return {"repo_id": _Weights(name), "revision": None}


def register_encoder(name: str, *, norm: str = "batch", encoder_name: str | None = None) -> str:
    """Make a backbone an encoder of smp, and return smp's name for it.

    ``name`` and ``norm`` are those of `backbones.build_backbone`, ``timm/<name>`` included;
    ``encoder_name`` is smp's name, ``keel-`` and ``name`` when None.
    """
    known = encoder_name or f"keel-{name}"
    smp_encoders.encoders[known] = {
        "encoder": SmpEncoder,
        "params": {"name": name, "norm": norm},
        "pretrained_settings": _AnyWeights(),
    }
    return known


def _pass_ours(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a step of smp's loading, which knows its own weights only, to return ours as is."""

    @wraps(function)
    def step(source: object, *args: Any, **options: Any) -> Any:  # noqa: ANN401 (any function's)
        return source if isinstance(source, _Weights) else function(source, *args, **options)

    return step


_smp_params: Callable[..., dict[str, Any]] = smp_encoders.get_preprocessing_params


@wraps(_smp_params)
def _params(encoder_name: str, pretrained: str | None = "imagenet") -> dict[str, Any]:
    """Return what smp's images must be like, for our encoders as well as for smp's own."""
    encoder = smp_encoders.encoders.get(encoder_name, {})
    if not isinstance(encoder.get("pretrained_settings"), _AnyWeights):
        return _smp_params(encoder_name, pretrained)
    name, weights = encoder["params"]["name"], pretrained or "random"
    known = None if weights == "random" else published_images(weights, name=name)
    if known is None:  # only the file says it
        expected = build_backbone(name, weights=weights).conventions
    else:
        expected = known.conventions()
    mean, std = list(expected.mean), list(expected.std)
    return {"input_space": "RGB", "input_range": [0, 1], "mean": mean, "std": std}


smp_encoders.hf_hub_download = _pass_ours(smp_encoders.hf_hub_download)
smp_encoders.load_file = _pass_ours(smp_encoders.load_file)
smp_encoders.get_preprocessing_params = _params
for _name in list_backbones():
    register_encoder(_name)
