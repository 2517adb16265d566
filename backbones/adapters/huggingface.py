"""Our backbones as those of transformers, for DETR, MaskFormer and whatever takes a backbone."""

from dataclasses import replace
from functools import cache
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import AutoBackbone, AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.backbone_utils import BackboneConfigMixin, BackboneMixin
from transformers.modeling_outputs import BackboneOutput

from backbones import Backbone, build_backbone


class KeelBackboneConfig(BackboneConfigMixin, PreTrainedConfig):  # type: ignore[no-untyped-call]
    """What `backbones.build_backbone` is asked for, in the form of a transformers configuration.

    Stages have our names, ``c1`` to ``c5``. ``out_features`` and ``out_indices`` are as in every
    transformers backbone: the last stage when neither is given.

    Attributes:
        name: A registered name, or ``timm/<name>``.
        weights: A tag or a file, loaded when a model is made from this configuration, and not when
            one is read with ``from_pretrained``, whose own weights come after; None for random.
        in_channels: Channels of the image.
        norm: A key of `backbones.NORMS`. DETR replaces ``batch`` by fixed statistics of its own,
            and leaves ``frozen_batch`` as it is.
        output_stride: 32, or 16 or 8 to dilate the last stages instead of striding.
        freeze: How many stages to freeze, stem first.
        drop_path: As in `backbones.build_backbone`, as are the next three.
        init: How random weights are drawn.
        deformable: Stages with deformable convolutions.
        deformable_version: Of these.
        image_mean: What the weights expect of an image, per channel; None until they are loaded.
        image_std: As ``image_mean``.
        epsilon: Of every batch norm; None until weights are loaded.
    """

    model_type = "keel_backbone"

    name: str = "resnet50"
    weights: str | None = None
    in_channels: int = 3
    norm: str = "batch"
    output_stride: int = 32
    freeze: int = 0
    drop_path: float = 0.0
    init: str = "he"
    deformable: list[str] | tuple[str, ...] = ()
    deformable_version: int = 2
    image_mean: list[float] | None = None
    image_std: list[float] | None = None
    epsilon: float | None = None

    def __post_init__(self, **kwargs: Any) -> None:  # noqa: ANN401 (transformers' signature)
        """Find the stages, and choose those to return."""
        self.stage_names = list(_channels(self.name))
        self.set_output_features_output_indices(
            out_features=kwargs.pop("out_features", None),
            out_indices=kwargs.pop("out_indices", None),
        )
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]


class KeelBackbone(BackboneMixin, PreTrainedModel):  # type: ignore[no-untyped-call]
    """A backbone of ours under transformers' contract.

    ``model.body`` is the backbone, with its `freeze` and its conventions.

    Args:
        config: What to build.

    Attributes:
        body: The backbone; stages past the last wanted one are not built.
        channels: Of each returned feature map.
        num_features: Channels of every stage there is.

    Shape:
        - Input: (N, in_channels, H, W).
        - Output: ``feature_maps``, a tuple of (N, channels[i], H / stride, W / stride).

    Raises:
        ValueError: As `backbones.build_backbone`.
    """

    config_class = KeelBackboneConfig
    config: KeelBackboneConfig
    base_model_prefix = "keel"
    main_input_name = "pixel_values"
    input_modalities = "image"
    has_attentions = False

    def __init__(self, config: KeelBackboneConfig) -> None:
        super().__init__(config)
        channels = _channels(config.name)
        self.num_features = list(channels.values())
        last = config.stage_names.index(config.out_features[-1])
        self.body = _build(config, config.stage_names[: last + 1])
        expected = self.body.conventions
        config.image_mean, config.image_std = list(expected.mean), list(expected.std)
        config.epsilon = expected.epsilon
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self,
        pixel_values: Tensor,
        output_hidden_states: bool | None = None,  # noqa: FBT001 (transformers' signature)
        output_attentions: bool | None = None,  # noqa: ARG002, FBT001
        return_dict: bool | None = None,  # noqa: FBT001
    ) -> BackboneOutput | tuple[Any, ...]:
        """Return the wanted feature maps; with ``output_hidden_states`` those of every stage too.

        Args:
            pixel_values: (N, in_channels, H, W).
            output_hidden_states: Whether to return all maps down to the last wanted one; the
                configuration's when None.
            output_attentions: Ignored; there are none.
            return_dict: Whether to return a `BackboneOutput`, or a tuple; the configuration's when
                None.
        """
        features = self.body(pixel_values)
        states = self.config.output_hidden_states
        if output_hidden_states is not None:
            states = output_hidden_states
        output = BackboneOutput(
            feature_maps=tuple(features[name] for name in self.out_features),
            hidden_states=tuple(features.values()) if states else None,
            attentions=None,
        )
        as_dict = self.config.return_dict if return_dict is None else return_dict
        return output if as_dict else output.to_tuple()

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 (nn.Module's signature)
        """Set the mode; frozen stages stay frozen, after ``from_pretrained`` as well.

        That replaces every parameter by one that is trained, and sets the mode at its end.
        """
        super().train(mode)
        for stage in self.body.stages()[: self.body.frozen]:
            for module in stage:
                module.requires_grad_(False)  # noqa: FBT003 (torch's signature)
        return self

    def _init_weights(self, module: nn.Module) -> None:
        """Leave everything as it is: the backbone has drawn or loaded its weights by itself."""


@cache
def _channels(name: str) -> dict[str, int]:
    """Return the channels of every feature of a backbone, without building it."""
    with torch.device("meta"):
        return build_backbone(name).channels


def _build(config: KeelBackboneConfig, features: list[str]) -> Backbone:
    """Return the backbone; without its weights where transformers is about to load others."""
    awaited = torch.empty(0).is_meta
    body = build_backbone(
        config.name,
        weights="random" if awaited else config.weights,
        in_channels=config.in_channels,
        norm=config.norm,
        out_features=features,
        output_stride=config.output_stride,
        freeze=config.freeze,
        drop_path=config.drop_path,
        init=config.init,
        deformable=config.deformable,
        deformable_version=config.deformable_version,
    )
    if not awaited:
        return body
    kept = {id(tensor) for tensor in body.state_dict(keep_vars=True).values()}
    if any(id(buffer) not in kept for buffer in body.buffers()):
        raise ValueError(
            f"{config.name!r} has tensors that are in no checkpoint, which from_pretrained cannot "
            "restore; build it with AutoBackbone.from_config, and load its state dict."
        )
    if config.image_mean is None or config.image_std is None or config.epsilon is None:
        return body
    expected = replace(
        body.conventions,
        mean=tuple(config.image_mean),
        std=tuple(config.image_std),
        epsilon=config.epsilon,
    )
    return body.adopt(expected)


AutoConfig.register(KeelBackboneConfig.model_type, KeelBackboneConfig)
AutoBackbone.register(KeelBackboneConfig, KeelBackbone)
