"""Where the stages of a timm model begin and end, found on a copy on torch's meta device."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn

from backbones import UserError
from backbones.choose import choose_features


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Names of a stage's modules, and of its parameters in modules that several stages share."""

    modules: tuple[str, ...]
    parameters: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which of a timm model's features are ours, and what computes them."""

    indices: dict[str, int]  # timm's index of each wanted feature by our name, finest first
    last: int  # index of the last feature; the modules after it are removed
    channels: dict[str, int]  # of each wanted feature
    strides: dict[str, int]  # of each wanted feature
    stages: tuple[Stage, ...]  # the stem, c2, c3 ...; empty where there is no such stride
    unbuilt: frozenset[str]  # the whole model's keys of parts that are removed
    fixed: frozenset[str]  # parameters that timm itself does not train


def plan_stages(
    make: Callable[..., Any], *, wanted: Sequence[str] | None, output_stride: int
) -> Plan:
    """Find the features and the stages of the model that ``make`` builds for an ``output_stride``.

    A parameter is in the stage of the first feature that depends on it in the autograd graph of
    one forward pass. If the model has no feature of stride 2, the stem is what precedes the module
    that returns timm's first feature, such as a ViT's first block. Without ``wanted`` all features
    are taken; one that is unknown, or of a stride that is no power of 2, is refused.
    """
    with torch.device("meta"), torch.enable_grad():
        nominal = make()
        names = _names(nominal)
        model = nominal if output_stride == 32 else make(output_stride=output_stride)
        whole = {*model.state_dict(), *_classifier(model)}
        kept = choose_features(list(names), wanted)
        last = names[kept[-1]]
        built = {name: index for name, index in names.items() if index <= last}
        prune(model, last)
        first = next(f["module"] for f in _info(nominal) if f["reduction"] > 1)
        stages = _stages(model.eval(), built, first=first)
    info = _info(model)
    return Plan(
        indices={name: names[name] for name in kept},
        last=last,
        channels={name: info[names[name]]["num_chs"] for name in kept},
        strides={name: info[names[name]]["reduction"] for name in kept},
        stages=stages,
        unbuilt=frozenset(whole - set(model.state_dict())),
        fixed=frozenset(n for n, p in model.named_parameters() if not p.requires_grad),
    )


def prune(model: Any, last: int) -> None:  # noqa: ANN401 (timm's models have no type)
    """Remove the modules that no feature up to index ``last`` needs."""
    model.prune_intermediate_layers(list(range(last + 1)), prune_norm=True, prune_head=True)


def _classifier(model: Any) -> set[str]:  # noqa: ANN401
    """Return the keys of the classifier, which is not built at all."""
    names = model.pretrained_cfg.get("classifier") or ()
    layers = [names] if isinstance(names, str) else names
    return {f"{layer}.{tensor}" for layer in layers for tensor in ("weight", "bias")}


def _info(model: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    return list(getattr(model.feature_info, "info", model.feature_info))


def _names(model: Any) -> dict[str, int]:  # noqa: ANN401
    """Return timm's index of each feature by our name: the last of each stride from 2 on."""
    names = {}
    for index, feature in enumerate(_info(model)):
        stride = feature["reduction"]
        if stride & (stride - 1):
            raise UserError(
                f"it has a feature of stride {stride}; features are named c1, c2, ... by strides "
                "that are powers of 2. Take another model."
            )
        if stride > 1:
            names[f"c{stride.bit_length() - 1}"] = index
    return names


def _stages(model: Any, names: dict[str, int], *, first: str) -> tuple[Stage, ...]:  # noqa: ANN401
    """Return what each stage consists of; module ``first`` returns timm's first feature."""
    channels, height, width = model.pretrained_cfg["input_size"]
    maps = model.forward_intermediates(
        torch.zeros(2, getattr(model, "in_chans", channels), height, width),
        indices=list(names.values()),
        intermediates_only=True,
        output_fmt="NCHW",
    )
    for name, feature in zip(names, maps, strict=True):
        stride = height / feature.shape[2]  # 37 instead of 32 where convolutions are not padded
        if not 0.7 < stride / _info(model)[names[name]]["reduction"] < 1.4:
            raise UserError(f"its feature {name} has a stride of {stride:g}. Take another model.")
    numbers = [int(name.removeprefix("c")) - 1 for name in names]
    stage_of: dict[int, int] = {}
    for number, feature in zip(numbers, maps, strict=True):
        for parameter in _leaves(feature):
            stage_of.setdefault(parameter, number)
    if numbers[0]:
        for parameter in _before(model, first):
            if stage_of.get(parameter) == numbers[0]:
                stage_of[parameter] = 0
    return _split(model, stage_of, count=numbers[-1] + 1)


def _leaves(output: Tensor) -> set[int]:
    """Return the ids of the parameters that a tensor depends on."""
    pending: list[Any] = [output.grad_fn]
    seen, found = set(pending), set()
    while pending:
        node = pending.pop()
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        for following, _ in getattr(node, "next_functions", ()):
            if following is not None and following not in seen:
                seen.add(following)
                pending.append(following)
    return found


def _before(model: nn.Module, module: str) -> list[int]:
    """Return the ids of the parameters before those of a module, or of the first one (Twins)."""
    named = list(model.named_parameters())
    first = named[0][0].partition(".")[0]
    if not any(name.startswith(f"{module}.") for name, _ in named):
        return [id(p) for name, p in named if name.partition(".")[0] == first]
    ahead = takewhile(lambda pair: not pair[0].startswith(f"{module}."), named)
    return [id(parameter) for _, parameter in ahead]


def _split(model: nn.Module, stage_of: dict[int, int], *, count: int) -> tuple[Stage, ...]:
    """Divide a model into stages, in modules as large as possible.

    A module without parameters, such as a dropout, is in the stage of what was registered before
    it. A parameter that no feature depends on is in the last stage.
    """
    stages: list[tuple[list[str], list[str]]] = [([], []) for _ in range(count)]
    current = 0

    def visit(module: nn.Module, name: str) -> None:
        nonlocal current
        within = {stage_of.get(id(p), count - 1) for p in module.parameters()}
        if len(within) < 2:
            current = within.pop() if within else current
            stages[current][0].append(name)
            return
        prefix = f"{name}." if name else ""
        for own, parameter in module.named_parameters(recurse=False):
            stages[stage_of.get(id(parameter), count - 1)][1].append(prefix + own)
        for own, child in module.named_children():
            visit(child, prefix + own)

    visit(model, "")
    return tuple(Stage(modules=tuple(m), parameters=tuple(p)) for m, p in stages)
