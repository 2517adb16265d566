"""timm's models as our backbones: ``timm/<name>``."""

from dataclasses import replace
from functools import partial
from os import PathLike
from typing import Any, ClassVar, Self, cast

import timm
import torch
from torch import Tensor, nn

from backbones import Backbone, BackboneOptions, Conventions, UserError
from backbones.adapters.timm.build import any_size, create
from backbones.adapters.timm.norms import epsilon_of, norms_of, with_activation, with_norm
from backbones.adapters.timm.stages import Plan, plan_stages, prune
from backbones.choose import choose, nearest
from backbones.lineage import read_from
from backbones.weights.hub import timm_file


def build_timm(name: str, options: BackboneOptions) -> "TimmBackbone":
    """Build ``timm/<name>``, such as ``resnet18`` or ``resnet18.a1_in1k``.

    `backbones.build_backbone` calls this by our entry point. ``norm`` takes ``batch``, for whatever
    norms the model comes with, or ``frozen_batch``, for its batch norms with fixed statistics. A
    model that is unknown, or cannot be built like that, is a UserError.
    """
    model = _known(name)
    if options.init != BackboneOptions.init or options.deformable:
        raise UserError(
            f"timm/{name} draws its weights itself and has its own convolutions: leave out init "
            "and deformable (in a run backbone.init, or backbone.init=auto, and "
            f"backbone.deformable), got init={options.init!r} and "
            f"deformable={options.deformable!r}."
        )
    given: dict[str, Any] = {"in_chans": options.in_channels}
    if options.drop_path:
        given["drop_path_rate"] = options.drop_path
    try:
        make = partial(create, model, {**given, **any_size(model, given)})
        plan = plan_stages(make, wanted=options.out_features, output_stride=options.output_stride)
        net = make(output_stride=options.output_stride)
    except ValueError as error:
        raise UserError(f"timm/{name} cannot be built: {error}") from error
    except (AssertionError, RuntimeError, TypeError) as error:  # how timm's models refuse
        raise UserError(
            f"timm/{name} cannot be built with output_stride={options.output_stride} and {given} "
            f"({error!r}); leave these options out, or take another model."
        ) from error
    prune(net, plan.last)
    norms = norms_of(net)
    backbone = TimmBackbone(with_norm(net, options.norm, name=name), plan, name=model)
    backbone.possible_norms = norms
    return backbone


class TimmBackbone(Backbone):
    """A model of timm, without what lies past its last feature, under the contract of our own.

    ``c{k}`` is the last feature of stride 2**k. The stem is what the feature of stride 2 depends
    on. A model without that feature (ConvNeXt, Swin) has what precedes its first feature as its
    stem. One frozen stage is the stem, two reach c2 and k reach c{k}, whether or not there are all
    of them: a plain ViT has c4 alone.
    State-dict keys are timm's names below ``net.``. State dicts with timm's own names, as older
    versions of Keel wrote them, are loaded too.

    Shape:
        - Input: (N, in_channels, H, W), of the sizes that the model can take.
        - Output: as in `Backbone`.
    """

    key_prefix: ClassVar[str] = "net."
    possible_inits = (BackboneOptions.init,)  # which stands for timm's own

    def __init__(self, net: nn.Module, plan: Plan, *, name: str) -> None:
        super().__init__()
        self.net = net
        self.name = name
        self.channels, self.strides = dict(plan.channels), dict(plan.strides)
        self.unbuilt = plan.unbuilt
        self.never_trained = frozenset(f"{self.key_prefix}{key}" for key in plan.fixed)
        self._plan = plan
        settings: dict[str, Any] = net.pretrained_cfg  # type: ignore[assignment]
        first = settings.get("first_conv") or ""
        self.first_conv = f"net.{first if isinstance(first, str) else first[0]}.weight"
        self.conventions = Conventions(
            mean=tuple(settings["mean"]), std=tuple(settings["std"]), epsilon=epsilon_of(net)
        )
        self._with_activation = with_activation(net)
        self.register_load_state_dict_pre_hook(_with_net)  # type: ignore[no-untyped-call]

    def stages(self) -> list[list[nn.Module]]:
        """Return the stem, c2, c3 and so on; empty for a stride that the model leaves out."""
        found: list[list[nn.Module]] = []
        for stage in self._plan.stages:
            loose = [self.net.get_parameter(key) for key in stage.parameters]
            modules = [self.net.get_submodule(key) for key in stage.modules]
            found.append([*modules, *([nn.ParameterList(loose)] if loose else [])])
        return found

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the requested feature maps; refuse image sizes that the model does not take."""
        self._check_activations()
        net: Any = self.net
        try:
            maps: list[Tensor] = net.forward_intermediates(
                x,
                indices=list(self._plan.indices.values()),
                intermediates_only=True,
                output_fmt="NCHW",
            )
        except (AssertionError, RuntimeError) as error:  # how timm's models refuse
            self._refuse_size(x, error)
            raise
        return dict(zip(self.channels, maps, strict=True))

    def _refuse_size(self, x: Tensor, error: Exception) -> None:
        """Raise an error that names the model's size, unless the images have it."""
        height, width = self.net.pretrained_cfg["input_size"][1:]  # type: ignore[index]
        if x.shape[-2:] == (height, width) or isinstance(error, torch.OutOfMemoryError):
            return
        coarsest = max(self.strides.values())
        where = f"model.min_size={height} and model.max_size={height} for square ones"
        if height % coarsest:
            where += f"; a U-Net, which pads images to multiples of {coarsest}, cannot have it"
        else:
            where = f"input.patch=[{height},{width}], or {where}"
        raise UserError(
            f"timm/{self.name} is made for images of {height} x {width} and failed on images of "
            f"{x.shape[-2]} x {x.shape[-1]} ({error}): give it images of its size (in a run "
            f"{where}), or take a backbone for any size."
        ) from error

    def _check_activations(self) -> None:
        """Raise if a norm that also applied an activation was replaced by one that does not.

        transformers' DETR and `torch.nn.SyncBatchNorm.convert_sync_batchnorm` replace every
        subclass of batch norm, timm's with an activation too.
        """
        for name in self._with_activation:
            kind = type(self.net.get_submodule(name))
            fused = issubclass(kind, nn.Sequential)  # what `backbones.fuse` leaves of it
            if not (fused or kind.__module__.startswith("timm.")):
                raise UserError(
                    f"timm/{self.name} has batch norms that also apply the activation, and {name} "
                    f"is a {kind.__name__} now, which does not: "
                    "build it with norm='frozen_batch', whose norms stay what they are, or use "
                    "timm.layers.convert_sync_batchnorm."
                )

    def adopt(self, conventions: Conventions) -> Self:
        """Take over mean and std; the norms keep their architecture's epsilon."""
        self.conventions = replace(conventions, epsilon=self.conventions.epsilon)
        return self

    def set_grad_checkpointing(self, enable: bool = True) -> None:  # noqa: FBT001, FBT002 (timm's)
        """Let timm compute its blocks twice in place of keeping their activations.

        Batch norms are a UserError: timm would update their running statistics twice.
        """
        if enable and any(
            isinstance(m, nn.modules.batchnorm._BatchNorm) for m in self.net.modules()
        ):
            raise UserError(
                f"timm/{self.name} has batch norms, whose running statistics timm updates twice "
                "with gradient checkpointing: leave it out (in a run trainer.grad_checkpointing), "
                "or build it with norm='frozen_batch'."
            )
        try:
            cast("Any", self.net).set_grad_checkpointing(enable)
        except (AssertionError, AttributeError) as error:  # how timm's models refuse
            raise UserError(
                f"timm/{self.name} has no gradient checkpointing in timm {timm.__version__} "
                f"({error}); leave it out (in a run trainer.grad_checkpointing)."
            ) from error
        self.grad_checkpointing = enable

    def freeze(self, count: int) -> Self:
        """Freeze as in `Backbone.freeze`; parameters that timm never trains stay fixed."""
        super().freeze(count)
        for key in self.never_trained:
            self.get_parameter(key).requires_grad_(False)  # noqa: FBT003 (torch's signature)
        return self

    def load_tag(self, weights: str | PathLike[str]) -> bool:
        """Load timm's own weights; return False unless ``weights`` is ``imagenet`` or timm's tag.

        Weights that timm does not have, or that do not fit, are a UserError; a failed download is a
        ConnectionError.
        """
        architecture = self.name.partition(".")[0]
        if weights != "imagenet" and weights not in _tags(architecture):
            return False
        full = self.name if weights == "imagenet" else f"{architecture}.{weights}"
        path, mean, std = timm_file(full, name=architecture)
        in_channels = len(self.conventions.mean)
        try:
            overlay: dict[str, Any] = {"pretrained_cfg_overlay": {"file": str(path)}}
            model = timm.create_model(full, pretrained=True, in_chans=in_channels, **overlay)
            given = model.state_dict()
            self.load_file_state({key: given[key] for key in self.file_state()})
        except (KeyError, RuntimeError) as error:
            raise UserError(f"{path} does not hold weights of timm/{full}: {error}") from error
        self.adopt(Conventions(mean=mean, std=std).for_channels(in_channels))
        self.provenance = f"timm's {full}, from {path}"
        self.lineage = read_from((), path, label=f"timm:{full}")
        return True


def _known(name: str) -> str:
    """Return the name if timm has such a model; else raise UserError with the nearest name."""
    architecture, dot, tag = name.partition(".")
    if not timm.is_model(architecture):
        known = timm.list_models()
        close = nearest(architecture, known)
        hint = f" did you mean 'timm/{close}'?" if close else ""
        raise UserError(
            f"unknown backbone 'timm/{name}';{hint} timm {timm.__version__} has {len(known)} "
            "models; timm.list_models('*part*') finds them."
        )
    if dot:
        choose(dict.fromkeys(_tags(architecture)), tag, what=f"tag of timm/{architecture}")
    return name


def _tags(architecture: str) -> list[str]:
    return [name.partition(".")[2] for name in timm.list_pretrained(f"{architecture}.*")]


def _with_net(_module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Add ``net.`` to the keys of a state dict that has timm's own names."""
    for key in list(state):
        if key.startswith(prefix) and not key.startswith(f"{prefix}net."):
            state[f"{prefix}net.{key.removeprefix(prefix)}"] = state.pop(key)
