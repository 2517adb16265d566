"""Our backbones as those of transformers, for DETR, MaskFormer and whatever takes a backbone."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import AutoBackbone, AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.backbone_utils import BackboneConfigMixin, BackboneMixin
from transformers.modeling_outputs import BackboneOutput

from backbones import Backbone, Conventions, build_backbone


class KeelBackboneConfig(BackboneConfigMixin, PreTrainedConfig):  # type: ignore[no-untyped-call]
    """What `backbones.build_backbone` is asked for, in the form of a transformers configuration.

    Stages have our names, ``c1`` to ``c5``. ``out_features`` and ``out_indices`` are as in every
    transformers backbone: the last stage when neither is given.

    Attributes:
        name: A registered name, or ``timm/<name>``.
        weights: A tag or a file, None for random. Loaded when a model is made from this
            configuration. ``from_pretrained`` takes what its checkpoint holds, and from here only
            the tensors that the checkpoint lacks: of other features, another number of channels or
            another backbone.
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
            A checkpoint's own stay, also where single tensors come from ``weights``.
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
        ValueError: As `backbones.build_backbone`, from ``from_pretrained`` too where the checkpoint
            lacks tensors.
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
        self._awaited = torch.empty(0).is_meta  # transformers is about to load a checkpoint
        self.body = _build(config, weights="random" if self._awaited else config.weights)
        self._told = _told(config) if self._awaited else None
        self._replaced = self._awaited  # every parameter will be, until the mode is set
        if self._awaited:
            self.body.provenance = " ".join(filter(None, ["from_pretrained", config.name_or_path]))
        self._adopt(self._told or self.body.conventions)
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
        if self._replaced:
            self._replaced = False
            self.body.freeze(self.body._frozen)
        super().train(mode)
        return self

    def _init_weights(self, module: nn.Module) -> None:
        """Draw or load every tensor that has no value yet, once one of a module's has none.

        transformers calls this for module after module, children first, when a model is made and
        when a checkpoint has been loaded, which marks the tensors that it held.
        """
        if not self._awaited and self.config.weights not in (None, "random"):
            return  # loaded when the body was built
        if not all(_is_set(tensor) for tensor in _tensors(module, recurse=False).values()):
            self._fill()

    def _fill(self) -> None:
        """Give every tensor without a value that of a backbone built anew, buffers included."""
        own = _tensors(self.body)
        missing = {name: tensor for name, tensor in own.items() if not _is_set(tensor)}
        if len(missing) == len(own):
            self._refuse_older_names()
        source = self._anew(missing)
        given = _tensors(source)
        for name, tensor in missing.items():
            if name in given:
                tensor.data.copy_(given[name])
            else:  # of a module that somebody put in the place of ours
                super()._init_weights(self.body.get_submodule(name.rpartition(".")[0]))  # type: ignore[no-untyped-call]
            tensor._is_hf_initialized = True  # type: ignore[attr-defined]
        if len(missing) == len(own):
            self.body.provenance = source.provenance
        elif self._awaited:  # else another module's norms, such as DETR's, took the place of ours
            self.body.provenance += (
                f"; it lacks {len(missing)} of {len(own)} tensors, such as {next(iter(missing))}, "
                f"which are of {source.provenance}"
            )
        if self._told is None or len(missing) == len(own):
            self._adopt(source.conventions)

    def _refuse_older_names(self) -> None:
        """Raise where a saved model of timm's holds nothing of itself."""
        config = self.config
        if self._told and config.name_or_path and config.name.startswith("timm/"):
            raise ValueError(
                f"{config.name_or_path} holds no tensor of {config.name!r} by its name; what an "
                "earlier version saved has other names: give from_pretrained "
                r"key_mapping={r'^(.*)body\.(?!net\.)': r'\1body.net.'}."
            )

    def _anew(self, missing: Mapping[str, Tensor]) -> Backbone:
        """Return a backbone with the values of what is missing."""
        config, weights = self.config, self.config.weights
        names = {id(tensor): name for name, tensor in _tensors(self.body).items()}
        frozen = [m for stage in self.body.stages()[: config.freeze] for m in stage]
        fixed = {names[id(t)] for m in frozen for t in _tensors(m).values()} & missing.keys()
        # Without weights build_backbone refuses to fix what was never trained.
        never_fixed = weights is None and config.norm != "frozen_batch" and not fixed
        try:
            with torch.device("cpu"):
                return _build(config, weights="random" if never_fixed else weights)
        except (OSError, ValueError) as error:
            error.add_note(
                f"config.weights={weights!r} are needed for {len(missing)} tensors that the "
                f"checkpoint lacks, such as {next(iter(missing))}; weights='random' draws them."
            )
            raise

    def _adopt(self, conventions: Conventions) -> None:
        """Take over what weights expect of an image, and write it into the configuration."""
        self.body.adopt(conventions)
        expected = self.body.conventions
        self.config.image_mean, self.config.image_std = list(expected.mean), list(expected.std)
        self.config.epsilon = expected.epsilon


@cache
def _channels(name: str) -> dict[str, int]:
    """Return the channels of every feature of a backbone, without building it."""
    with torch.device("meta"):
        return build_backbone(name).channels


def _build(config: KeelBackboneConfig, *, weights: str | None) -> Backbone:
    """Return the backbone; stages past the last wanted one are not built."""
    last = config.stage_names.index(config.out_features[-1])
    return build_backbone(
        config.name,
        weights=weights,
        in_channels=config.in_channels,
        norm=config.norm,
        out_features=config.stage_names[: last + 1],
        output_stride=config.output_stride,
        freeze=config.freeze,
        drop_path=config.drop_path,
        init=config.init,
        deformable=config.deformable,
        deformable_version=config.deformable_version,
    )


def _told(config: KeelBackboneConfig) -> Conventions | None:
    """Return what a saved configuration says of images, for as many channels as are wanted now."""
    mean, std, epsilon = config.image_mean, config.image_std, config.epsilon
    if mean is None or std is None or epsilon is None:
        return None
    told = Conventions(mean=tuple(mean), std=tuple(std), epsilon=epsilon)
    return told if len(mean) == config.in_channels else told.for_channels(config.in_channels)


def _tensors(module: nn.Module, *, recurse: bool = True) -> dict[str, Tensor]:
    """Return every parameter and buffer by its path, those that are never saved too."""
    parameters = module.named_parameters(recurse=recurse, remove_duplicate=False)
    buffers = module.named_buffers(recurse=recurse, remove_duplicate=False)
    return {**dict(parameters), **dict(buffers)}


def _is_set(tensor: Tensor) -> bool:
    """Whether transformers has loaded it, or `KeelBackbone` has filled it."""
    return getattr(tensor, "_is_hf_initialized", False)


AutoConfig.register(KeelBackboneConfig.model_type, KeelBackboneConfig)
AutoBackbone.register(KeelBackboneConfig, KeelBackbone)
