"""Our backbones as those of transformers, for DETR, MaskFormer and other models."""

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import AutoBackbone, AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.backbone_utils import BackboneConfigMixin, BackboneMixin
from transformers.modeling_outputs import BackboneOutput

from backbones import Backbone, BackboneOptions, Conventions, UserError, build_backbone


class KeelBackboneConfig(BackboneConfigMixin, PreTrainedConfig):  # type: ignore[no-untyped-call]
    """The options of `backbones.build_backbone`, as a transformers configuration.

    Stages have our names, ``c1`` to ``c5``. ``out_features`` and ``out_indices`` are as in every
    transformers backbone: the last stage when neither is given. Attributes that are not below are
    options of `backbones.build_backbone`.

    Attributes:
        name: A registered name, or ``timm/<name>``.
        weights: A tag or a file, None for random. Loaded when a model is made from this
            configuration. ``from_pretrained`` loads from here only the tensors that its checkpoint
            lacks: of other features, another number of channels or another backbone.
        norm: A key of `backbones.NORMS`. DETR replaces ``batch`` by fixed statistics of its own,
            and leaves ``frozen_batch`` as it is.
        image_mean: What the weights expect of an image, per channel; None until they are loaded.
            A checkpoint's own are kept, also when single tensors come from ``weights``.
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
        """Set the names of the stages and of those that are returned."""
        self.stage_names = list(_channels(self.name))
        self.set_output_features_output_indices(
            out_features=kwargs.pop("out_features", None),
            out_indices=kwargs.pop("out_indices", None),
        )
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]


class KeelBackbone(BackboneMixin, PreTrainedModel):  # type: ignore[no-untyped-call]
    """A backbone of ours under transformers' contract.

    Attributes:
        body: The backbone, with its `freeze` and its conventions; stages past the last wanted one
            are not built. In a detector it is ``backbone.model.body``.
        channels: Of each returned feature map.
        num_features: Channels of every stage there is.

    Shape:
        - Input: (N, in_channels, H, W).
        - Output: ``feature_maps``, a tuple of (N, channels[i], H / stride, W / stride).

    Raises:
        UserError: As `backbones.build_backbone`, also from ``from_pretrained`` if the checkpoint
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
        self._loading = torch.empty(0).is_meta  # transformers is about to load a checkpoint
        self.body = _build(config, weights="random" if self._loading else config.weights)
        self._saved = _saved_conventions(config) if self._loading else None
        self._replaced = self._loading  # from_pretrained replaces every parameter
        if self._loading:
            self.body.provenance = " ".join(filter(None, ["from_pretrained", config.name_or_path]))
        self._adopt(self._saved or self.body.conventions)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self,
        pixel_values: Tensor,
        output_hidden_states: bool | None = None,  # noqa: FBT001 (transformers' signature)
        output_attentions: bool | None = None,  # noqa: ARG002, FBT001
        return_dict: bool | None = None,  # noqa: FBT001
    ) -> BackboneOutput | tuple[Any, ...]:
        """Return the wanted feature maps; with ``output_hidden_states`` those of every stage too.

        Options that are None are the configuration's. There are no attentions.
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
        """Set the mode; frozen stages stay frozen.

        ``from_pretrained`` replaces every parameter by one that requires a gradient, and calls this
        at its end: what is frozen is frozen again.
        """
        if self._replaced:
            self._replaced = False
            self.body.freeze(self.body._frozen)
        super().train(mode)
        return self

    def _init_weights(self, module: nn.Module) -> None:
        """Draw or load all tensors without a value, as soon as a module has one.

        transformers calls this for each module, children first, when a model has been made or a
        checkpoint loaded, and marks the tensors that have been loaded.
        """
        if not self._loading and self.config.weights not in (None, "random"):
            return  # loaded when the body was built
        if not all(_is_set(tensor) for tensor in _tensors(module, recurse=False).values()):
            self._fill()

    def _fill(self) -> None:
        """Copy each parameter and buffer that has no value from a newly built backbone."""
        own = _tensors(self.body)
        missing = {name: tensor for name, tensor in own.items() if not _is_set(tensor)}
        if len(missing) == len(own):
            self._refuse_older_names()
        source = self._build_source(missing)
        given = _tensors(source)
        for name, tensor in missing.items():
            if name in given:
                tensor.data.copy_(given[name])
            else:  # of a module that replaced one of ours
                super()._init_weights(self.body.get_submodule(name.rpartition(".")[0]))  # type: ignore[no-untyped-call]
            tensor._is_hf_initialized = True  # type: ignore[attr-defined]
        if len(missing) == len(own):
            self.body.provenance = source.provenance
        elif self._loading:  # otherwise the missing ones are of norms that DETR has replaced
            self.body.provenance += (
                f"; it lacks {len(missing)} of {len(own)} tensors, such as {next(iter(missing))}, "
                f"which are of {source.provenance}"
            )
        if self._saved is None or len(missing) == len(own):
            self._adopt(source.conventions)

    def _refuse_older_names(self) -> None:
        """Raise if a checkpoint of a timm model has the names of an earlier version."""
        config = self.config
        if self._saved and config.name_or_path and config.name.startswith("timm/"):
            raise UserError(
                f"{config.name_or_path} holds no tensor of {config.name!r} by its name; what an "
                "earlier version saved has other names: give from_pretrained "
                r"key_mapping={r'^(.*)body\.(?!net\.)': r'\1body.net.'}."
            )

    def _build_source(self, missing: Mapping[str, Tensor]) -> Backbone:
        config, weights = self.config, self.config.weights
        names = {id(tensor): name for name, tensor in _tensors(self.body).items()}
        frozen = [m for stage in self.body.stages()[: config.freeze] for m in stage]
        fixed = {names[id(t)] for m in frozen for t in _tensors(m).values()} & missing.keys()
        # build_backbone refuses weights=None if it would fix what was never trained.
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
        """Take over the conventions of weights, and write them into the configuration."""
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
    options = {field.name: getattr(config, field.name) for field in fields(BackboneOptions)}
    options["out_features"] = config.stage_names[: last + 1]
    return build_backbone(config.name, weights=weights, freeze=config.freeze, **options)


def _saved_conventions(config: KeelBackboneConfig) -> Conventions | None:
    """Return the conventions in a saved configuration, for its ``in_channels``."""
    mean, std, epsilon = config.image_mean, config.image_std, config.epsilon
    if mean is None or std is None or epsilon is None:
        return None
    saved = Conventions(mean=tuple(mean), std=tuple(std), epsilon=epsilon)
    return saved.for_channels(config.in_channels)


def _tensors(module: nn.Module, *, recurse: bool = True) -> dict[str, Tensor]:
    """Return every parameter and buffer by its path, unsaved buffers too."""
    parameters = module.named_parameters(recurse=recurse, remove_duplicate=False)
    buffers = module.named_buffers(recurse=recurse, remove_duplicate=False)
    return {**dict(parameters), **dict(buffers)}


def _is_set(tensor: Tensor) -> bool:
    """Return whether transformers or `KeelBackbone` has given a tensor its value."""
    return getattr(tensor, "_is_hf_initialized", False)


AutoConfig.register(KeelBackboneConfig.model_type, KeelBackboneConfig)
AutoBackbone.register(KeelBackboneConfig, KeelBackbone)
